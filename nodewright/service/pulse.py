"""One question, asked again and again for everybody who waits for another answer to it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

import anyio
from anyio.to_thread import run_sync

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
_NAP_SECONDS: Final = 1.0
"""However long it is until the next answer, whoever waits hears in time that the service is about to end."""


class Pulse(Generic[T]):
    """Asks while somebody listens, in one task, and wakes all who wait once the answer is another object.

    A listener that is busy meanwhile misses answers, never the newest. For one event loop.

    Args:
        ask: the question; it runs in a thread.
        seconds: between two answers.
        closing: whether the service is about to end: everybody is woken then.
        sleep: waits so many seconds.
        limiter: how many threads such questions may keep busy; None: as many as everything else.

    """

    def __init__(
        self,
        ask: Callable[[], T],
        seconds: Callable[[], float],
        *,
        closing: Callable[[], bool],
        sleep: Sleep = anyio.sleep,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._closing = closing
        self._sleep = sleep
        self._limiter = limiter
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.answer: T | None = None
        self.turn = 0
        """How many different answers there were."""
        self.failure: Exception | None = None
        """Why nobody asks any more; whoever comes next begins anew."""
        self.listeners = 0

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Listen for the length of a block. The last one who leaves ends the task."""
        self.listeners += 1
        if self._task is None or self._task.done():
            self.failure = None
            self._task = asyncio.get_running_loop().create_task(self._beat())
        try:
            yield
        finally:
            self.listeners -= 1
            if not self.listeners:
                self._task.cancel()
                self._task = None

    async def wait(self, turn: int, within: float) -> int:
        """Return the present turn as soon as it is another than ``turn``, or after so many seconds, or at the end.

        Raises:
            Exception: whatever the question raised.

        """
        if self.turn == turn and self.failure is None and not self._closing():
            with anyio.move_on_after(within):
                await self._bell.wait()
        if self.failure is not None:
            raise self.failure
        return self.turn

    async def _beat(self) -> None:
        try:
            while not self._closing():
                answer = await run_sync(self._ask, limiter=self._limiter)
                if answer is not self.answer:
                    self.answer, self.turn = answer, self.turn + 1
                    self._ring()
                await self._rest(self._seconds())
        except Exception as error:  # noqa: BLE001 - each listener raises it, and is answered for
            self.failure = error
        self._ring()

    async def _rest(self, seconds: float) -> None:
        while seconds > 0 and not self._closing():
            await self._sleep(min(seconds, _NAP_SECONDS))
            seconds -= _NAP_SECONDS

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

"""Somebody who listens to an event stream of an application, and the time that it lives in: both go step by step."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import Any

PATIENCE_SECONDS = 20


class Ticks:
    """Time that passes when it is told to: whoever sleeps goes on with the next tick."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[float] = []
        """How long somebody wanted to sleep, each time."""
        self._sleepers: list[asyncio.Future[None]] = []
        self._slept = asyncio.Event()

    def monotonic(self) -> float:
        """Return the present moment."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait for the next tick, however far that is."""
        sleeper = asyncio.get_running_loop().create_future()
        self.asked.append(seconds)
        self._sleepers.append(sleeper)
        self._slept.set()
        await sleeper

    async def pass_by(self, seconds: float = 1.0) -> None:
        """Let time pass until everybody who slept has done what they do and sleeps again."""
        await self.resting()
        count = len(self._sleepers)
        self.wake(seconds)
        while len(self._sleepers) < count:
            await self.resting()

    def wake(self, seconds: float = 1.0) -> None:
        """Let time pass, and wait for nobody."""
        self.now += seconds
        self._slept.clear()
        sleepers, self._sleepers = self._sleepers, []
        for one in sleepers:
            if not one.done():
                one.set_result(None)

    async def resting(self) -> None:
        """Wait until somebody sleeps."""
        await asyncio.wait_for(self._slept.wait(), PATIENCE_SECONDS)


class Listener:
    """One open stream, read message by message; as long as it ``holds``, it takes nothing more off the wire."""

    def __init__(self, app: Any, path: str, headers: dict[str, str]) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "server": ("testserver", 80),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self._gone = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()
        self.status = asyncio.get_running_loop().create_future()
        self.everything = ""
        """What came so far."""

    def hold(self) -> None:
        """Read nothing more."""
        self._reads.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    async def next(self) -> tuple[str, str, dict[str, Any]] | None:
        """Return the next part as (name, HTML, the whole message); None: the stream has ended."""
        while (chunk := await asyncio.wait_for(self._heard.get(), PATIENCE_SECONDS)) is not None:
            if chunk.startswith("event: part\n"):
                said = json.loads(chunk.partition("data: ")[2])
                return said["name"], said["html"], said
        return None

    async def some(self, count: int) -> dict[str, str]:
        """Return the next parts by their names."""
        found = [await self.next() for _ in range(count)]
        return {name: html for name, html, _ in found}

    async def comment(self) -> str:
        """Return the next thing that is no message."""
        while True:
            chunk = await asyncio.wait_for(self._heard.get(), PATIENCE_SECONDS)
            if chunk is None or chunk.startswith(":"):
                return chunk

    async def run(self) -> None:
        """Be the client of one request."""
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._heard.put_nowait(None)
            if not self.status.done():
                self.status.cancel()

    async def leave(self, task: asyncio.Task[None]) -> None:
        """Close the connection."""
        self._gone.set()
        self._reads.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_SECONDS)

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])
            return
        await self._reads.wait()
        chunk = message["body"].decode()
        self.everything += chunk
        if chunk:
            self._heard.put_nowait(chunk)


@asynccontextmanager
async def listening(app: Any, path: str, **headers: str) -> Any:
    """Listen to a stream for the length of a block."""
    listener = Listener(app, path, headers)
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        await listener.leave(task)

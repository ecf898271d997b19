"""Group commit: what comes while one transaction is under way shares the next one.

A durable transaction costs much the same for one job as for twenty. Whoever comes first begins at once and waits for
nobody, so that a lonely job is no later; those who come meanwhile go together as soon as the turn is theirs.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")
MOST: Final = 32
"""So many share one transaction at most: a lock that many wait for must be short."""


class _Place(NamedTuple, Generic[T, R]):
    item: T
    result: "Future[R]"


class GroupCommit(Generic[T, R]):
    """Does ``work`` for many threads, for as many items at a time as wait.

    Args:
        work: takes items and returns a result for each, in their order; all or nothing. Where it raises for several,
            each is done alone, so that one item's fault is its own.

    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._turn = Lock()
        self._lock = Lock()
        self._waiting: list[_Place[T, R]] = []

    def __call__(self, item: T) -> R:
        """Return the item's result, or raise what ``work`` raised for it alone."""
        mine: _Place[T, R] = _Place(item, Future())
        with self._lock:
            self._waiting.append(mine)
        while not mine.result.done():
            with self._turn:
                # Whoever had the turn before may have done it.
                if not mine.result.done():
                    self._do(self._next())
        return mine.result.result()

    def _next(self) -> list[_Place[T, R]]:
        with self._lock:
            places, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        return places

    def _do(self, places: Sequence[_Place[T, R]]) -> None:
        try:
            results = self._work([place.item for place in places])
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread whose item it is
            if len(places) == 1:
                places[0].result.set_exception(error)
                return
            for place in places:
                self._do([place])
            return
        for place, result in zip(places, results, strict=True):
            place.result.set_result(result)

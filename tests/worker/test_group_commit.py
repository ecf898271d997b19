"""Group commit by real threads, each held where the test wants it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from worker.group_commit import MOST, GroupCommit


class Work:
    """Doubles numbers; the first turn waits until it is let go, and numbers of ``bad`` fail whoever is with them."""

    def __init__(self, *bad):
        self.bad = bad
        self.turns = []
        self.begun = Event()
        self.go = Event()

    def __call__(self, items):
        """Do a turn."""
        self.turns.append(sorted(items))
        self.begun.set()
        assert self.go.wait(10)
        if set(items) & set(self.bad):
            raise ValueError(f"{sorted(set(items) & set(self.bad))}")
        return [2 * item for item in items]


def waiting(group, count):
    """Wait until so many threads wait for their turn."""
    while len(group._waiting) < count:
        Event().wait(0.001)


def crowd(work, *items):
    """Do the first item, and all others that come while it is under way; return the futures."""
    group = GroupCommit(work)
    pool = ThreadPoolExecutor(len(items))
    futures = [pool.submit(group, items[0])]
    assert work.begun.wait(10)
    futures += [pool.submit(group, item) for item in items[1:]]
    waiting(group, len(items) - 1)
    work.go.set()
    pool.shutdown()
    return futures


def test_who_comes_meanwhile_goes_together():
    """The first one begins at once and alone; those who come while it works share the next turn."""
    work = Work()
    assert [future.result() for future in crowd(work, 1, 2, 3, 4)] == [2, 4, 6, 8]
    assert work.turns == [[1], [2, 3, 4]]


def test_a_turn_is_bounded():
    """A turn takes so many at most; the others have theirs after it."""
    work = Work()
    numbers = range(MOST + 3)
    assert [future.result() for future in crowd(work, *numbers)] == [2 * number for number in numbers]
    assert sorted(len(turn) for turn in work.turns) == [1, 2, MOST]


def test_one_fault_is_its_own():
    """Where several fail together each is done alone, and only the one at fault hears of it."""
    work = Work(3)
    first, second, third, fourth = crowd(work, 1, 2, 3, 4)
    assert [first.result(), second.result(), fourth.result()] == [2, 4, 8]
    with pytest.raises(ValueError, match="3"):
        third.result()
    assert sorted(work.turns[2:]) == [[2], [3], [4]]


def test_alone_is_as_without():
    """One by one, each item has a turn of its own, and an exception is the caller's."""
    work = Work(7)
    work.go.set()
    group = GroupCommit(work)
    assert [group(1), group(2)] == [2, 4]
    with pytest.raises(ValueError, match="7"):
        group(7)
    assert group(3) == 6
    assert work.turns == [[1], [2], [7], [3]]

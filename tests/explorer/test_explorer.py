"""The explorer on a diet: a few schedules of each kind, and every protection taken away. `make explore` runs all."""

import tempfile
from itertools import islice
from pathlib import Path

import pytest

from tests.explorer.__main__ import Explorer, stepped, take_away, twisted
from tests.explorer.protections import PROTECTIONS
from tests.explorer.schedule import OUTCOMES, Schedule, parse


@pytest.fixture
def explorer(tmp_path):
    """An explorer with a database of its own."""
    return Explorer(tmp_path)


@pytest.mark.parametrize("reply", OUTCOMES, ids=str)
def test_every_outcome_of_the_create_keeps_every_promise(explorer, reply):
    """Whatever the API answers to the create, one job ends with one instance, or with a reason and none."""
    verdict = explorer.run(Schedule(replies=(reply,)))

    assert verdict.violation is None, verdict.schedule.line()


def test_every_twist_of_the_world_keeps_every_promise(explorer):
    """Strangers, forgotten sends, vanished instances and lost keys break no promise."""
    verdicts = [explorer.run(schedule) for schedule, _ in twisted()]

    assert [v.schedule.line() for v in verdicts if v.violation] == []


def test_a_clock_that_steps_keeps_every_promise(explorer):
    """A wall clock set forward or back breaks no promise."""
    verdicts = [explorer.run(schedule) for schedule, _ in islice(stepped(), 0, None, 9)]

    assert [v.schedule.line() for v in verdicts if v.violation] == []


def test_a_crash_before_every_effect_of_a_plain_run_keeps_every_promise(explorer):
    """A process that dies before any of its effects leaves something that the next one completes."""
    explorer.deepen(Schedule(replies=(OUTCOMES[0],)), 1)

    assert explorer.tally.boundaries > 15
    assert explorer.tally.failures == []


@pytest.mark.parametrize("number", range(len(PROTECTIONS)), ids=[removed.name for removed in PROTECTIONS])
def test_the_explorer_notices_a_missing_protection(number):
    """A checker that stays green without a protection would check nothing."""
    _, verdict = take_away(number)

    assert verdict is not None


def test_a_schedule_can_be_replayed_from_its_line():
    """The line that a failure prints is the schedule, and running it again gives the same trace."""
    schedule = Schedule(replies=(OUTCOMES[2],), crashes=(7, 20), cancel=12)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = Explorer(Path(one)).run(schedule)
        again = Explorer(Path(two)).run(parse(schedule.line()))

    assert first.trace == again.trace

from io import StringIO

import pytest
from rich.console import Console

from nodewright.cli import progress
from nodewright.cli.progress import AccountPaused, Follower, Pace, clock, settled_jobs, summary
from nodewright.cli.show import _print_story
from nodewright.client import Fleet, JobDetail, Status


def _fleet(**states):
    return Fleet(id="f", name="web", count=sum(states.values()), states=states)


def test_no_rate_before_two_looks():
    """One look gives no rate, and no estimate."""
    pace = Pace()
    pace.note(0.0, 0)
    assert pace.per_second is None
    assert pace.seconds_left(10) is None


def test_rate_and_estimate():
    """The rate is what settled per second lately, and the estimate follows from it."""
    pace = Pace()
    for second in range(11):
        pace.note(float(second), second * 2)
    assert pace.per_second == 2.0
    assert pace.seconds_left(40) == 20.0


def test_old_looks_are_forgotten():
    """What happened long ago does not count towards the rate."""
    pace = Pace()
    for second in range(0, 200, 10):
        pace.note(float(second), 100 if second >= 100 else 0)
    assert pace.per_second is None


def test_clock():
    """Durations read as minutes and seconds, and as hours where there are any."""
    assert [clock(5), clock(65), clock(3700)] == ["0:05", "1:05", "1:01:40"]


def test_summary():
    """The line under the bars says elapsed time, rate and what is left."""
    pace = Pace()
    pace.note(0.0, 0)
    pace.note(10.0, 20)
    assert summary(_fleet(running=20, queued=20), pace, 10.0) == "0:10 elapsed · 2.0/s · about 0:10 left"
    assert settled_jobs(_fleet(running=3, failed=1, queued=5)) == 4


def test_settled():
    """A fleet is settled when nobody but a person moves its jobs on."""
    assert _fleet(running=1, failed=1).settled
    assert not _fleet(running=1, booting=1).settled
    assert not _fleet(deleting=1).settled


class _Scripted:
    """A client whose service raises these alarms, one list per look, while the fleet settles after the last."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def status(self):
        return Status(alarms=self.looks.pop(0))

    def fleet(self, _):
        return _fleet(booting=1) if self.looks else _fleet(running=1)


PAUSED = {
    "code": "unauthorized",
    "message": "account default is paused",
    "remedy": "set a token",
    "since": "1",
}
SILENT = {"code": "no_worker", "message": "no worker was seen for 31 s", "since": "1"}


def _follow(monkeypatch, *looks, until_paused=False):
    """What is printed while a fleet is followed that meets these alarms."""
    monkeypatch.setattr(progress, "_STATUS_INTERVAL", 0.0)
    out = StringIO()
    follower = Follower(_Scripted(*looks), Console(file=out, width=200), wait=lambda _: None)
    follower.follow(_fleet(booting=1), until_paused=until_paused)
    return out.getvalue()


def test_alarms_are_told_once_and_when_they_are_over(monkeypatch):
    """An alarm is told once with what to do, however its words change, and once more when it is over."""
    later = {**SILENT, "message": "no worker was seen for 45 s"}
    said = _follow(monkeypatch, [SILENT], [later, PAUSED], [PAUSED], [])
    assert said.count("no worker was seen") == 1
    assert "alarm: account default is paused (unauthorized)\nwhat to do: set a token\n" in said
    assert said.count("over: no_worker") == said.count("over: unauthorized") == 1


def test_only_a_paused_account_ends_the_waiting(monkeypatch):
    """A waiting submit goes on while a worker is away, and ends when the account takes no creates."""
    assert "over: no_worker" in _follow(monkeypatch, [SILENT], [], until_paused=True)
    with pytest.raises(AccountPaused) as caught:
        _follow(monkeypatch, [SILENT], [PAUSED], until_paused=True)
    assert caught.value.sentences == ("account default is paused (unauthorized)", "set a token")


def test_a_story_fits_a_narrow_terminal():
    """On 80 columns each event's detail stands below its line, whole words together."""
    detail = {
        "code": "outcome_unknown",
        "reason": "ReadError: [Errno 104] Connection reset by peer",
        "field": None,
    }
    at = "2026-03-01T12:00:00.123Z"
    event = {"at": at, "event": "unknown", "state": "uncertain", "actor": "worker-1", "detail": detail}
    job = JobDetail(id="j", label="web-0001", state="uncertain", timeline=[event])
    out = Console(file=StringIO(), width=80)
    _print_story(out, job)
    assert out.file.getvalue().splitlines()[1].rstrip() == (
        "12:00:00.123    unknown           uncertain    worker-1"
    )
    assert "code outcome_unknown, reason ReadError: [Errno 104]" in out.file.getvalue()

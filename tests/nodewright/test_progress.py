from io import StringIO

import pytest
from rich.console import Console

from nodewright.cli import progress
from nodewright.cli.pictures import Seen, clock, settled_jobs, summary
from nodewright.cli.progress import AccountPaused, AtWork, Follower, Pace
from nodewright.client import Fleet, Outlook, ServiceNotReached, Status


def _fleet(**states):
    return Fleet(id="f", name="web", count=sum(states.values()), states=states)


def test_no_rate_before_two_looks():
    """One look gives no rate."""
    pace = Pace()
    pace.note(0.0, 0)
    assert pace.per_second is None


def test_the_rate():
    """The rate is what settled per second lately."""
    pace = Pace()
    for second in range(11):
        pace.note(float(second), second * 2)
    assert pace.per_second == 2.0


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
    """Without an outlook the line under the bars says elapsed time, rate, and what is left by that rate."""
    seen = Seen(_fleet(running=20, queued=20), per_second=2.0)
    assert summary(seen, 10.0) == "0:10 elapsed · 2.0/s · all running in about 0:10"
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

    def outlook(self, _):
        return Outlook()


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


class _Restarted(_Scripted):
    """A client whose service is away for some questions."""

    away = 3

    def fleet(self, ref):
        self.away -= 1
        if self.away in {0, 1}:
            raise ServiceNotReached("no answer")
        return super().fleet(ref)


def test_a_restart_of_the_service_is_waited_for(monkeypatch):
    """While the service is away that is said once, and once that it answers again."""
    monkeypatch.setattr(progress, "_STATUS_INTERVAL", 0.0)
    out = StringIO()
    follower = Follower(_Restarted([], []), Console(file=out, width=200), wait=lambda _: None)
    assert follower.follow(_fleet(booting=1)).all_running
    assert out.getvalue().count("the service does not answer; trying again") == 1
    assert out.getvalue().count("the service answers again") == 1


class _Many:
    """A client with fleets that change from look to look."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.asked = []

    def fleets(self, *, limit):
        self.asked.append(limit)
        return self.looks.pop(0)

    def fleet(self, ref):
        self.asked.append(ref)
        return Fleet(id=ref, name=ref, count=1, states={"running": 1})


def _at(state, name):
    return Fleet(id=name, name=name, count=1, states={state: 1})


def test_what_is_at_work():
    """Fleets that are at work are followed to their end, those that come later too, and those beyond the newest."""
    client = _Many(
        [_at("booting", "b"), _at("running", "done"), _at("queued", "a")],
        [_at("queued", "c"), _at("running", "b")],
        [_at("running", "c"), _at("running", "b")],
    )
    source = AtWork(client)
    assert [fleet.name for fleet in source()] == ["b", "a"]
    assert [(fleet.name, fleet.settled) for fleet in source()] == [("b", True), ("a", True), ("c", False)]
    assert all(fleet.settled for fleet in source())
    assert client.asked == [1000, 100, "a", 100]

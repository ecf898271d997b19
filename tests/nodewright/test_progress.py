from nodewright.cli.progress import Pace, clock, settled_jobs, summary
from nodewright.client import Fleet


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

from datetime import timedelta

import pytest

from jobs.estimate import USUAL_BOOT_SECONDS, creates_per_minute, estimate, seconds_until
from jobs.windows import Window
from tests.support.clock import START

EVEN = {"allowed": 20, "seconds": 15.0, "margin_seconds": 0.0}


def window(**changes):
    """A window of 20 calls in 15 s without a margin."""
    return Window(**{**EVEN, **changes})


def seconds(*lanes, calls):
    """Return after how many whole seconds so many calls may have been sent."""
    return round(seconds_until(lanes, calls, START))


@pytest.mark.parametrize(
    ("calls", "expected"), [(0, 0), (1, 0), (20, 0), (21, 15), (40, 15), (41, 30), (200, 135), (10_000, 7485)]
)
def test_a_fresh_window_lets_a_burst_through_and_then_one_per_period(calls, expected):
    """Twenty go at once, and twenty more with each window."""
    assert seconds([window()], calls=calls) == expected


def test_what_is_spent_is_waited_for():
    """A window that began ten seconds ago with twelve calls has eight left, and is over in five."""
    begun = START - timedelta(seconds=10)
    lane = [window(spent=12, opened_at=begun, started_by=begun)]
    assert [seconds(lane, calls=calls) for calls in (8, 9, 28, 29)] == [0, 5, 5, 20]


def test_a_window_that_a_429_closed_is_waited_for():
    """Nothing goes before the moment that the server named."""
    lane = [window(closed_until=START + timedelta(seconds=7), opened_at=START)]
    assert [seconds(lane, calls=calls) for calls in (1, 20, 21)] == [7, 7, 22]


def test_of_several_windows_the_tightest_holds():
    """Five in 15 s and ten in 30 s: both hold at every moment."""
    lane = [window(allowed=5), window(allowed=8, seconds=30.0)]
    assert [seconds(lane, calls=calls) for calls in (5, 6, 8, 9)] == [0, 15, 15, 30]


def test_several_tokens_work_side_by_side():
    """Two tokens let twice as many through."""
    assert seconds([window()], [window()], calls=80) == 15
    assert creates_per_minute([[window()], [window()]]) == 160


@pytest.mark.parametrize("lane", [[], [window(allowed=0)]])
def test_without_a_limit_nothing_is_waited_for(lane):
    """No window, or one that allows any number, delays nothing."""
    assert seconds(lane, calls=1_000_000) == 0
    assert creates_per_minute([lane]) is None


def test_withheld_calls_are_not_counted_on():
    """What others spend of the limit is not ours."""
    assert seconds([window(withheld=10)], calls=20) == 15


def test_an_estimate_counts_the_queue_and_the_boot():
    """The jobs before it go first, and the last instance boots after its create."""
    made = estimate([[window()]], count=20, jobs_ahead=20, boot_seconds=42.0, now=START, holds=["no worker"])
    assert (round(made.last_create_seconds), round(made.all_running_seconds)) == (15, 57)
    assert (made.boot_seconds_known, made.jobs_ahead, made.holds) == (True, 20, ("no worker",))
    assert made.to_json()["creates_per_minute"] == 80.0


def test_an_estimate_without_experience_says_so():
    """Where no boot was seen yet the usual time is taken, and marked as a guess; nothing asked takes no time."""
    made = estimate([[window()]], count=1, jobs_ahead=0, boot_seconds=None, now=START)
    assert (made.all_running_seconds, made.boot_seconds_known) == (USUAL_BOOT_SECONDS, False)
    nothing = estimate([[window()]], count=0, jobs_ahead=500, boot_seconds=None, now=START)
    assert nothing.all_running_seconds == 0


def test_an_absurd_queue_ends_somewhere():
    """One call an hour and a billion jobs: the estimate is an upper bound, not an endless search."""
    lane = [window(allowed=1, seconds=3600.0)]
    assert seconds_until([lane], 10**9, START) == 10 * 365 * 86_400

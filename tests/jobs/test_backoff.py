from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import backoff
from jobs.backoff import deliver_again, exponential


class Half(Random):
    """Dice that always fall in the middle: no jitter."""

    def random(self):
        """Return the middle."""
        return 0.5


@pytest.mark.parametrize(
    ("wait", "first_try", "first", "ceiling"),
    [
        (backoff.look_again, 0, backoff.LOOK_FIRST_SECONDS, backoff.LOOK_CEILING_SECONDS),
        (backoff.send_again, 1, backoff.SEND_FIRST_SECONDS, backoff.SEND_CEILING_SECONDS),
        (backoff.delete_again, 0, backoff.DELETE_FIRST_SECONDS, backoff.DELETE_CEILING_SECONDS),
    ],
)
@given(tries=st.integers(0, 10**9), seed=st.integers())
def test_waits_double_up_to_their_ceiling(wait, first_try, first, ceiling, tries, seed):
    """A wait is its first one doubled with each try, at most its ceiling, give or take a fifth."""
    middle = exponential(tries, first=first, ceiling=ceiling)
    found = wait(first_try + tries, Random(seed)).total_seconds()
    assert 0.8 * middle - 1e-6 <= found <= 1.2 * middle + 1e-6
    assert first <= middle <= ceiling


def test_the_steps():
    """The steps are powers of two, cut off at the ceiling, also where the power has no float."""
    steps = [exponential(tries, first=0.5, ceiling=30.0) for tries in (0, 1, 2, 5, 6, 32, 33, 5000)]
    assert steps == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0, 30.0]


def test_jobs_that_failed_together_do_not_return_together():
    """Jitter spreads the same wait of many jobs."""
    dice = Random(1)
    assert len({backoff.look_again(3, dice) for _ in range(50)}) > 45


def test_a_send_that_was_never_counted_waits_shortly():
    """Zero sends, which should not happen, is a short wait and no error."""
    assert backoff.send_again(0, Random(1)).total_seconds() < 0.5


def test_a_delivery_is_tried_twelve_times_within_a_day():
    """The waits between the tries of a delivery grow from seconds to hours, and all of them together are a day."""
    waits = [deliver_again(tries, Half()) for tries in range(1, 12)]
    assert waits == sorted(waits)
    assert (waits[0], sum(waits, timedelta())) == (timedelta(seconds=5), timedelta(seconds=85_955))
    assert deliver_again(12, Half()) is None


def test_deliveries_do_not_come_in_step():
    """The dice spread the tries of many deliveries by a fifth to either side."""
    dice = Random(1)
    waits = {deliver_again(5, dice).total_seconds() for _ in range(100)}
    assert len(waits) == 100
    assert 720 <= min(waits) < 800
    assert 1000 < max(waits) <= 1080


def test_a_receiver_may_ask_for_more_patience():
    """What a receiver asks for counts where it is longer than our own wait, up to six hours."""
    asked = [timedelta(seconds=1), timedelta(hours=1), timedelta(days=9)]
    waits = [deliver_again(1, Half(), retry_after=one) for one in asked]
    assert waits == [timedelta(seconds=5), timedelta(hours=1), timedelta(hours=6)]

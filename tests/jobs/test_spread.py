from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spread import NO_LIMIT, Lane, assign, rate_of
from jobs.windows import Window

TWENTY = Window(allowed=20, seconds=10.0)


def shared(count, **lanes):
    """Return how many of so many jobs each account gets."""
    return Counter(assign([(count, sorted(lanes))], lanes))


def test_equal_accounts_share_equally():
    """Two accounts with one limit each get half of the jobs each, turn by turn."""
    lanes = {"a": Lane(1.0), "b": Lane(1.0)}
    assert assign([(4, ["a", "b"])], lanes) == ["a", "b", "a", "b"]
    assert shared(200, a=Lane(1.0), b=Lane(1.0)) == {"a": 100, "b": 100}


def test_a_faster_account_gets_more():
    """An account gets jobs in proportion to what its windows allow."""
    assert shared(90, a=Lane(2.0), b=Lane(1.0)) == {"a": 60, "b": 30}


def test_what_waits_already_counts():
    """An account with a queue gets fewer, so that all are through at the same time."""
    assert shared(100, a=Lane(1.0, waiting=60), b=Lane(1.0)) == {"a": 20, "b": 80}
    assert shared(10, a=Lane(1.0, waiting=60), b=Lane(1.0)) == {"b": 10}


def test_a_group_stays_within_its_accounts():
    """A group whose image only one account has goes there, and the others make room for it."""
    lanes = {"a": Lane(1.0), "b": Lane(1.0)}
    assert assign([(3, ["b"]), (3, ["a", "b"])], lanes) == ["b", "b", "b", "a", "a", "a"]


def test_the_rate_of_an_account():
    """Tokens add up, of several buckets the tightest holds, and what others spend does not count."""
    assert rate_of([[TWENTY]]) == 2.0
    assert rate_of([[TWENTY], [TWENTY]]) == 4.0
    assert rate_of([[TWENTY, Window(allowed=10, seconds=30.0)]]) == pytest.approx(1 / 3)
    assert rate_of([[Window(allowed=20, seconds=10.0, withheld=10)]]) == 1.0
    assert rate_of([[Window(allowed=0, seconds=1.0)]]) == NO_LIMIT
    assert rate_of([[]]) == NO_LIMIT
    assert rate_of([]) == 0


LANES = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(Lane, st.floats(0.1, 100), st.integers(0, 50)),
    min_size=1,
)


@given(LANES, st.integers(1, 200))
def test_nobody_would_be_sooner_elsewhere(lanes, count):
    """However fast and however busy the accounts are, no job could be sent sooner by moving it to another one."""
    given_ = Counter(assign([(count, sorted(lanes))], lanes))
    ends = {name: (lane.waiting + given_[name]) / lane.rate for name, lane in lanes.items()}
    for name in given_:
        for other, lane in lanes.items():
            assert (lane.waiting + given_[other] + 1) / lane.rate >= ends[name] - 1e-9

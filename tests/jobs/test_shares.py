from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.shares import Candidate, choose


def waiting(tenant, count, priority=0, first=0):
    """Return the head of a tenant's queue; ids tell the age."""
    return [Candidate(-priority, f"{first + number:04d}-{tenant}", tenant) for number in range(count)]


def tenants(chosen):
    """Count the chosen jobs of each tenant."""
    return dict(Counter(job_id.partition("-")[2] for job_id in chosen))


@pytest.mark.parametrize(
    ("candidates", "most", "weights", "expected"),
    [
        ([], 5, {}, {}),
        (waiting("a", 3), 5, {}, {"a": 3}),
        (waiting("a", 20) + waiting("b", 20, first=9000), 20, {}, {"a": 10, "b": 10}),
        (waiting("a", 20) + waiting("b", 2, first=9000), 20, {}, {"a": 18, "b": 2}),
        (waiting("a", 20) + waiting("b", 20), 20, {"a": 1, "b": 3}, {"a": 5, "b": 15}),
        (waiting("a", 20) + waiting("b", 3, priority=1), 5, {}, {"a": 2, "b": 3}),
        (waiting("a", 20, priority=9) + waiting("b", 20), 5, {}, {"a": 5}),
    ],
)
def test_shares(candidates, most, weights, expected):
    """Priority first, then by weight, and what one does not need the others have."""
    chosen, _ = choose(candidates, most, weights=weights, ahead={})
    assert tenants(chosen) == expected


def test_age_within_a_tenant():
    """Of a tenant's equally urgent jobs the oldest goes first."""
    chosen, _ = choose(waiting("a", 3) + waiting("a", 1, priority=2, first=8), 3, weights={}, ahead={})
    assert chosen == ["0008-a", "0000-a", "0001-a"]


def test_nobody_starves():
    """However much urgent work another tenant has, one place of each window goes to who is least ahead."""
    ahead, served = {}, Counter()
    for _ in range(10):
        candidates = waiting("urgent", 20, priority=9) + waiting("patient", 20)
        chosen, ahead = choose(candidates, 20, weights={}, ahead=ahead)
        served.update(tenants(chosen))
    assert served["patient"] >= 9
    assert served["urgent"] >= 180


def test_nobody_saves_up_turns():
    """Who comes back after a long pause starts level with the others."""
    ahead = {}
    for _ in range(50):
        _, ahead = choose(waiting("a", 20), 20, weights={}, ahead=ahead)
    chosen, _ = choose(waiting("a", 20) + waiting("b", 20), 20, weights={}, ahead=ahead)
    assert abs(tenants(chosen)["a"] - 10) <= 1


@given(
    weights=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=2),
    sizes=st.lists(st.integers(1, 30), min_size=5, max_size=60),
)
def test_shares_over_many_windows(weights, sizes):
    """Over windows of any size tenants who always wait are served in proportion to their weights."""
    ahead, served = {}, Counter()
    for most in sizes:
        candidates = [one for tenant in weights for one in waiting(tenant, most)]
        chosen, ahead = choose(candidates, most, weights=weights, ahead=ahead)
        assert len(chosen) == len(set(chosen)) == most
        served.update(tenants(chosen))
    rates = [served[tenant] / weight for tenant, weight in weights.items()]
    assert max(rates) - min(rates) <= 2
    assert all(0 < lead <= 2 for lead in ahead.values())

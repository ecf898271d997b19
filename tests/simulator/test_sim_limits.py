from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import Bucket, Limits

WHO = ("token", "POST", "/linode/instances", "create")


def _limits(*buckets: Bucket, backends: int = 1) -> Limits:
    made = Limits(backends=backends)
    made.set("create", buckets)
    return made


def test_a_window_starts_at_its_first_call_and_not_before():
    """The first call opens the window; its end counts from there."""
    ours = _limits(Bucket(1, 15.0))
    assert ours.take(*WHO, 107.0).allowed
    assert not ours.take(*WHO, 121.9).allowed
    assert ours.take(*WHO, 122.0).allowed


def test_a_refused_call_spends_nothing_and_moves_no_window():
    """Knocking on a full window changes neither its end nor the next window's room."""
    ours = _limits(Bucket(2, 10.0))
    answers = [ours.take(*WHO, now).allowed for now in (0, 1, 2, 3, 9, 10, 11, 12)]
    assert answers == [True, True, False, False, False, True, True, False]


def test_two_windows_at_once_both_count():
    """5 / 15 s and 10 / 30 s together: five at once, five more after 15 s, then none until 30 s."""
    ours = _limits(Bucket(5, 15.0), Bucket(10, 30.0))
    passed = [sum(ours.take(*WHO, now).allowed for _ in range(8)) for now in (0, 15, 29, 30)]
    assert passed == [5, 5, 0, 5]


def test_tokens_and_routes_have_their_own_counters():
    """What one token spends on one route leaves others alone."""
    ours = _limits(Bucket(1, 10.0))
    assert ours.take(*WHO, 0).allowed
    assert ours.take("other", *WHO[1:], 0).allowed
    assert ours.take("token", "POST", "/elsewhere", "create", 0).allowed


def test_backends_that_do_not_know_of_each_other_let_more_through():
    """With two backends twice the limit passes."""
    ours = _limits(Bucket(3, 10.0), backends=2)
    assert sum(ours.take(*WHO, 0).allowed for _ in range(20)) == 6


def test_without_windows_everything_passes_and_no_header_is_sent():
    """A class of calls without windows has no limit and says nothing of one."""
    ticket = _limits().take(*WHO, 0)
    assert ticket.allowed
    assert ticket.headers(0, "all") == []


def test_limits_change_under_an_open_window():
    """A new number holds at once, for windows that are open too."""
    ours = _limits(Bucket(5, 10.0))
    assert ours.take(*WHO, 0).allowed
    ours.set("create", [Bucket(1, 10.0)])
    assert not ours.take(*WHO, 1).allowed


def test_looking_spends_nothing():
    """A look says what a take would say, any number of times, and opens no window."""
    ours = _limits(Bucket(1, 10.0))
    assert all(ours.look(*WHO, now).allowed for now in range(5))
    assert ours.windows == {}


def test_headers_follow_the_recordings():
    """Reset is whole epoch seconds and never early; Retry-After is Reset - Date - 1."""
    headers = dict(_limits(Bucket(20, 15.0)).take(*WHO, 100.7).headers(100.7, "all"))
    assert headers == {
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "19",
        "X-RateLimit-Reset": "116",
        "Retry-After": "15",
    }


def test_headers_can_shrink_to_the_limit_or_to_nothing():
    """limit-only is the lone X-RateLimit-Limit of recent 429s; none is none."""
    ticket = _limits(Bucket(20, 15.0)).take(*WHO, 0)
    assert ticket.headers(0, "limit-only") == [("X-RateLimit-Limit", "20")]
    assert ticket.headers(0, "none") == []


def test_lists_claim_the_general_figure():
    """A list is limited to 200 a minute while its headers speak of 1840, as recorded."""
    ours = Limits()
    tickets = [ours.take("t", "GET", "/regions", "list", 0) for _ in range(201)]
    assert [ticket.allowed for ticket in tickets].count(True) == 200
    assert (tickets[0].limit, tickets[0].remaining) == (1840, 1839)


@settings(deadline=None)
@given(
    limit=st.integers(1, 5),
    window=st.floats(0.5, 20),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_window_lets_more_through_than_its_limit(limit, window, gaps):
    """Between a window's first call and its end at most ``limit`` calls pass, whatever their times."""
    ours, now, passed = _limits(Bucket(limit, window)), 0.0, []
    for gap in gaps:
        now += gap
        ticket = ours.take(*WHO, now)
        if ticket.allowed:
            passed.append((ticket.resets_at, now))
    for end in {end for end, _ in passed}:
        inside = [at for ends, at in passed if ends == end]
        assert len(inside) <= limit
        assert all(at < end for at in inside)

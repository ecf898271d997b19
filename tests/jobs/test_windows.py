from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import windows
from jobs.windows import GRANT_SECONDS, LONGEST_SECONDS, MARGIN_CEILING_SECONDS, RateFacts, Window

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    """Return the moment so many seconds after the start."""
    return T0 + timedelta(seconds=seconds)


FRESH = Window(allowed=20, seconds=15.0)
OPEN = replace(FRESH, spent=20, opened_at=at(0), granted_at=at(0))


@pytest.mark.parametrize(
    ("window", "now", "room", "next_opening"),
    [
        pytest.param(FRESH, 0, 20, 0, id="nothing spent"),
        pytest.param(replace(FRESH, spent=7, granted_at=at(0)), 1, 13, GRANT_SECONDS, id="granted, not sent"),
        pytest.param(OPEN, 1, 0, 15.1, id="spent"),
        pytest.param(replace(OPEN, spent=5), 14.89, 15, 15.1, id="room until the last moment"),
        pytest.param(replace(OPEN, spent=5), 14.9, 0, 15.1, id="too late to arrive in this window"),
        pytest.param(replace(OPEN, spent=25), 1, 0, 15.1, id="somebody else overspent"),
        pytest.param(replace(FRESH, closed_until=at(9)), 1, 0, 9, id="closed by a 429"),
        pytest.param(replace(FRESH, closed_until=at(9)), 9, 20, 9, id="closed until now"),
        pytest.param(Window(allowed=0, seconds=15.0, spent=10**6), 1, None, 1, id="no limit"),
        pytest.param(
            Window(allowed=0, seconds=15.0, closed_until=at(3)), 1, 0, 3, id="no limit, but refused"
        ),
    ],
)
def test_room_and_next_opening(window, now, room, next_opening):
    """What may be granted now, and when it may be more."""
    assert windows.room(window, at(now)) == room
    if room is not None:
        assert windows.next_opening(window, at(now)) >= at(next_opening) - timedelta(microseconds=1)
    if room == 0:
        opening = windows.next_opening(window, at(now))
        assert opening == at(next_opening)
        assert windows.room(windows.rolled(window, opening), opening) != 0


@pytest.mark.parametrize(
    ("window", "now", "rolls"),
    [
        pytest.param(FRESH, 10**6, False, id="nothing spent, nothing to roll"),
        pytest.param(OPEN, 15.09, False, id="not surely over"),
        pytest.param(OPEN, 15.1, True, id="over"),
        pytest.param(replace(FRESH, spent=1, granted_at=at(0)), 4.9, False, id="grant may still be sent"),
        pytest.param(replace(FRESH, spent=1, granted_at=at(0)), 5.0, True, id="grants lapsed unsent"),
        pytest.param(replace(FRESH, spent=1), 0, True, id="spent by nobody known"),
        pytest.param(replace(OPEN, closed_until=at(30)), 20, False, id="closed beyond its end"),
        pytest.param(replace(OPEN, closed_until=at(30)), 30, True, id="closed until now"),
    ],
)
def test_rolling(window, now, rolls):
    """A window that is over, or whose grants all lapsed, makes place for the next generation; else it stays."""
    rolled = windows.rolled(window, at(now))
    if not rolls:
        assert rolled is window
        return
    fresh = {"spent": 0, "opened_at": None, "granted_at": None, "closed_until": None}
    assert rolled == replace(window, generation=window.generation + 1, **fresh)


def test_only_the_first_call_opens_a_window():
    """The window begins with its first call; what follows does not move it."""
    once = windows.opened(FRESH, at(1))
    assert once.opened_at == at(1)
    assert windows.opened(once, at(2)) is once


@pytest.mark.parametrize(
    ("window", "now", "seconds"),
    [
        (FRESH, 0, GRANT_SECONDS),
        (OPEN, 1, 1 + GRANT_SECONDS),
        (OPEN, 14, 14.9),
        (Window(allowed=0, seconds=15.0, opened_at=at(0)), 14, 14 + GRANT_SECONDS),
    ],
)
def test_a_grant_lapses(window, now, seconds):
    """A grant may be sent for five seconds, and never so late that it arrives in the next window."""
    assert windows.send_before(window, at(now)) == at(seconds)


# What replies teach --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "generation", "changes"),
    [
        (RateFacts(), 1, {}),
        (RateFacts(allowed=5), 1, {"allowed": 5}),
        (RateFacts(allowed=5), 7, {"allowed": 5}),
        (RateFacts(allowed=0), 1, {}),
        (RateFacts(remaining=3), 1, {"spent": 17, "granted_at": at(2)}),
        (RateFacts(remaining=19), 1, {"spent": 4, "granted_at": at(2)}),
        (RateFacts(remaining=3), 2, {}),
        (RateFacts(remaining=3), None, {}),
        (RateFacts(allowed=10, remaining=0), 1, {"allowed": 10, "spent": 10, "granted_at": at(2)}),
    ],
)
def test_learning(facts, generation, changes):
    """The server's limit holds at once; its count holds where it is higher, for the window that it speaks of."""
    window = replace(FRESH, spent=4, opened_at=at(0), granted_at=at(0))
    assert windows.learned(window, facts, generation=generation, now=at(2)) == replace(window, **changes)


def test_no_limit_stays_no_limit():
    """Where a limit was switched off on purpose, headers do not switch it on."""
    window = Window(allowed=0, seconds=15.0, spent=3, opened_at=at(0))
    assert windows.learned(window, RateFacts(allowed=5, remaining=0), generation=1, now=at(1)) == window


@pytest.mark.parametrize(
    ("facts", "until"),
    [
        pytest.param(RateFacts(), 15.1, id="nothing said: its own end"),
        pytest.param(RateFacts(retry_after=3), 2 + 3 + 1, id="Retry-After, and the second that it lacks"),
        pytest.param(RateFacts(reset_seconds=7), 2 + 7 + 1, id="reset"),
        pytest.param(RateFacts(retry_after=3, reset_seconds=7), 2 + 7 + 1, id="the later of both"),
        pytest.param(RateFacts(retry_after=10**9), 2 + LONGEST_SECONDS + 1, id="absurdly long"),
    ],
)
def test_a_refusal_closes_the_window(facts, until):
    """A 429 closes the window until the server says, else until its own end, and widens the margin."""
    window = windows.refused(OPEN, facts, generation=1, now=at(2))
    assert window.closed_until == at(until)
    assert (window.refused, window.refused_at) == (1, at(2))
    assert window.margin_seconds == pytest.approx(0.15)
    assert windows.room(window, at(until) - timedelta(milliseconds=1)) == 0
    assert windows.room(windows.rolled(window, at(until)), at(until)) == 20


def test_a_refusal_before_any_call_closes_for_one_length():
    """A stranger may have spent the window before our first call: then a whole length is waited."""
    assert windows.refused(FRESH, RateFacts(), generation=1, now=at(2)).closed_until == at(17)


def test_a_late_refusal_is_counted_only():
    """A 429 of a window that is over says nothing of the present one."""
    late = windows.refused(OPEN, RateFacts(retry_after=9), generation=0, now=at(2))
    assert late == replace(OPEN, refused=1, refused_at=at(2))


def test_the_margin_has_a_ceiling():
    """However often the server refuses, the margin stays bounded."""
    window = OPEN
    for _ in range(100):
        window = windows.refused(window, RateFacts(), generation=window.generation, now=at(2))
    assert window.margin_seconds == MARGIN_CEILING_SECONDS


numbers = st.one_of(st.none(), st.integers(-(10**12), 10**12))
floats = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(
    allowed=numbers,
    remaining=numbers,
    retry_after=floats,
    reset_seconds=floats,
    generation=st.one_of(st.none(), st.integers(0, 2)),
    window=st.sampled_from([FRESH, OPEN, Window(allowed=0, seconds=1.0), replace(OPEN, closed_until=at(9))]),
)
def test_absurd_facts_do_no_harm(allowed, remaining, retry_after, reset_seconds, generation, window):
    """Whatever a header claims, the window stays one that the table takes, and reopens within about an hour."""
    facts = RateFacts(allowed, remaining, retry_after, reset_seconds)
    for lesson in (windows.learned, windows.refused):
        taught = lesson(window, facts, generation=generation, now=at(2))
        assert 0 <= taught.allowed <= 2**31 - 1
        assert 0 <= taught.spent <= 2**31 - 1
        assert (taught.allowed == 0) == (window.allowed == 0)
        late = at(2 + LONGEST_SECONDS + 20)
        assert windows.room(windows.rolled(taught, late), late) != 0
        if taught.closed_until != window.closed_until:
            assert taught.closed_until >= at(3)


# Against a server ----------------------------------------------------------------------------------------------------


class Server:
    """A fixed-window counter as the API has it: a window begins with the first call that arrives after the last one."""

    def __init__(self, allowed, seconds):
        self.allowed = allowed
        self.seconds = seconds
        self.began = None
        self.count = 0

    def accepts(self, moment):
        if self.began is None or moment >= self.began + timedelta(seconds=self.seconds):
            self.began, self.count = moment, 0
        self.count += 1
        return self.count <= self.allowed


@settings(max_examples=150, deadline=None)
@given(
    allowed=st.integers(1, 30),
    seconds=st.sampled_from([1.0, 2.0, 5.0, 10.0, 15.0, 60.0]),
    dice=st.randoms(use_true_random=False),
    start=st.floats(0, 1),
    slow=st.booleans(),
)
def test_a_client_that_follows_the_window_is_never_refused(allowed, seconds, dice, start, slow):
    """Whenever calls arrive, up to the margin late, none is refused, and each window's burst is used in full.

    Grants that their worker picks up too late go back unsent, as the engine does it.
    """
    server = Server(allowed, seconds)
    window = Window(allowed=allowed, seconds=seconds)
    now, bursts, calls = at(start), [], []
    while len(bursts) < 6:
        window = windows.rolled(window, now)
        room = windows.room(window, now)
        if room == 0:
            later = windows.next_opening(window, now)
            assert later > now
            now = later
            continue
        until = windows.send_before(window, now)
        window = windows.granted(window, room, now)
        delays = sorted(dice.uniform(0, GRANT_SECONDS + 1 if slow else 0.05) for _ in range(room))
        sent = [now + timedelta(seconds=delay) for delay in delays]
        sent = [moment for moment in sent if moment <= until]
        for moment in sent:
            window = windows.opened(window, moment)
            calls.append(moment + timedelta(seconds=dice.uniform(0, windows.MARGIN_SECONDS)))
        bursts.append((room, len(sent)))
    assert all(server.accepts(moment) for moment in sorted(calls))
    assert all(room == allowed for room, _ in bursts)
    if not slow:
        assert all(sent == allowed for _, sent in bursts)


@given(length=st.sampled_from([5.0, 15.0]), dice=st.randoms(use_true_random=False))
def test_several_small_grants_share_a_window(length, dice):
    """Jobs that trickle in are granted one by one, and together never more than the limit."""
    server, window, now, refused = Server(5, length), Window(allowed=5, seconds=length), at(0), 0
    for _ in range(60):
        now += timedelta(seconds=dice.uniform(0, 2))
        window = windows.rolled(window, now)
        if windows.room(window, now):
            window = windows.opened(windows.granted(window, 1, now), now)
            refused += not server.accepts(now + timedelta(seconds=dice.uniform(0, 0.1)))
    assert refused == 0

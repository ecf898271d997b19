from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import windows
from jobs.windows import (
    GRANT_SECONDS,
    LAPSE_SECONDS,
    LONGEST_SECONDS,
    MARGIN_CEILING_SECONDS,
    MARGIN_FLOOR_SECONDS,
    MARGIN_SECONDS,
    Call,
    RateFacts,
    Window,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    """Return the moment so many seconds after the start."""
    return T0 + timedelta(seconds=seconds)


FRESH = Window(allowed=20, seconds=15.0)
OPEN = replace(FRESH, spent=20, opened_at=at(0), started_by=at(0.02), granted_at=at(0))
CALL = Call(sent_at=at(0.01), written_at=at(0.03))
LOST = GRANT_SECONDS + LAPSE_SECONDS
END = 15.02 + MARGIN_SECONDS


@pytest.mark.parametrize(
    ("window", "now", "room", "next_opening"),
    [
        pytest.param(FRESH, 0, 20, 0, id="nothing spent"),
        pytest.param(replace(FRESH, spent=7, granted_at=at(0)), 1, 13, LOST, id="granted, not sent"),
        pytest.param(OPEN, 1, 0, END, id="spent"),
        pytest.param(replace(OPEN, spent=5), 14.91, 15, END, id="room until the last moment"),
        pytest.param(replace(OPEN, spent=5), 14.92, 0, END, id="too late to arrive in this window"),
        pytest.param(replace(OPEN, spent=25), 1, 0, END, id="overspent"),
        pytest.param(replace(OPEN, spent=5, rejected=1), 1, 0, END, id="somebody was refused"),
        pytest.param(replace(OPEN, spent=5, withheld=15), 1, 0, END, id="the rest is withheld"),
        pytest.param(replace(FRESH, withheld=25), 1, 1, 0, id="one call is never withheld"),
        pytest.param(
            replace(OPEN, started_by=None), 1, 0, END - 0.02 + GRANT_SECONDS, id="no answer known yet"
        ),
        pytest.param(
            replace(OPEN, started_by=None, rejected=20, rejected_by=at(3)),
            1,
            0,
            18 + MARGIN_SECONDS,
            id="a refused call found it open",
        ),
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
        pytest.param(OPEN, END - 0.01, False, id="not surely over"),
        pytest.param(OPEN, END, True, id="over"),
        pytest.param(replace(FRESH, spent=1, granted_at=at(0)), LOST - 0.1, False, id="may still be sent"),
        pytest.param(replace(FRESH, spent=1, granted_at=at(0)), LOST, True, id="grants lapsed unsent"),
        pytest.param(replace(OPEN, closed_until=at(30)), 20, False, id="closed beyond its end"),
        pytest.param(replace(OPEN, closed_until=at(30)), 30, True, id="closed until now"),
        pytest.param(replace(FRESH, closed_until=at(3)), 3, True, id="closed before any call"),
    ],
)
def test_rolling(window, now, rolls):
    """A window that is over, or whose grants all lapsed, makes place for the next generation; else it stays."""
    rolled = windows.rolled(window, at(now))
    if not rolls:
        assert rolled is window
        return
    assert rolled.generation == window.generation + 1
    assert (rolled.spent, rolled.rejected) == (0, 0)
    assert {rolled.opened_at, rolled.started_by, rolled.granted_at, rolled.closed_until} == {None}


def test_calls_in_doubt_stay_spent():
    """When a closed window reopens, calls that were not refused may count in the server's new one."""
    window = replace(OPEN, spent=20, rejected=5, rejected_by=at(0.02), closed_until=at(1))
    reopened = windows.rolled(window, at(1))
    assert reopened == replace(window, spent=15, rejected=0, rejected_by=None, closed_until=None)
    assert windows.room(reopened, at(1)) == 5


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
        (OPEN, 14, 15 - MARGIN_SECONDS),
        (Window(allowed=0, seconds=15.0, opened_at=at(0)), 14, 14 + GRANT_SECONDS),
    ],
)
def test_a_grant_lapses(window, now, seconds):
    """A grant may be sent for five seconds, and never so late that it arrives in the next window."""
    assert windows.send_before(window, at(now)) == at(seconds)


# What replies teach --------------------------------------------------------------------------------------------------


HALF = replace(OPEN, spent=4)
LATER = Call(sent_at=at(3), written_at=at(3.01))


@pytest.mark.parametrize(
    ("facts", "call", "changes"),
    [
        pytest.param(RateFacts(), LATER, {}, id="nothing said"),
        pytest.param(RateFacts(allowed=5), LATER, {"allowed": 5}, id="a lower limit"),
        pytest.param(RateFacts(allowed=5), Call(at(-3)), {"allowed": 5}, id="also in a late reply"),
        pytest.param(RateFacts(allowed=0), LATER, {}, id="no limit is no news"),
        pytest.param(
            RateFacts(allowed=20, remaining=3),
            LATER,
            {"withheld": 13, "counted": 17, "patience_seconds": LONGEST_SECONDS},
            id="somebody else spent 13",
        ),
        pytest.param(RateFacts(allowed=20, remaining=19), LATER, {}, id="the others are on their way"),
        pytest.param(RateFacts(allowed=20, remaining=3), Call(at(-3)), {}, id="of an older window"),
        pytest.param(
            RateFacts(allowed=30, remaining=29), LATER, {"allowed": 30}, id="a higher limit, for sure"
        ),
        pytest.param(
            RateFacts(allowed=30, remaining=20),
            LATER,
            {"claimed": 30, "claimed_at": at(0)},
            id="a higher limit, or another bucket's",
        ),
        pytest.param(RateFacts(allowed=30), Call(at(-3)), {}, id="a higher limit in a late reply"),
        pytest.param(RateFacts(), Call(at(3), at(0.01)), {"started_by": at(0.01)}, id="a better bound"),
        pytest.param(RateFacts(), Call(at(3), at(0.015)), {}, id="a bound that is hardly better"),
        pytest.param(RateFacts(), Call(at(3), at(0.0), accepted=False), {}, id="not surely counted"),
    ],
)
def test_learning(facts, call, changes):
    """The server's limit and count hold for the window that they speak of; the first call written bounds its start."""
    assert windows.learned(HALF, facts, call, now=at(4)) == replace(HALF, **changes)


def test_a_higher_limit_holds_when_a_second_window_confirms_it():
    """Of several buckets replies name the tightest, now this one and now that one: one window proves nothing."""
    claimed = windows.learned(HALF, RateFacts(allowed=30), LATER, now=at(4))
    assert claimed.allowed == 20
    second = replace(windows.opened(windows.rolled(claimed, at(16)), at(16)), started_by=at(16))
    call = Call(at(16.1), at(16.1))
    assert windows.learned(second, RateFacts(allowed=30), call, now=at(17)).allowed == 30
    denied = windows.learned(second, RateFacts(allowed=20), call, now=at(17))
    assert (denied.claimed, windows.learned(denied, RateFacts(allowed=30), call, now=at(17)).allowed) == (
        None,
        20,
    )


def test_what_others_left_is_used():
    """Once nothing of ours is under way, the server's count says how much the others really spent."""
    window = replace(HALF, withheld=9)
    facts = RateFacts(allowed=20, remaining=12)
    assert windows.learned(window, facts, LATER, now=at(4)) == replace(window, counted=8)
    alone = windows.learned(window, facts, replace(LATER, alone=True), now=at(4))
    assert (alone.withheld, windows.room(alone, at(4))) == (4, 12)


def test_a_server_that_is_not_full_reopens_the_window():
    """A load balancer's 429 closes the window; a later count of the server's own shows that it has room."""
    window = replace(OPEN, rejected=1, rejected_by=at(0.05))
    call = Call(at(0.1), at(0.1), alone=True)
    reopened = windows.learned(window, RateFacts(allowed=20, remaining=1), call, now=at(2))
    assert windows.room(reopened, at(2)) == 1


def test_no_limit_stays_no_limit():
    """Where a limit was switched off on purpose, headers do not switch it on."""
    window = Window(allowed=0, seconds=15.0, spent=3, opened_at=at(0), started_by=at(0))
    assert windows.learned(window, RateFacts(allowed=5, remaining=0), LATER, now=at(4)) == window


def test_the_first_call_tells_the_length():
    """Where the reset of a window's first call can't be ours, the window is as long as it says."""
    facts = RateFacts(allowed=20, remaining=19, reset_seconds=60)
    assert windows.learned(HALF, facts, CALL, now=at(0.05)).seconds == pytest.approx(60.02)
    assert windows.learned(HALF, replace(facts, reset_seconds=16), CALL, now=at(0.05)).seconds == 15.0
    assert windows.learned(HALF, replace(facts, remaining=18), CALL, now=at(0.05)).seconds == 15.0


@pytest.mark.parametrize(
    ("facts", "opening"),
    [
        pytest.param(RateFacts(), END, id="nothing said: its own end"),
        pytest.param(
            RateFacts(retry_after=12), END, id="its own end fits: the grain of a second is not added"
        ),
        pytest.param(RateFacts(reset_seconds=14), END, id="so it does"),
        pytest.param(RateFacts(retry_after=3), 2 + 3 + 1 + MARGIN_SECONDS, id="it ends sooner"),
        pytest.param(RateFacts(reset_seconds=7), 2 + 7 + MARGIN_SECONDS, id="it ends sooner: reset"),
        pytest.param(RateFacts(reset_seconds=0), 2 + 1, id="not at once"),
        pytest.param(RateFacts(reset_seconds=40), 2 + 40 + MARGIN_SECONDS, id="it ends later"),
        pytest.param(RateFacts(retry_after=10**9, reset_seconds=-4), END, id="nonsense"),
    ],
)
def test_a_refusal_closes_the_window(facts, opening):
    """A 429 closes the window until its own end, or until the server says where the two can't both be right."""
    window = windows.refused(
        replace(OPEN, spent=20), facts, Call(at(1.9), at(1.95), accepted=False), now=at(2)
    )
    assert (window.refused, window.refused_at, window.rejected) == (1, at(2), 1)
    assert windows.room(window, at(2)) == 0
    assert windows.next_opening(window, at(2)) == at(opening)


def test_a_window_that_refuses_everything_is_probed():
    """Where not one call passed and nothing is said, one call is tried after 1, 2, 4 s, and then all go on."""
    window = replace(FRESH, spent=2, opened_at=at(0), granted_at=at(0))
    now, waits = 0.1, []
    for _ in range(3):
        for _ in range(window.spent):
            call = Call(at(now), at(now), accepted=False)
            window = windows.refused(window, RateFacts(), call, now=at(now))
        opening = windows.next_opening(window, at(now))
        waits.append((opening - at(now)).total_seconds())
        window = windows.rolled(window, opening)
        assert windows.room(window, opening) == 1
        now = (opening - T0).total_seconds()
        window = windows.opened(windows.granted(window, 1, opening), opening)
    assert waits == [1, 2, 4]
    passed = windows.learned(window, RateFacts(), Call(at(now), at(now)), now=at(now + 1.5))
    assert windows.room(passed, at(now + 1.5)) == 19


def test_refusals_without_a_reason_are_withheld():
    """Fifteen of twenty refused: the next windows are spent to five, and a quarter more is tried after a long calm."""
    window = replace(OPEN, rejected=15, rejected_by=at(0.1), refused=15, refused_at=at(0.2))
    window = windows.rolled(window, at(20))
    assert windows.room(window, at(20)) == 5
    assert window.margin_seconds == MARGIN_SECONDS
    full = {"spent": 5, "opened_at": at(20), "started_by": at(20)}
    assert windows.rolled(replace(window, **full), at(100)).withheld == 15
    assert windows.rolled(replace(window, **full), at(500)).withheld == 12
    again = replace(
        window, **{**full, "spent": 8}, withheld=12, rejected=3, rejected_by=at(21), refused_at=at(500)
    )
    assert windows.rolled(again, at(501)).withheld == 15
    assert windows.rolled(again, at(501)).patience_seconds == 2 * window.patience_seconds


def test_too_early_widens_the_margin():
    """Refused before the first that passed: the server's last window was not over. Nobody else spent anything."""
    window = replace(OPEN, rejected=5, rejected_by=at(0.01))
    later = windows.rolled(window, at(20))
    assert later.margin_seconds == pytest.approx(1.5 * MARGIN_SECONDS)
    assert later.withheld == 0


def test_the_margin_narrows_slowly():
    """Each window that is spent in full without a refusal takes a little off the margin, down to its floor."""
    window = OPEN
    for _ in range(100):
        narrower = windows.rolled(window, at(20))
        assert MARGIN_FLOOR_SECONDS <= narrower.margin_seconds <= window.margin_seconds
        window = replace(OPEN, margin_seconds=narrower.margin_seconds)
    assert window.margin_seconds == MARGIN_FLOOR_SECONDS
    assert windows.rolled(HALF, at(20)).margin_seconds == MARGIN_SECONDS


def test_the_margin_has_a_ceiling():
    """However often the server refuses, the margin stays bounded."""
    window = replace(OPEN, seconds=60.0)
    for _ in range(100):
        window = windows.rolled(
            replace(window, spent=1, opened_at=at(0), rejected=1, rejected_by=at(0)), at(90)
        )
    assert window.margin_seconds == MARGIN_CEILING_SECONDS


def test_a_late_refusal_is_counted_only():
    """A 429 of a window that is over says nothing of the present one."""
    call = Call(at(-1), at(-1), accepted=False)
    late = windows.refused(OPEN, RateFacts(retry_after=9), call, now=at(2))
    assert late == replace(OPEN, refused=1, refused_at=at(2))
    assert windows.refused(FRESH, RateFacts(), call, now=at(2)) == replace(FRESH, refused=1, refused_at=at(2))


def test_a_late_refusal_says_when_to_begin():
    """Where nothing was sent yet in the present window, the server's word for when it opens holds."""
    call = Call(at(-1), at(-1), accepted=False)
    assert windows.refused(FRESH, RateFacts(reset_seconds=9), call, now=at(2)).closed_until == at(11)


# Several buckets -----------------------------------------------------------------------------------------------------

FIVE = Window(5, 15.0, spent=5, opened_at=at(30), started_by=at(30), granted_at=at(30))
TEN = Window(10, 30.0, spent=10, opened_at=at(15), started_by=at(15), granted_at=at(30))


@pytest.mark.parametrize(
    ("known", "said", "about"),
    [
        ([FIVE], 12, 0),
        ([FIVE, TEN], 10, 1),
        ([FIVE, TEN], 4, 0),
        ([FIVE, TEN], 9, 1),
        ([FIVE, TEN], None, None),
        ([], 5, None),
    ],
)
def test_a_reply_speaks_of_one_bucket(known, said, about):
    """Of the one whose limit it names, else of the nearest."""
    assert windows.spoken_of(known, RateFacts(allowed=said)) == about


def test_a_limit_of_one_bucket_is_not_the_others():
    """The narrow bucket's limit does not make the wide one narrow; the written bound holds for both."""
    call = Call(at(31), at(29))
    five, ten = windows.taught(
        [FIVE, TEN], RateFacts(allowed=5, remaining=0), call, now=at(32), throttled=False
    )
    assert (five, ten) == (replace(FIVE, started_by=at(29)), TEN)


def test_a_refusal_closes_one_bucket():
    """The bucket that it names, or the fullest one."""
    call = Call(at(31), at(31), accepted=False)
    for facts in (RateFacts(allowed=10), RateFacts()):
        five, ten = windows.taught([FIVE, TEN], facts, call, now=at(32), throttled=True)
        assert (five.rejected, ten.rejected) == (0, 1)
    assert windows.taught([], RateFacts(), call, now=at(32), throttled=True) == []


def test_a_refusal_can_show_another_bucket():
    """A 429 that names a higher limit than the one that we keep to is another bucket's, begun with our last window."""
    call = Call(at(31), at(31), accepted=False)
    five, eight = windows.taught([FIVE], RateFacts(allowed=8), call, now=at(32), throttled=True)
    assert five == FIVE
    assert (eight.allowed, eight.seconds, eight.opened_at) == (8, 30.0, at(15))
    assert windows.room(eight, at(32)) == 0
    assert windows.room(windows.rolled(eight, at(46)), at(46)) == 8


numbers = st.one_of(st.none(), st.integers(-(10**12), 10**12))
floats = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(
    facts=st.builds(RateFacts, numbers, numbers, floats, floats),
    call=st.builds(
        Call,
        st.sampled_from([at(-1), at(1)]),
        st.sampled_from([None, at(0), at(1)]),
        st.booleans(),
        st.booleans(),
    ),
    window=st.sampled_from(
        [FRESH, OPEN, HALF, Window(allowed=0, seconds=1.0), replace(OPEN, closed_until=at(9))]
    ),
    throttled=st.booleans(),
)
def test_absurd_facts_do_no_harm(facts, call, window, throttled):
    """Whatever a header claims, the window stays one that the table takes, and reopens within about an hour or two."""
    for taught in windows.taught([window], facts, call, now=at(2), throttled=throttled):
        assert 0 <= taught.allowed <= 2**31 - 1
        assert 0 <= taught.spent <= 2**31 - 1
        assert 0 <= taught.withheld <= 2**31 - 1
        assert 0 < taught.seconds <= LONGEST_SECONDS
        assert (taught.allowed == 0) == (window.allowed == 0)
        late = at(2 * LONGEST_SECONDS)
        assert windows.room(windows.rolled(taught, late), late) != 0
        if taught.closed_until not in {None, window.closed_until}:
            assert taught.closed_until >= at(2.999)


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
            calls.append(moment + timedelta(seconds=dice.uniform(0, windows.MARGIN_FLOOR_SECONDS)))
        if sent and dice.random() < 0.9:
            window = replace(window, started_by=min(sent))
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
            window = replace(windows.opened(windows.granted(window, 1, now), now), started_by=now)
            refused += not server.accepts(now + timedelta(seconds=dice.uniform(0, MARGIN_FLOOR_SECONDS)))
    assert refused == 0


def test_a_stray_refusal_of_a_window_that_was_hardly_used_withholds_one_call():
    """One 429 without a reason, after a few of many calls, does not take the rest of the limit away."""
    hardly = Window(
        allowed=200, seconds=60.0, spent=4, opened_at=at(0), started_by=at(0.02), granted_at=at(0)
    )

    after = windows.rolled(windows.refused(hardly, RateFacts(), CALL, now=at(1)), at(61))

    assert after.withheld == 1

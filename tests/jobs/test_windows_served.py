"""The window's arithmetic against the simulator's counters, in simulated time: what is refused, and what is lost."""

import heapq
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import windows
from jobs.windows import Call, RateFacts, Window
from simulator.limits import Bucket, Limits

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SERVER_EPOCH = 1_700_000_000.0
LATENCY = 1.5
ADMISSION = 0.012
"""Seconds from an opening to the first intent."""
MODES = ("all", "limit-only", "none")


def moment(seconds):
    """Return the database's time."""
    return T0 + timedelta(seconds=seconds)


def seconds_of(at):
    """Return it as seconds again."""
    return (at - T0).total_seconds()


@dataclass
class World:
    """A queue that is sent as the windows allow, a network with delays, a server that counts, and others."""

    queue: int
    known: list[Window]
    server: Limits
    headers: str = "all"
    delay: tuple[float, float] = (0.005, 0.02)
    """One way, in seconds, drawn for each call."""
    burst: float = 0.05
    """Within so many seconds a grant is written."""
    skew: float = 0.0
    seed: int = 0
    strangers: tuple[float, ...] = ()
    changes: tuple[tuple[float, tuple[Bucket, ...]], ...] = ()
    slow: tuple[tuple[float, float, float], ...] = ()
    """From, until, and by how much the network is slower."""
    bare: tuple[int, ...] = ()
    """Which calls a load balancer refuses in front of the server."""
    made: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    theirs: int = 0
    sent: int = 0
    under_way: int = 0
    agenda: list = field(default_factory=list)
    order: int = 0

    def run(self):
        self.dice, count = Random(self.seed), self.queue
        self.at(0.0, self.admit)
        for when in self.strangers:
            self.at(when, self.stranger)
        for when, buckets in self.changes:
            self.at(when, lambda _now, buckets=buckets: self.server.set("create", buckets))
        while len(self.made) < count:
            now, _, act = heapq.heappop(self.agenda)
            assert now < 3600, "stuck"
            act(now)
        return self

    def at(self, when, act):
        self.order += 1
        heapq.heappush(self.agenda, (when, self.order, act))

    def admit(self, now):
        self.known = [windows.rolled(window, moment(now)) for window in self.known]
        rooms = [windows.room(window, moment(now)) for window in self.known]
        count = min([room for room in rooms if room is not None] + [self.queue])
        if count:
            until = min(windows.send_before(window, moment(now)) for window in self.known)
            self.known = [windows.granted(window, count, moment(now)) for window in self.known]
            self.queue -= count
            for _ in range(count):
                leaves = now + ADMISSION + self.dice.uniform(0, self.burst)
                self.at(leaves, lambda then, until=until: self.send(then, seconds_of(until)))
        openings = [
            windows.next_opening(window, moment(now))
            for window in self.known
            if windows.room(window, moment(now)) == 0
        ]
        if self.queue and openings:
            self.at(max(seconds_of(max(openings)), now + 1e-5), self.admit)

    def send(self, now, until):
        if now > until:
            self.queue += 1
            self.admit(now)
            return
        self.known = [windows.opened(window, moment(now)) for window in self.known]
        self.sent, self.under_way, written = self.sent + 1, self.under_way + 1, now + 0.002
        slower = sum(more for begin, end, more in self.slow if begin <= now < end)
        arrives = written + slower + self.dice.uniform(*self.delay)
        self.at(arrives, lambda then, number=self.sent: self.arrive(then, now, written, number))

    def stranger(self, now):
        self.theirs += self.server.take("us", "POST", "/", "create", now).allowed

    def arrive(self, now, sent, written, number):
        accepted, facts = False, RateFacts()
        if number not in self.bare:
            ticket = self.server.take("us", "POST", "/", "create", now)
            accepted, facts = ticket.allowed, self.facts(ticket, now)
        back = now + (LATENCY if accepted else 0.001) + self.dice.uniform(*self.delay)
        self.at(back, lambda then: self.answer(then, Call(moment(sent), moment(written), accepted), facts))

    def facts(self, ticket, now):
        ours = SERVER_EPOCH + self.skew
        headers = dict(replace(ticket, resets_at=ticket.resets_at + ours).headers(now + ours, self.headers))
        numbers = {name: int(text) for name, text in headers.items()}
        reset = numbers.get("X-RateLimit-Reset")
        return RateFacts(
            allowed=numbers.get("X-RateLimit-Limit"),
            remaining=numbers.get("X-RateLimit-Remaining"),
            retry_after=numbers.get("Retry-After"),
            reset_seconds=None if reset is None else reset - floor(now + ours),
        )

    def answer(self, now, call, facts):
        call = replace(call, alone=self.under_way == 1)
        self.under_way -= 1
        self.known = [windows.rolled(window, moment(now)) for window in self.known]
        self.known = windows.taught(self.known, facts, call, now=moment(now), throttled=not call.accepted)
        if call.accepted:
            self.made.append(now)
        else:
            self.refused.append(now)
            self.queue += 1
        self.admit(now)

    @property
    def took(self):
        return max(self.made)

    @property
    def windows_of_refusals(self):
        return {at // 15 for at in self.refused}


def run(count=200, known=((20, 15.0),), server=((20, 15.0),), backends=1, changes=(), **more):
    """Send ``count`` calls and return what came of it."""
    limits = Limits(backends=backends)
    limits.set("create", [Bucket(*bucket) for bucket in server])
    later = tuple((when, tuple(Bucket(*bucket) for bucket in buckets)) for when, buckets in changes)
    return World(count, [Window(*bucket) for bucket in known], limits, changes=later, **more).run()


def least(count, limit=20, length=15.0):
    """Return the least time in which so many calls can be answered."""
    return (ceil(count / limit) - 1) * length + LATENCY


@pytest.mark.parametrize("headers", MODES)
@pytest.mark.parametrize("backends", [1, 2])
@pytest.mark.parametrize("skew", [0.0, -37.4, 4000.3])
def test_each_window_is_spent_at_its_opening(headers, backends, skew):
    """On a quiet network nothing is refused and less than 0.12 s of a window is lost, whatever headers say."""
    world = run(headers=headers, backends=backends, skew=skew)
    assert world.refused == []
    assert world.took <= least(200) + 9 * 0.12


@settings(max_examples=40, deadline=None)
@given(
    headers=st.sampled_from(MODES),
    seed=st.integers(0, 10**6),
    burst=st.sampled_from([0.0, 0.05, 0.5, 3.0]),
    skew=st.floats(-2, 2),
)
def test_jitter_refuses_nothing(headers, seed, burst, skew):
    """With 50 ± 30 ms on the way nothing is refused, and each window loses the burst's end at the most."""
    world = run(headers=headers, seed=seed, burst=burst, skew=skew, delay=(0.02, 0.08))
    assert world.refused == []
    assert world.took <= least(200) * 1.02 + 2 * burst


@pytest.mark.parametrize("headers", MODES)
def test_two_buckets_are_learnt(headers):
    """Five in 15 s and ten in 30 s where twenty were configured: refused is the rest of the first burst only."""
    world = run(60, server=((5, 15.0), (10, 30.0)), headers=headers)
    assert world.windows_of_refusals == {0}
    assert world.took <= 1.03 * least(60, 5)


@pytest.mark.parametrize("headers", MODES)
def test_two_buckets_that_are_known(headers):
    """With both configured nothing is refused."""
    both = ((5, 15.0), (8, 30.0))
    world = run(60, known=both, server=both, headers=headers)
    assert world.refused == []
    assert world.took <= 1.03 * (7 * 30 + LATENCY)


@pytest.mark.parametrize("headers", ["all", "limit-only"])
def test_another_bucket_is_added(headers):
    """Eight in 30 s beside five in 15: the 429 that names it adds it, and the third window is right."""
    world = run(60, server=((5, 15.0), (8, 30.0)), headers=headers)
    assert world.windows_of_refusals == {0, 1}
    assert [(window.allowed, window.seconds) for window in world.known] == [(5, 15.0), (8, 30.0)]
    assert world.took <= 1.03 * (7 * 30 + LATENCY)


@pytest.mark.parametrize("headers", MODES)
def test_a_limit_that_is_cut(headers):
    """From 20 to 5 in mid-run: one burst is refused, then none, and what is left is spent in full."""
    world = run(headers=headers, changes=((65.0, ((5, 15.0),)),))
    assert len(world.refused) == 15
    assert len(world.windows_of_refusals) == 1
    assert world.took <= 1.01 * (4 * 15 + 20 * 15 + LATENCY)


@pytest.mark.parametrize(("headers", "late"), [("all", 15), ("limit-only", 30), ("none", 600)])
def test_a_limit_that_is_raised_again(headers, late):
    """From 20 to 5 and back: headers are believed at the next opening or the one after; without them it is felt out."""
    world = run(1000, headers=headers, changes=((65.0, ((5, 15.0),)), (200.0, ((20, 15.0),))))
    assert len(world.windows_of_refusals) == 1
    assert world.known[0].allowed - world.known[0].withheld == 20
    made_by_200 = sum(at < 200 for at in world.made)
    assert world.took <= 200 + late + (1000 - made_by_200) / 20 * 15


@pytest.mark.parametrize("headers", MODES)
def test_a_configured_limit_that_is_too_high(headers):
    """What is too much is refused once."""
    world = run(known=((50, 15.0),), headers=headers)
    assert len(world.refused) == 30
    assert world.windows_of_refusals == {0}
    assert world.took <= 1.01 * least(200)


@pytest.mark.parametrize(("headers", "late"), [("all", 0), ("limit-only", 16)])
def test_a_configured_limit_that_is_too_low(headers, late):
    """A reply says better, the first one or that of the second window. Without headers we keep to what we were told."""
    world = run(known=((5, 15.0),), headers=headers)
    assert world.refused == []
    assert world.took <= 1.01 * least(200) + late


@pytest.mark.parametrize("configured", [5.0, 30.0])
def test_a_configured_length_that_is_wrong(configured):
    """The first call's reset says how long the window is, to within a second and the reply's latency."""
    world = run(known=((20, configured),), headers="all")
    assert len(world.windows_of_refusals) <= 1
    assert 15 <= world.known[0].seconds <= 15 + 1 + LATENCY + 0.1


@pytest.mark.parametrize("headers", MODES)
@pytest.mark.parametrize("number", [1, 33])
def test_a_load_balancer_that_refuses_one(headers, number):
    """A bare 429 costs its window at the most, and no later one."""
    world = run(headers=headers, bare=(number,))
    assert len(world.refused) == 1
    assert world.took <= least(200) + 15 + 10 * 0.2


@pytest.mark.parametrize("headers", MODES)
def test_a_network_that_stands_still(headers):
    """Calls of one window come 0.7 s late, so that the next opens too early: it loses seconds, not a window."""
    world = run(headers=headers, slow=((45.0, 46.0, 0.7),))
    assert len(world.windows_of_refusals) == 1
    assert world.took <= least(200) + 5
    assert world.known[0].margin_seconds > windows.MARGIN_FLOOR_SECONDS


STRANGERS = {
    "steady": tuple(1.5 * number - 20 for number in range(1000)),
    "bursts": tuple(15.0 * window + number / 100 - 7 for window in range(100) for number in range(10)),
    "random": tuple(sorted(Random(3).uniform(-20, 1500) for _ in range(1000))),
}


@pytest.mark.parametrize("headers", MODES)
@pytest.mark.parametrize("kind", STRANGERS)
def test_a_stranger_who_spends_half(headers, kind):
    """Of what another program on the same token leaves at least 95 % becomes ours."""
    world = run(600, headers=headers, strangers=STRANGERS[kind])
    by = floor((world.took - LATENCY) / 15) * 15
    ours = sum(at - LATENCY < by for at in world.made)
    assert ours >= 0.95 * (by / 15 * 20 - world.theirs)
    assert len(world.refused) <= 0.1 * world.sent

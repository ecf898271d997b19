"""The arithmetic of a rate window: what may be sent now, when the next call may go, and what a reply teaches.

The API counts calls per (token, method, route) in fixed windows that begin at the first call. We keep our own picture
of the present window beside the jobs. The server's window began between two moments that we know: not before the first
intent (``opened_at``), and, but for the network's delay, not after any call that it accepted was written
(``started_by``). The first bound says until when a call surely lands in this window, the second when the next one may
open. All moments are of the database's clock. All functions are pure: they take ``now`` and return a new window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

GRANT_SECONDS: Final = 5.0
"""A grant that was not sent by then goes back: its wake-up was lost, or its worker is too slow to be useful."""
LAPSE_SECONDS: Final = 0.5
"""So much later the grants of a window that nobody opened are spent anew: a claim may be under way."""
MARGIN_SECONDS: Final = 0.08
"""Until the network is known: by how much the delays of two calls may differ."""
MARGIN_FLOOR_SECONDS: Final = 0.06
MARGIN_CEILING_SECONDS: Final = 2.0
MARGIN_NARROWS: Final = 0.95
MARGIN_WIDENS: Final = 1.5
GRAIN_SECONDS: Final = 0.01
"""A bound that is better by less than this is not worth a write."""
LONGEST_SECONDS: Final = 3600.0
"""A window or a wait beyond this is nonsense in a header, not news."""
SHORTEST_WAIT_SECONDS: Final = 1.0
"""Whatever a header says, a 429 is not followed by another call sooner."""
EARLY_SECONDS: Final = 3.2
"""A 429 whose window ends within so little found the last window open: whole seconds say no better."""
MOST_CALLS: Final = 1_000_000
"""A limit beyond this is nonsense too."""
MOST_BUCKETS: Final = 4
PATIENCE_SECONDS: Final = 30.0
"""Calls that were refused without a reason are withheld for so long, times their number, before one tries more."""
_LEAST_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Window:
    """One bucket of one (token, route): ``allowed`` calls (0: no limit) in ``seconds`` from the first call.

    ``jobs.tables.RateWindow`` says what each field is.
    """

    allowed: int
    seconds: float
    spent: int = 0
    generation: int = 1
    opened_at: datetime | None = None
    started_by: datetime | None = None
    granted_at: datetime | None = None
    closed_until: datetime | None = None
    margin_seconds: float = MARGIN_SECONDS
    withheld: int = 0
    patience_seconds: float = 0.0
    rejected: int = 0
    rejected_by: datetime | None = None
    counted: int = 0
    claimed: int | None = None
    claimed_at: datetime | None = None
    refused: int = 0
    refused_at: datetime | None = None


@dataclass(frozen=True)
class RateFacts:
    """What the headers of one reply said; None: it did not say. What is nonsense teaches nothing.

    ``reset_seconds`` counts from the reply, by the server's own clock, so that two clocks never meet.
    """

    allowed: int | None = None
    remaining: int | None = None
    retry_after: float | None = None
    reset_seconds: float | None = None


@dataclass(frozen=True)
class Call:
    """A call that was answered.

    sent_at: its intent. written_at: when its last byte was written; None: unknown. accepted: whether the server surely
    counted it. alone: whether no other call of ours was under way when it was answered.
    """

    sent_at: datetime
    written_at: datetime | None = None
    accepted: bool = True
    alone: bool = False


def _after(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)


def _grant_seconds(window: Window) -> float:
    # All grants together must fit into the window that the first of them opens, also into a short one.
    return min(GRANT_SECONDS, max(window.seconds - window.margin_seconds, window.seconds / 2))


def usable(window: Window) -> int:
    """Return how many calls of a window are ours to spend."""
    return max(window.allowed - window.withheld, 1)


# When it opens and ends ----------------------------------------------------------------------------------------------


def ends_at(window: Window) -> datetime | None:
    """Return when the window is surely over, or None while no call has opened it."""
    if window.opened_at is None:
        return None
    return _after(_started_by(window, window.opened_at), window.seconds + window.margin_seconds)


def _started_by(window: Window, opened_at: datetime) -> datetime:
    # A call that was refused found a window that had begun. While no answer is known, the call may be on its way yet.
    return window.started_by or window.rejected_by or _after(opened_at, GRANT_SECONDS)


def _latest_send(window: Window, opened_at: datetime) -> datetime:
    # A call that leaves in the last moment arrives in the server's next window and would eat from its burst.
    return _after(opened_at, window.seconds - window.margin_seconds)


def _is_over(window: Window, now: datetime) -> bool:
    end = ends_at(window)
    return end is not None and now >= end


def _lapses_at(window: Window) -> datetime | None:
    if window.opened_at is not None or window.spent == 0 or window.granted_at is None:
        return None
    return _after(window.granted_at, _grant_seconds(window) + LAPSE_SECONDS)


def rolled(window: Window, now: datetime) -> Window:
    """Return the window as it stands at ``now``: a new generation if the old one is over or its grants lapsed."""
    if window.closed_until is not None:
        if now < window.closed_until:
            return window
        in_doubt = _was_early(window) and window.spent > window.rejected and not _is_over(window, now)
        return _reopened(window) if in_doubt else _next(window, now)
    lapse = _lapses_at(window)
    if _is_over(window, now) or (lapse is not None and now >= lapse):
        return _next(window, now)
    return window


def _was_early(window: Window) -> bool:
    """Whether a 429 said that the server's last window was about to end: ours had begun too early."""
    if window.closed_until is None or window.rejected_by is None:
        return False
    return window.closed_until <= _after(window.rejected_by, EARLY_SECONDS)


def _next(window: Window, now: datetime) -> Window:
    return replace(
        _concluded(window, now),
        spent=0,
        generation=window.generation + 1,
        opened_at=None,
        started_by=None,
        granted_at=None,
        closed_until=None,
        rejected=0,
        rejected_by=None,
        counted=0,
    )


def _reopened(window: Window) -> Window:
    # Calls of ours that were not refused count in the server's new window: they stay spent.
    left = window.spent - window.rejected
    return replace(window, spent=left, closed_until=None, rejected=0, rejected_by=None, counted=0)


def room(window: Window, now: datetime) -> int | None:
    """Return how many calls may be granted at ``now``; None: no limit. Expects a rolled window."""
    if window.closed_until is not None and now < window.closed_until:
        return 0
    if window.allowed == 0:
        return None
    late = window.opened_at is not None and now >= _latest_send(window, window.opened_at)
    if late or window.rejected:
        return 0
    return max(usable(window) - window.spent, 0)


def next_opening(window: Window, now: datetime) -> datetime:
    """Return the earliest moment at which :func:`room` may be more than it is at ``now``."""
    if window.closed_until is not None and now < window.closed_until:
        return window.closed_until
    return ends_at(window) or _lapses_at(window) or now


def granted(window: Window, calls: int, now: datetime) -> Window:
    """Return the window with ``calls`` spent at ``now``."""
    return replace(window, spent=window.spent + calls, granted_at=now)


def send_before(window: Window, now: datetime) -> datetime:
    """Return until when a call granted at ``now`` may be sent."""
    lapse = _after(now, _grant_seconds(window))
    if window.allowed == 0 or window.opened_at is None:
        return lapse
    return min(lapse, _latest_send(window, window.opened_at))


def opened(window: Window, at: datetime) -> Window:
    """Return the window with its first call about to be sent at ``at``; later calls change nothing."""
    return replace(window, opened_at=at) if window.opened_at is None else window


# What replies teach --------------------------------------------------------------------------------------------------


def is_present(window: Window, call: Call) -> bool:
    """Whether the call was sent in the present window."""
    return window.opened_at is not None and call.sent_at >= window.opened_at


def is_disturbed(window: Window) -> bool:
    """Whether others, or refusals, make the server's count differ from ours."""
    return window.withheld > 0 or window.rejected > 0


def spoken_of(known: Sequence[Window], facts: RateFacts) -> int | None:
    """Return which bucket a reply speaks of: the one with its limit, else the nearest; None: nobody can tell."""
    if len(known) == 1:
        return 0
    said = _sane_limit(facts)
    if said is None or not known:
        return None
    return min(range(len(known)), key=lambda at: _distance(known[at].allowed, said))


def fullest(known: Sequence[Window]) -> int:
    """Return which bucket a bare 429 speaks of: the one with the fewest calls left, of equals the longest."""
    return min(range(len(known)), key=lambda at: (usable(known[at]) - known[at].spent, -known[at].seconds))


def _distance(allowed: int, said: int) -> float:
    return max(allowed, said) / max(min(allowed, said), 0.5)


def _sane_limit(facts: RateFacts) -> int | None:
    return facts.allowed if facts.allowed is not None and 0 < facts.allowed <= MOST_CALLS else None


def learned(window: Window, facts: RateFacts, call: Call, *, now: datetime) -> Window:
    """Return the window corrected by what a reply that is no 429 said."""
    if not is_present(window, call):
        return _cut(window, facts)
    window = _counted(_limited(window, facts), facts, call)
    window = _measured(window, facts, call, now)
    if call.accepted and _is_probing(window):
        # After a window that refused everything one call passed: the server's window is a new one.
        window = replace(window, withheld=0, patience_seconds=0.0)
    if not call.accepted or call.written_at is None:
        return window
    if window.started_by is not None and call.written_at > _after(window.started_by, -GRAIN_SECONDS):
        return window
    return replace(window, started_by=call.written_at)


def _cut(window: Window, facts: RateFacts) -> Window:
    """A lower limit holds at once."""
    said = _sane_limit(facts)
    if said is None or said >= window.allowed:
        return window
    withheld = max(window.withheld - (window.allowed - said), 0)
    return replace(window, allowed=said, withheld=withheld, claimed=None, claimed_at=None)


def _limited(window: Window, facts: RateFacts) -> Window:
    """Also a higher one, once it is no other bucket's: of several buckets replies name the tightest."""
    said = _sane_limit(facts)
    if said is None or window.allowed == 0 or said < window.allowed:
        return _cut(window, facts)
    if said == window.allowed:
        return window if window.claimed is None else replace(window, claimed=None, claimed_at=None)
    if _begins(facts) or _persists(window, said):
        return replace(window, allowed=said, withheld=0, claimed=None, claimed_at=None)
    return window if window.claimed == said else replace(window, claimed=said, claimed_at=window.opened_at)


def _begins(facts: RateFacts) -> bool:
    """Whether the reply's call was the first of its window: then no bucket's limit is below the one it names."""
    return facts.allowed is not None and facts.remaining == facts.allowed - 1


def _persists(window: Window, said: int) -> bool:
    # Claimed in an earlier window, and by no reply denied since.
    earlier = window.claimed_at is not None and window.opened_at is not None
    return earlier and window.claimed == said and window.claimed_at != window.opened_at


def _counted(window: Window, facts: RateFacts, call: Call) -> Window:
    """Somebody else may spend from the same token: what the server counted beyond ours is theirs."""
    if facts.remaining is None or window.allowed == 0 or facts.allowed not in {None, window.allowed}:
        return window
    ours = window.spent - window.rejected
    told = max(window.allowed - max(facts.remaining, 0), window.counted)
    theirs = min(max(told - ours, 0), window.allowed - 1)
    if not (theirs or is_disturbed(window)):
        return window
    window = replace(window, counted=told)
    if call.alone and told < window.allowed:
        # The server itself says that it is not full.
        window = replace(window, spent=ours, rejected=0, rejected_by=None)
    if theirs > window.withheld or (theirs < window.withheld and call.alone):
        return replace(window, withheld=theirs, patience_seconds=LONGEST_SECONDS if theirs else 0.0)
    return window


def _measured(window: Window, facts: RateFacts, call: Call, now: datetime) -> Window:
    """The first call of a window tells its length, where ours can't be right."""
    end = _told_end(facts, call, now)
    if end is None or not _begins(facts) or window.allowed == 0:
        return window
    shortest, longest = ((moment - (call.written_at or call.sent_at)).total_seconds() for moment in end)
    if shortest <= window.seconds <= longest or longest < 1:
        return window
    return replace(window, seconds=min(longest, LONGEST_SECONDS))


def _told_end(facts: RateFacts, call: Call, now: datetime) -> tuple[datetime, datetime] | None:
    """Between which moments the window ends by the headers, which are in whole seconds; None: they don't say.

    The reset is rounded up and the date down. Retry-After is the reset less the date less one, mostly.
    """
    if facts.reset_seconds is not None and 0 <= facts.reset_seconds <= LONGEST_SECONDS:
        least, most = facts.reset_seconds - 2, facts.reset_seconds
    elif facts.retry_after is not None and 0 <= facts.retry_after <= LONGEST_SECONDS:
        least, most = facts.retry_after - 2, facts.retry_after + 1
    else:
        return None
    return _after(call.written_at or call.sent_at, least), _after(now, most)


# What refusals teach -------------------------------------------------------------------------------------------------


def refused(window: Window, facts: RateFacts, call: Call, *, now: datetime) -> Window:
    """Return the window after a 429: closed until its own end, or until the server says where that differs."""
    told = _told_end(facts, call, now)
    counted = replace(_cut(window, facts), refused=window.refused + 1, refused_at=now)
    if is_present(window, call) and window.allowed:
        by = call.written_at or now
        counted = replace(
            counted,
            rejected=window.rejected + 1,
            rejected_by=max(window.rejected_by or by, by),
            counted=window.counted if facts.remaining is None else counted.allowed,
        )
        return replace(counted, closed_until=_closed(counted, told, now))
    if window.opened_at is not None and window.allowed:
        # It speaks of a window that is over. Nothing else is known of the present one.
        return counted
    if told is None and window.allowed:
        return counted
    until = told[1] if told else _after(now, window.seconds)
    return replace(counted, closed_until=max(until, _after(now, SHORTEST_WAIT_SECONDS)))


def _closed(window: Window, told: tuple[datetime, datetime] | None, now: datetime) -> datetime | None:
    end = ends_at(window)
    if told is None or window.opened_at is None or end is None:
        nothing_passed = window.rejected >= window.spent and window.closed_until is None
        return _after(now, _probe_seconds(window)) if nothing_passed else window.closed_until
    earliest, latest = told
    if earliest <= end and latest >= _after(window.opened_at, window.seconds):
        return window.closed_until
    until = max(_after(latest, window.margin_seconds), _after(now, SHORTEST_WAIT_SECONDS))
    return until if window.closed_until is None else max(min(until, window.closed_until), earliest)


def beside(window: Window, facts: RateFacts, call: Call, *, now: datetime) -> Window | None:
    """Return the other bucket that a 429 shows: it names a higher limit than the one that we keep to, else None.

    Its length is not said: it is taken to be twice ours, begun with our last window.
    """
    said = _sane_limit(facts)
    if said is None or window.opened_at is None or not is_present(window, call):
        return None
    if not 0 < window.allowed < said:
        return None
    began = _after(window.opened_at, -window.seconds)
    return Window(
        allowed=said,
        seconds=2 * window.seconds,
        # What is refused of this burst was granted before the bucket was known.
        spent=said + window.spent,
        opened_at=began,
        started_by=began,
        granted_at=began,
        margin_seconds=window.margin_seconds,
        rejected=1,
        rejected_by=began,
        refused=1,
        refused_at=now,
    )


def taught(
    known: Sequence[Window], facts: RateFacts, call: Call, *, now: datetime, throttled: bool
) -> list[Window]:
    """Return all buckets of a route after a reply; one more at the end where it showed one that was not known."""
    about = spoken_of(known, facts)
    if not throttled:
        return [
            learned(window, facts if at == about else RateFacts(), call, now=now)
            for at, window in enumerate(known)
        ]
    if not known:
        return []
    about = fullest(known) if about is None else about
    other = beside(known[about], facts, call, now=now) if len(known) < MOST_BUCKETS else None
    if other is not None:
        return [*known, other]
    return [
        refused(window, facts, call, now=now) if at == about else window for at, window in enumerate(known)
    ]


def _concluded(window: Window, now: datetime) -> Window:
    """What a window that is over taught as a whole."""
    if window.allowed == 0 or (window.rejected == 0 and window.started_by is None):
        return window
    if window.rejected == 0:
        return _calmer(window, now) if window.spent >= usable(window) else window
    accepted = window.spent - window.rejected
    if accepted <= 0:
        # Too early, or everything is gone: go on with one call, until one is accepted.
        return replace(_wider(window), withheld=window.allowed - 1, patience_seconds=_probe_seconds(window))
    if window.started_by and window.rejected_by and window.rejected_by < window.started_by:
        return _wider(window)
    # Not simply all but what was accepted: of a window that was hardly used one refusal, by a load balancer perhaps,
    # says little. Where a window was spent in full the two are the same.
    withheld = min(max(window.allowed - accepted, 0), window.withheld + window.rejected)
    wait = max(2 * window.patience_seconds, PATIENCE_SECONDS * window.rejected, _LEAST_PATIENCE)
    return replace(
        window, withheld=withheld, patience_seconds=min(wait, LONGEST_SECONDS) if withheld else 0.0
    )


def _is_probing(window: Window) -> bool:
    return 0 < window.patience_seconds < _LEAST_PATIENCE


def _probe_seconds(window: Window) -> float:
    """How long to wait after a window of which every call was refused: twice as long each time."""
    longer = 2 * window.patience_seconds if _is_probing(window) else SHORTEST_WAIT_SECONDS
    return min(longer, window.seconds, _LEAST_PATIENCE / 2)


def _wider(window: Window) -> Window:
    # The server's window was not over when the first calls came.
    ceiling = max(min(MARGIN_CEILING_SECONDS, window.seconds / 4), window.margin_seconds)
    return replace(window, margin_seconds=min(window.margin_seconds * MARGIN_WIDENS, ceiling))


def _calmer(window: Window, now: datetime) -> Window:
    """After a window that was spent in full without a refusal: a little less margin; now and then a few calls more."""
    floor = min(MARGIN_FLOOR_SECONDS, window.margin_seconds)
    calm = replace(window, margin_seconds=max(window.margin_seconds * MARGIN_NARROWS, floor))
    patient = window.refused_at is not None and now >= _after(window.refused_at, window.patience_seconds)
    if not window.withheld or not patient:
        return calm
    withheld = window.withheld - max(window.withheld // 4, 1)
    return replace(calm, withheld=withheld, patience_seconds=window.patience_seconds if withheld else 0.0)

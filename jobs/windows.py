"""The arithmetic of a rate window: what may be sent now, when the next call may go, and what a reply teaches.

The API counts calls per (token, method, route) in fixed windows that begin at the first call. We keep our own picture
of the present window beside the jobs. All functions are pure: they take ``now`` and return a new window.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

GRANT_SECONDS: Final = 5.0
"""A grant that was not sent by then goes back: its wake-up was lost, or its worker is too slow to be useful."""
MARGIN_SECONDS: Final = 0.1
"""Until the network is known: how much later than its earliest end a window is taken to be over."""
MARGIN_CEILING_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 3600.0
"""A window or a wait beyond this is nonsense in a header, not news."""
MOST_CALLS: Final = 1_000_000
"""A limit beyond this is nonsense too."""


@dataclass(frozen=True)
class Window:
    """One bucket of one (token, route): ``allowed`` calls (0: no limit) in ``seconds`` from the first call."""

    allowed: int
    seconds: float
    spent: int = 0
    generation: int = 1
    opened_at: datetime | None = None
    granted_at: datetime | None = None
    closed_until: datetime | None = None
    margin_seconds: float = MARGIN_SECONDS
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


def _after(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)


def _grant_seconds(window: Window) -> float:
    # All grants together must fit into the window that the first of them opens, also into a short one.
    return min(GRANT_SECONDS, max(window.seconds - window.margin_seconds, window.seconds / 2))


def ends_at(window: Window) -> datetime | None:
    """Return when the window is surely over, or None while no call has opened it."""
    if window.opened_at is None:
        return None
    return _after(window.opened_at, window.seconds + window.margin_seconds)


def rolled(window: Window, now: datetime) -> Window:
    """Return the window as it stands at ``now``: a new generation if the old one is over or its grants lapsed."""
    end = ends_at(window)
    reopened = window.closed_until is not None and now >= window.closed_until
    over = reopened or (window.closed_until is None and end is not None and now >= end)
    lapsed = (
        window.closed_until is None
        and window.opened_at is None
        and window.spent > 0
        and (window.granted_at is None or now >= _after(window.granted_at, _grant_seconds(window)))
    )
    if not (over or lapsed):
        return window
    return replace(
        window, spent=0, generation=window.generation + 1, opened_at=None, granted_at=None, closed_until=None
    )


def room(window: Window, now: datetime) -> int | None:
    """Return how many calls may be granted at ``now``; None: no limit. Expects a rolled window."""
    if window.closed_until is not None and now < window.closed_until:
        return 0
    if window.allowed == 0:
        return None
    if window.opened_at is not None and now >= _latest_send(window, window.opened_at):
        return 0
    return max(window.allowed - window.spent, 0)


def _latest_send(window: Window, opened_at: datetime) -> datetime:
    # A call that leaves in the last moment arrives in the server's next window and would eat from its burst.
    return _after(opened_at, window.seconds - window.margin_seconds)


def next_opening(window: Window, now: datetime) -> datetime:
    """Return the earliest moment at which :func:`room` may be more than it is at ``now``."""
    if window.closed_until is not None and now < window.closed_until:
        return window.closed_until
    end = ends_at(window)
    if end is not None:
        return end
    return _after(window.granted_at or now, _grant_seconds(window) if window.spent else 0.0)


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
    """Return the window with its first call sent at ``at``; later calls change nothing."""
    return replace(window, opened_at=at) if window.opened_at is None else window


def learned(window: Window, facts: RateFacts, *, generation: int | None, now: datetime) -> Window:
    """Return the window corrected by what a reply said, if it speaks of the present generation."""
    window = _limited(window, facts)
    if generation != window.generation or facts.remaining is None or window.allowed == 0:
        return window
    # Somebody else may spend from the same token: the server's count is the truth where it is higher.
    told = window.allowed - max(facts.remaining, 0)
    return replace(window, spent=max(window.spent, told), granted_at=now)


def _limited(window: Window, facts: RateFacts) -> Window:
    said = facts.allowed
    if said is None or window.allowed == 0 or not 0 < said <= MOST_CALLS:
        return window
    return replace(window, allowed=said)


def refused(window: Window, facts: RateFacts, *, generation: int | None, now: datetime) -> Window:
    """Return the window after a 429: closed until the server says, else until its own end, else for one length."""
    counted = replace(_limited(window, facts), refused=window.refused + 1, refused_at=now)
    if generation is not None and generation != window.generation:
        # It speaks of a window that is over: our margin was too small. Nothing else is known of the present one.
        return counted
    until = _reopening(counted, facts, now)
    wider = min(max(counted.margin_seconds, MARGIN_SECONDS) * 1.5, MARGIN_CEILING_SECONDS)
    return replace(counted, closed_until=until, margin_seconds=wider)


def _reopening(window: Window, facts: RateFacts, now: datetime) -> datetime:
    told = [wait for wait in (facts.retry_after, facts.reset_seconds) if wait is not None and wait >= 0]
    if told:
        # Retry-After is the reset less the date less one in most replies, both cut to whole seconds: add that one.
        return _after(now, min(max(told), LONGEST_SECONDS) + 1.0)
    return max(ends_at(window) or _after(now, window.seconds), _after(now, 1.0))

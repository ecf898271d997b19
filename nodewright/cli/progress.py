"""Following fleets to their end, by asking again and again: what is shown of them is :mod:`nodewright.cli.reports`'."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from rich.console import Console

from nodewright.cli.pictures import Look, Seen, settled_jobs
from nodewright.cli.reports import Report, Show, reporter
from nodewright.client import (
    PAGE,
    Alarm,
    Client,
    ClientError,
    FailureGroup,
    Fleet,
    Outlook,
    ServiceNotReached,
    ServiceUnavailable,
    Throttled,
)
from nodewright.failures import Failure

PACE_SECONDS: Final = 30.0
"""The rate is that of so many last seconds: two of the API's windows."""
PATIENCE_SECONDS: Final = 30.0
"""How long the service may be away while a fleet is followed: long enough for a restart."""
NEWEST: Final = 100
"""So many of the newest fleets are looked through for those that came since."""
MOST_OUTLOOKS: Final = 20
"""Of so many fleets at once an outlook is asked for."""
_INTERVAL: Final = 0.5
_EACH: Final = 0.1
"""Many fleets are looked at less often."""
_STATUS_INTERVAL: Final = 2.0
_AWAY: Final = (ServiceNotReached, ServiceUnavailable, Throttled)

Wait = Callable[[float], object]
Source = Callable[[], tuple[Fleet, ...]]
"""Returns the fleets that are followed, as they stand now."""
Found = TypeVar("Found")


class AccountPaused(Failure):
    """The account takes no creates until somebody acts; the sentences are the alarm, and what to do."""


@dataclass
class Pace:
    """How fast jobs settle, from what was seen lately. It takes the time as an argument."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, settled: int) -> None:
        """Remember that so many jobs were settled at ``now``."""
        self.seen.append((now, settled))
        while len(self.seen) > 2 and now - self.seen[1][0] >= PACE_SECONDS:  # noqa: PLR2004 - one before the span
            self.seen.popleft()

    @property
    def per_second(self) -> float | None:
        """Jobs per second, or None while that cannot be told."""
        if len(self.seen) < 2:  # noqa: PLR2004 - a rate needs two points
            return None
        (first, before), (last, after) = self.seen[0], self.seen[-1]
        return (after - before) / (last - first) if last > first and after > before else None


class Chosen:
    """The source of fleets that were named."""

    def __init__(self, client: Client, fleets: Sequence[Fleet]) -> None:
        self._client = client
        self._ids = tuple(dict.fromkeys(fleet.id for fleet in fleets))

    def __call__(self) -> tuple[Fleet, ...]:
        """Return them as they stand now."""
        return tuple(self._client.fleet(one) for one in self._ids)


class AtWork:
    """The source of every fleet that is at work: those of the newest thousand, and what comes later."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[str, Fleet] = {}

    def __call__(self) -> tuple[Fleet, ...]:
        """Return those that are at work, and those that have ended since they were seen first."""
        newest = {fleet.id: fleet for fleet in self._client.fleets(limit=NEWEST if self._seen else PAGE)}
        old = [one for one, fleet in self._seen.items() if one not in newest and not fleet.settled]
        newest |= {one: self._client.fleet(one) for one in old}
        self._seen |= {one: fleet for one, fleet in newest.items() if not fleet.settled or one in self._seen}
        return tuple(self._seen.values())


@dataclass
class _Followed:
    """What is remembered of one fleet from one look to the next."""

    pace: Pace = field(default_factory=Pace)
    outlook: Outlook | None = None
    asked_at: float | None = None
    failures: tuple[FailureGroup, ...] = ()
    failed: int = 0


class Follower:
    """Follows fleets by asking again and again; ``wait`` may raise to end it."""

    def __init__(
        self, client: Client, console: Console, *, wait: Wait = time.sleep, report: Report | None = None
    ) -> None:
        self._client = client
        self._report = report or reporter(console)
        self._wait = wait
        self._followed: dict[str, _Followed] = {}
        self._alarms: tuple[Alarm, ...] = ()
        self._alarms_due = 0.0
        self._last: Look | None = None

    def follow(self, fleet: Fleet, *, until_paused: bool = False) -> Fleet:
        """Show ``fleet`` until nothing of it is under way; return it as it then stands.

        Raises:
            AccountPaused: with ``until_paused``, when the account takes no creates.

        """
        return self.follow_all(Chosen(self._client, [fleet]), until_paused=until_paused)[0]

    def follow_all(self, source: Source, *, until_paused: bool = False) -> tuple[Fleet, ...]:
        """Show fleets until nothing of any is under way; return them as they then stand. Raises as :meth:`follow`."""
        began = time.monotonic()
        with self._report as show:
            while True:
                fleets = self._again(source, show, began)
                now, ended = time.monotonic(), all(fleet.settled for fleet in fleets)
                if not ended:
                    self._look_for_alarms(now, until_paused=until_paused)
                seen = tuple(self._seen(fleet, now, shown) for shown, fleet in enumerate(fleets))
                self._last = Look(seen, self._alarms, now - began)
                show(self._last)
                if ended:
                    return fleets
                self._wait(max(_INTERVAL, _EACH * len(fleets)))

    def _again(self, source: Source, show: Show, began: float) -> tuple[Fleet, ...]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return source()
            except _AWAY:
                now = time.monotonic()
                if now > deadline:
                    raise
                if self._last is not None:
                    show(replace(self._last, elapsed=now - began, away=True))
                self._wait(_INTERVAL)

    def _seen(self, fleet: Fleet, now: float, shown: int) -> Seen:
        known = self._followed.setdefault(fleet.id, _Followed())
        known.pace.note(now, settled_jobs(fleet))
        failed = fleet.states.get("failed", 0) + fleet.states.get("rejected", 0)
        if failed != known.failed:
            found = _unless_away(lambda: tuple(self._client.failures(fleet.id)))
            known.failures, known.failed = (
                (known.failures, known.failed) if found is None else (found, failed)
            )
        due = known.asked_at is None or now - known.asked_at >= _STATUS_INTERVAL
        if due and not fleet.settled and shown < MOST_OUTLOOKS:
            known.outlook, known.asked_at = _unless_away(lambda: self._client.outlook(fleet.id)), now
        asked_ago = 0.0 if known.asked_at is None else now - known.asked_at
        return Seen(fleet, known.outlook, asked_ago, known.failures, known.pace.per_second)

    def _look_for_alarms(self, now: float, *, until_paused: bool) -> None:
        if now < self._alarms_due:
            return
        self._alarms_due = now + _STATUS_INTERVAL
        status = _unless_away(self._client.status)
        if status is None:
            return
        self._alarms = status.alarms
        for alarm in status.alarms:
            if until_paused and alarm.pauses:
                raise AccountPaused(alarm.sentence, *([alarm.remedy] if alarm.remedy else []))


def _unless_away(ask: Callable[[], Found]) -> Found | None:
    """Return what was asked for beside the fleet itself; None: it could not be had, as the fleet's own answer tells."""
    try:
        return ask()
    except ClientError:
        return None

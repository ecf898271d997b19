"""Following a fleet to its end: live bars on a terminal, plain lines in a pipe."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nodewright.cli.output import STATE_STYLES, counted, held_note, life_order, state_text, states_line
from nodewright.client import (
    SETTLED,
    Alarm,
    Client,
    ClientError,
    Fleet,
    ServiceNotReached,
    ServiceUnavailable,
)
from nodewright.failures import Failure

PACE_SECONDS: Final = 30.0
"""The rate is that of so many last seconds: two of the API's windows."""
PATIENCE_SECONDS: Final = 30.0
"""How long the service may be away while a fleet is followed: long enough for a restart."""
_INTERVAL: Final = 0.5
_STATUS_INTERVAL: Final = 2.0

Wait = Callable[[float], object]


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

    def seconds_left(self, remaining: int) -> float | None:
        """Return the estimate for ``remaining`` more jobs."""
        rate = self.per_second
        return None if rate is None else remaining / rate


def settled_jobs(fleet: Fleet) -> int:
    """Return how many of a fleet's jobs have ended, well or otherwise."""
    return sum(count for state, count in fleet.states.items() if state in SETTLED)


def picture(fleet: Fleet, pace: Pace, elapsed: float) -> RenderableType:
    """Return a fleet as bars, one per state, with rate and estimate."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=10)
    table.add_column(width=40)
    table.add_column(justify="right")
    for state in _shown(fleet):
        count = fleet.states.get(state, 0)
        style = STATE_STYLES.get(state, "white")
        bar = ProgressBar(
            total=fleet.count, completed=count, width=40, complete_style=style, finished_style=style
        )
        table.add_row(state_text(state), bar, str(count))
    heading = Text.assemble((fleet.name, "bold"), f"  {counted(fleet.count)}{held_note(fleet)}")
    return Group(heading, table, Text(summary(fleet, pace, elapsed), style="dim"))


def _shown(fleet: Fleet) -> list[str]:
    always = ("running", "booting", "queued")
    return sorted({*always, *(state for state, count in fleet.states.items() if count)}, key=life_order)


def summary(fleet: Fleet, pace: Pace, elapsed: float) -> str:
    """Return ``0:12 elapsed · 1.3/s · about 0:30 left``."""
    parts = [f"{clock(elapsed)} elapsed"]
    left = pace.seconds_left(fleet.count - settled_jobs(fleet))
    if pace.per_second is not None:
        parts.append(f"{pace.per_second:.1f}/s")
    if left and not fleet.settled:
        parts.append(f"about {clock(left)} left")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class View(Protocol):
    """Shows how a fleet stands, again and again."""

    def __call__(self, fleet: Fleet, pace: Pace, elapsed: float) -> None:
        """Show it as it stands now."""


@contextmanager
def viewer(console: Console) -> Iterator[View]:
    """Return bars that redraw themselves on a terminal, and a line per change elsewhere."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda fleet, pace, elapsed: live.update(picture(fleet, pace, elapsed), refresh=True)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[dict[str, int], str] | None = None

    def __call__(self, fleet: Fleet, pace: Pace, elapsed: float) -> None:
        shown = (fleet.states, held_note(fleet))
        if shown != self._last:
            self._last = shown
            states = f"{states_line(fleet.states)}{held_note(fleet)}"
            self._console.print(f"{fleet.name}: {states} · {summary(fleet, pace, elapsed)}")


class Follower:
    """Follows fleets by asking again and again; ``wait`` may raise to end it."""

    def __init__(self, client: Client, console: Console, *, wait: Wait = time.sleep) -> None:
        self._client = client
        self._console = console
        self._wait = wait
        self._alarm_due = 0.0
        self._told: dict[str, Alarm] = {}

    def follow(self, fleet: Fleet, *, until_paused: bool = False) -> Fleet:
        """Show ``fleet`` until nothing of it is under way; return it as it then stands.

        Raises:
            AccountPaused: with ``until_paused``, when the account takes no creates.

        """
        pace, began = Pace(), time.monotonic()
        with viewer(self._console) as show:
            while True:
                now = time.monotonic()
                pace.note(now, settled_jobs(fleet))
                show(fleet, pace, now - began)
                if fleet.settled:
                    return fleet
                self._look_for_alarms(now, until_paused=until_paused)
                self._wait(_INTERVAL)
                fleet = self._again(fleet.id)

    def _again(self, fleet_id: str) -> Fleet:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._client.fleet(fleet_id)
            except (ServiceNotReached, ServiceUnavailable):
                if time.monotonic() > deadline:
                    raise
                self._wait(_INTERVAL)

    def _look_for_alarms(self, now: float, *, until_paused: bool) -> None:
        if now < self._alarm_due:
            return
        self._alarm_due = now + _STATUS_INTERVAL
        try:
            alarms = self._client.status().alarms
        except ClientError:
            return  # the next question for the fleet meets the same fault, and knows what to do
        for alarm in alarms:
            if until_paused and alarm.pauses:
                raise AccountPaused(alarm.sentence, *([alarm.remedy] if alarm.remedy else []))
        self._tell(alarms)

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        """Say each alarm once, and once when it is over."""
        now = {f"{alarm.code} {alarm.since}": alarm for alarm in alarms}
        for key in [key for key in self._told if key not in now]:
            self._console.print(f"over: {self._told.pop(key).code}")
        for key in [key for key in now if key not in self._told]:
            self._told[key] = now[key]
            self._console.print(f"alarm: {now[key].sentence}", style="bold red")
            if now[key].remedy:
                self._console.print(f"what to do: {now[key].remedy}")

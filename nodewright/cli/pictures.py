"""Pictures of fleets at work: bars, the rate against the limit, what failed and what to do. Pure.

They fit any width from 40 columns on, need no colour (each state has a sign of its own) and no Unicode.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from nodewright.cli.output import STATE_STYLES, counted, grid, held_note, life_order, state_text, states_line
from nodewright.client import SETTLED, Alarm, FailureGroup, Fleet, Outlook, Rate

WIDE: Final = 120
"""Columns from which on there is room for more columns."""
NARROW: Final = 60
"""Columns below which a row has no room for a bar."""
LONGEST_BAR: Final = 100
SHOWN_EXAMPLES: Final = 3
SHOWN_FAILURES: Final = 5
_RATE_BAR: Final = 20
_BESIDE: Final = 30
"""Columns beside a state's bar: its name, its count, its share."""
_WAITING: Final = ("submitted", "queued", "dispatched")
_UNDER_WAY: Final = ("creating", "uncertain", "booting")
_ENDED_OTHERWISE: Final = ("failed", "rejected")

SIGNS: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("█", "#"),
    "booting": ("▓", "+"),
    "creating": ("▒", "o"),
    "uncertain": ("?", "?"),
    "dispatched": ("░", "."),
    "queued": ("░", "."),
    "submitted": ("░", "."),
    "failed": ("x", "x"),
    "rejected": ("x", "x"),
    "cancelled": ("-", "-"),
    "deleting": ("<", "<"),
    "deleted": ("_", "_"),
}
"""What stands for each state in a bar: in Unicode, and without it."""


Failed = tuple[FailureGroup, str]
"""Jobs that failed for one reason, and which they are."""


@dataclass(frozen=True)
class Seen:
    """One fleet as it was seen last. ``asked_ago``: how many seconds ago the outlook was true."""

    fleet: Fleet
    outlook: Outlook | None = None
    asked_ago: float = 0.0
    failures: tuple[FailureGroup, ...] = ()
    per_second: float | None = None


@dataclass(frozen=True)
class Look:
    """All that is watched, as it was seen last."""

    seen: tuple[Seen, ...]
    alarms: tuple[Alarm, ...] = ()
    elapsed: float = 0.0
    away: bool = False
    """Whether the service does not answer now."""


# Bars


def cells(counts: Mapping[str, int], total: int, width: int) -> dict[str, int]:
    """Return how many of ``width`` cells each state gets: at least one where it has a job, and never more than all."""
    present = {state: count for state, count in counts.items() if count > 0}
    if not present or width < len(present):
        return dict.fromkeys(list(present)[: max(width, 0)], 1)
    total = max(total, sum(present.values()))
    exact = {state: count * width / total for state, count in present.items()}
    found = {state: max(int(share), 1) for state, share in exact.items()}
    wanted = round(sum(present.values()) * width / total)
    while sum(found.values()) > width:
        found[max(found, key=lambda state: found[state])] -= 1
    while sum(found.values()) < wanted:
        found[max(found, key=lambda state: exact[state] - found[state])] += 1
    return found


@dataclass(frozen=True)
class Bar:
    """Some states of a whole, side by side, as wide as there is room."""

    counts: Mapping[str, int]
    total: int
    longest: int = LONGEST_BAR

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        plain = options.ascii_only
        for state, count in cells(self.counts, self.total, min(options.max_width, self.longest)).items():
            style = console.get_style(STATE_STYLES.get(state, "none"))
            yield Segment(SIGNS.get(state, ("?", "?"))[plain] * count, style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return how narrow and how wide it may be."""
        return Measurement(4, min(options.max_width, self.longest))


@dataclass(frozen=True)
class _RateBar:
    rate: Rate

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, empty = ("#", ".") if options.ascii_only else ("■", "□")
        width = min(_RATE_BAR, options.max_width)
        spent = round(width * min(self.rate.spent, self.rate.allowed) / max(self.rate.allowed, 1))
        yield Segment(full * spent, Style(color="blue"))
        yield Segment(empty * (width - spent), Style(dim=True))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, _RATE_BAR)


# Words


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate_words(rate: Rate, asked_ago: float = 0.0) -> str:
    """Return ``18 of 20 in this window, next opens in 4 s``."""
    if rate.opens_in_seconds is None:
        return f"{rate.spent} of {rate.allowed} spent, in windows of {rate.seconds:g} s"
    left = max(rate.opens_in_seconds - asked_ago, 0.0)
    opens = f"next opens in {left:.0f} s" if left >= 1 else "next opens now"
    return f"{rate.spent} of {rate.allowed} in this window, {opens}"


def seconds_left(seen: Seen) -> float | None:
    """Return in how many seconds all would run; None: that cannot be told."""
    if seen.fleet.settled:
        return None
    estimate = seen.outlook.estimate if seen.outlook else None
    if estimate is not None:
        return None if estimate.holds else max(estimate.all_running_seconds - seen.asked_ago, 0.0)
    remaining = seen.fleet.count - settled_jobs(seen.fleet)
    return remaining / seen.per_second if seen.per_second else None


def settled_jobs(fleet: Fleet) -> int:
    """Return how many of a fleet's jobs have ended, well or otherwise."""
    return sum(count for state, count in fleet.states.items() if state in SETTLED)


def summary(seen: Seen, elapsed: float) -> str:
    """Return ``0:12 elapsed · 1.3/s · all running in about 0:30``."""
    parts = [f"{clock(elapsed)} elapsed"]
    if seen.per_second is not None and not seen.fleet.settled:
        parts.append(f"{seen.per_second:.1f}/s")
    left = seconds_left(seen)
    if left is not None:
        words = f"all running in about {clock(left)}" if left >= 1 else "all running any moment"
        parts.append(f"{words}{_guessed(seen)}")
    return " · ".join(parts)


def _guessed(seen: Seen) -> str:
    estimate = seen.outlook.estimate if seen.outlook else None
    if estimate is None or estimate.boot_seconds_known:
        return ""
    return f" if boots take {estimate.boot_seconds:.0f} s"


def failure_words(group: FailureGroup, where: str) -> str:
    """Return ``3 no_capacity: No capacity in us-east (web-0003, web-0017, …)``."""
    reason = f": {group.reason}" if group.reason else ""
    least = "at least " if group.more else ""
    return f"{least}{group.count} {group.code}{reason}{f' ({where})' if where else ''}"


def examples(group: FailureGroup) -> str:
    """Return ``web-0003, web-0017, …``."""
    return _few([one.label for one in group.examples], group.count)


def _few(names: Sequence[str], count: int) -> str:
    shown = names[:SHOWN_EXAMPLES]
    return ", ".join([*shown, *(["…"] if shown and count > len(shown) else [])])


def remedy_words(group: FailureGroup) -> str:
    """Return what to do, and whether instances cost money meanwhile."""
    owning = f" {counted(group.owning)} of them still cost money." if group.owning else ""
    return f"{group.remedy}{owning}".strip()


def holds_of(seen: Seen) -> tuple[str, ...]:
    """Return what a fleet stands still for."""
    return seen.outlook.estimate.holds if seen.outlook and seen.outlook.estimate else ()


# Pictures


@dataclass(frozen=True)
class Picture:
    """A look, drawn for the console that it is printed on."""

    look: Look

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw one fleet by its states, several as a row each."""
        wide, seen = options.max_width >= WIDE, self.look.seen
        if len(seen) == 1:
            yield from _one(seen[0], self.look.elapsed, min(options.max_width, LONGEST_BAR + _BESIDE))
        else:
            yield from _several(self.look, options.max_width, console.size.height)
        yield from failures_picture(together(seen), wide=wide)
        yield from _alarms(self.look.alarms)
        if self.look.away:
            yield Text("the service does not answer; trying again", style="yellow")
        yield Text()  # a terminal writes ^C behind the last line, which must not be full then


def _one(seen: Seen, elapsed: float, width: int) -> Iterator[RenderableType]:
    fleet = seen.fleet
    yield Text.assemble((fleet.name, "bold"), f"  {counted(fleet.count)}{held_note(fleet)}")
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.width = width
    table.add_column(min_width=10, no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, min_width=4)
    for state in _shown(fleet):
        count = fleet.states.get(state, 0)
        bar = Bar({state: count}, fleet.count)
        table.add_row(state_text(state), bar, str(count), f"{100 * count // max(fleet.count, 1)}%")
    yield table
    if seen.outlook is not None and seen.outlook.rate is not None and not fleet.settled:
        yield _rate(seen.outlook.rate, seen.asked_ago)
    yield Text(summary(seen, elapsed), style="dim")
    yield from _holds([seen])


def _shown(fleet: Fleet) -> list[str]:
    always = ("running", "booting", "queued")
    return sorted({*always, *(state for state, count in fleet.states.items() if count)}, key=life_order)


def _rate(rate: Rate, asked_ago: float) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(min_width=10)
    row.add_column()
    row.add_column(overflow="fold")
    row.add_row("creates", _RateBar(rate), rate_words(rate, asked_ago))
    return row


def _holds(seen: Iterable[Seen]) -> Iterator[RenderableType]:
    for hold in dict.fromkeys(hold for one in seen for hold in holds_of(one)):
        yield Text(f"stands still: {hold}", style="yellow")


def _several(look: Look, width: int, height: int) -> Iterator[RenderableType]:
    total = sum(one.fleet.count for one in look.seen)
    running = sum(one.fleet.states.get("running", 0) for one in look.seen)
    at_work = sum(not one.fleet.settled for one in look.seen)
    yield Text.assemble(
        (f"{len(look.seen)} fleets", "bold"), f"  {running} of {counted(total)} running · {at_work} at work"
    )
    shown = look.seen[: max(height - 8, 3)]
    yield _rows(shown, width)
    if len(shown) < len(look.seen):
        yield Text(f"… {len(look.seen) - len(shown)} more", style="dim")
    if width >= NARROW:
        yield _Legend()
    known = [one for one in look.seen if one.outlook and one.outlook.rate and not one.fleet.settled]
    if known and known[0].outlook and known[0].outlook.rate:
        yield _rate(known[0].outlook.rate, known[0].asked_ago)
    yield Text(f"{clock(look.elapsed)} elapsed", style="dim")
    yield from _holds(look.seen)


def _rows(seen: Sequence[Seen], width: int) -> Table:
    wide = width >= WIDE
    more = ["WAITING", "UNDER WAY"] if wide else []
    right = ["RUNNING", "FAILED", "LEFT", *more]
    table = grid("FLEET", "", "RUNNING", *more, "FAILED", "LEFT", right=right)
    table.expand = True
    name, bar = table.columns[:2]
    name.overflow, name.no_wrap, name.max_width = "ellipsis", True, width // 4
    bar.ratio = 1
    for one in seen:
        states = one.fleet.states
        counts = {state: states[state] for state in sorted(states, key=life_order)}
        middle = [str(_sum(states, _WAITING)), str(_sum(states, _UNDER_WAY))] if wide else []
        failed = _sum(states, _ENDED_OTHERWISE)
        table.add_row(
            one.fleet.name,
            Bar(counts, one.fleet.count, longest=1000) if width >= NARROW else "",
            f"{states.get('running', 0)}/{one.fleet.count}",
            *middle,
            Text(str(failed), style="red") if failed else "0",
            _left(one),
        )
    return table


def _sum(states: Mapping[str, int], which: Iterable[str]) -> int:
    return sum(states.get(state, 0) for state in which)


def _left(seen: Seen) -> str:
    if seen.fleet.settled:
        return "ended" if not seen.fleet.all_running else "done"
    if seen.fleet.held_at:
        return "paused"
    left = seconds_left(seen)
    return "" if left is None else clock(left) if left >= 1 else "soon"


@dataclass(frozen=True)
class _Legend:
    states: tuple[str, ...] = ("running", "booting", "creating", "queued", "failed")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        said = Text()
        for state in self.states:
            said.append_text(state_text(SIGNS[state][options.ascii_only], state))
            said.append(f" {state}  ")
        yield said


def together(seen: Sequence[Seen]) -> tuple[Failed, ...]:
    """Return what failed in all fleets, the most frequent reason first: of one fleet which jobs, of several where."""
    if len(seen) == 1:
        return tuple((group, examples(group)) for group in seen[0].failures)
    found: dict[tuple[str, str | None, str | None], list[tuple[Fleet, FailureGroup]]] = {}
    for one in seen:
        for group in one.failures:
            found.setdefault((group.code, group.reason, group.field), []).append((one.fleet, group))
    return tuple(sorted(map(_joined, found.values()), key=lambda failed: -failed[0].count))


def _joined(parts: Sequence[tuple[Fleet, FailureGroup]]) -> Failed:
    groups = [group for _, group in parts]
    sums = {name: sum(getattr(group, name) for group in groups) for name in ("count", "owning", "rejected")}
    where = [f"{group.count} of {fleet.name}" for fleet, group in parts]
    return groups[0].model_copy(update=sums), _few(where, len(where))


def failures_picture(groups: Sequence[Failed], *, wide: bool) -> Iterator[RenderableType]:
    """Yield what failed, grouped by reason, with what to do about each."""
    if not groups:
        return
    yield Text()
    yield Text(f"{sum(group.count for group, _ in groups)} ended otherwise", style="bold red")
    shown = groups[:SHOWN_FAILURES]
    if wide:
        yield _failure_table(shown)
    else:
        for group, where in shown:
            yield Padding(Text(failure_words(group, where)), (0, 0, 0, 2))
            if words := remedy_words(group):
                yield Padding(Text(f"what to do: {words}", style="cyan"), (0, 0, 0, 4))
    if rest := groups[SHOWN_FAILURES:]:
        yield Text(
            f"  … {sum(group.count for group, _ in rest)} more, for {len(rest)} other reasons", style="dim"
        )


def _failure_table(groups: Sequence[Failed]) -> Table:
    table = grid("COUNT", "CODE", "REASON", "WHICH", "WHAT TO DO", right=["COUNT"])
    table.columns[2].ratio = table.columns[4].ratio = 1
    table.expand = True
    for group, where in groups:
        table.add_row(str(group.count), group.code, group.reason or "", where, remedy_words(group))
    return table


def _alarms(alarms: Iterable[Alarm]) -> Iterator[RenderableType]:
    for alarm in alarms:
        yield Text()
        yield Text(f"alarm: {alarm.sentence}", style="bold red")
        if alarm.remedy:
            yield Padding(Text(f"what to do: {alarm.remedy}", style="cyan"), (0, 0, 0, 4))


def line(seen: Seen, elapsed: float) -> str:
    """Return a fleet in one line, for a pipe."""
    parts = [f"{states_line(seen.fleet.states)}{held_note(seen.fleet)}"]
    if seen.outlook is not None and seen.outlook.rate is not None and not seen.fleet.settled:
        parts.append(f"creates {rate_words(seen.outlook.rate, seen.asked_ago)}")
    return f"{seen.fleet.name}: {' · '.join(parts)} · {summary(seen, elapsed)}"

"""One fleet: how it stands, what failed and what to do, how it went, each job's timeline, its jobs, its facts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from jobs import outlook, overview
from jobs.estimate import Estimate
from jobs.history import History, Moment
from jobs.listing import JobFilter
from jobs.overview import FailureGroup, Span
from jobs.states import PENDING, State
from jobs.views import Alarm, FleetView
from nodewright.page import pictures
from nodewright.page.pictures import Row, Sample, Scale, Stretch
from nodewright.page.shown import Asked, Shown
from nodewright.page.views import telling
from nodewright.page.views.filters import position_in, state_in
from nodewright.page.views.rendering import environment, known, link, parts
from nodewright.service.deps import ServiceDeps
from nodewright.words import duration

_NAMED: Final = 4
"""So many causes are named in the first sentence."""
JOBS: Final = 25
"""Rows of the table."""
LINES: Final = 500
"""Rows of the timeline."""
CHUNK: Final = 50
"""Rows of the timeline that are one part: those in which nothing happens any more are not sent again."""
POINTS: Final = 60
_ROWS: Final = 12
"""Moments that the table beside the picture names."""
_LONGER: Final = 2.0
"""A history that is so much longer than what its jobs' lines show has a scale of its own."""
_PHASES: Final = ("running", "booting", "creating", "waiting", "failed", "ended")
"""From the bottom of the picture up."""
_AT_WORK: Final = frozenset({*PENDING, State.DELETING})
_CANCELLABLE: Final = (*telling.KINDS["waiting"], State.CREATING, State.UNCERTAIN)


@dataclass(frozen=True)
class Cause:
    """Why some jobs of a fleet failed, and what can be done for them."""

    group: FailureGroup
    alike: Sequence[FailureGroup]
    """All groups of its code, itself too: jobs are listed and retried by the code."""
    jobs: str
    """Where those of the code are listed."""

    @property
    def retriable(self) -> int:
        """How many of them can be retried."""
        return self.group.count - self.group.rejected

    @property
    def listed(self) -> int:
        """How many jobs have the code."""
        return sum(one.count for one in self.alike)

    @property
    def retried(self) -> int:
        """How many jobs that have the code can be retried."""
        return sum(one.count - one.rejected for one in self.alike)

    @property
    def shared(self) -> bool:
        """Whether others have the code for another reason."""
        return len(self.alike) > 1


def show_fleet(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show one fleet."""
    fleet = deps.service.fleet(asked.path["ref"], asked.visitor.tenant)
    busy = any(fleet.states.get(name) for name in _AT_WORK)
    alarms = deps.service.alarms(asked.visitor.part) if busy else ()
    begin = max((position_in(asked.query, "line") or 1) - 1, 0) // LINES * LINES
    table = _table(deps, asked, fleet)
    with deps.service.reading() as tx:
        groups = overview.failures(tx, fleet.id)
        past = overview.history(tx, fleet.id, POINTS)
        found = outlook.outlook(tx, fleet) if busy else None
        lines = overview.spans(tx, fleet.id, limit=LINES, after=begin)
        now = tx.now
    span = history_scale(past, busy=busy)
    context = {
        "fleet": fleet,
        "here": _here(fleet),
        "whole": sum(fleet.states.values()),
        **_standing(fleet, groups, alarms, None if found is None else found.estimate),
        **_past(past, span),
        **_pages(fleet, begin, len(lines)),
        **table,
    }
    made = parts("fleet.html", asked, now, **context)
    return Shown(telling.title_of(fleet), _in_order(made, timelines(fleet, lines, span, now)))


def _here(fleet: FleetView) -> str:
    return f"/fleets/{fleet.id}"


def _count(fleet: FleetView, states: Iterable[State]) -> int:
    return sum(fleet.states.get(state, 0) for state in states)


def _standing(
    fleet: FleetView, groups: Sequence[FailureGroup], alarms: Sequence[Alarm], left: Estimate | None
) -> dict[str, Any]:
    """Return how the fleet stands, what holds it up, what failed, and what can be done."""
    return {
        "alarms": [alarm for alarm in alarms if alarm.code in telling.HOLDING_UP],
        "title": telling.title_of(fleet),
        "sentence": telling.state_of(fleet),
        "reason_line": because(groups),
        "outlook": telling.outlook_of(left),
        "causes": causes_of(fleet, groups),
        "waiting": _count(fleet, telling.KINDS["waiting"]),
        "cancellable": _count(fleet, _CANCELLABLE),
        "failed": _count(fleet, [State.FAILED]),
        "facts": facts_of(fleet),
    }


def _past(past: History, span: Scale | None) -> dict[str, Any]:
    """Return how the fleet went."""
    return {
        "past": past,
        "past_picture": None if span is None else history_picture(past, span),
        "past_rows": table_of(past),
        "phases": phases_in(past),
    }


def _pages(fleet: FleetView, begin: int, count: int) -> dict[str, Any]:
    """Return which jobs' lines are shown, and where the others are."""
    here, end = _here(fleet), begin + count
    more = end < sum(fleet.states.values())
    return {
        "lines": (begin + 1, end),
        "lines_before": link(here, line=str(begin - LINES + 1)) if begin else None,
        "lines_after": link(here, line=str(end + 1)) if more else None,
    }


def _table(deps: ServiceDeps, asked: Asked, fleet: FleetView) -> dict[str, Any]:
    """Return a page of the fleet's jobs, and where the others are."""
    here, state = _here(fleet), state_in(asked.query)
    place = position_in(asked.query, "after")
    after = None if place is None else str(place)
    where = JobFilter(fleet_id=fleet.id, state=state)
    page = deps.service.job_page(asked.visitor.tenant, where, limit=JOBS, after=after)
    return {
        "jobs": page.jobs,
        "chosen": state,
        "chips": {name: link(here, state=name) for name in fleet.states},
        "first": link(here, state=state) if after else None,
        "more": link(here, state=state, after=page.next) if page.next else None,
        "all_jobs": link("/jobs", fleet=fleet.id, state=state),
    }


def _in_order(made: Mapping[str, str], rows: Mapping[str, str]) -> dict[str, str]:
    """Return the parts with the timeline's rows where they belong."""
    found: dict[str, str] = {}
    for name, html in made.items():
        found[name] = html
        if name == "timeline":
            found |= rows
    return found


def causes_of(fleet: FleetView, groups: Sequence[FailureGroup]) -> list[Cause]:
    """Return why jobs failed, each with what else has its code."""
    codes: dict[str, list[FailureGroup]] = {}
    for group in groups:
        codes.setdefault(group.code, []).append(group)
    return [Cause(group, codes[group.code], listing(fleet, codes[group.code])) for group in groups]


def listing(fleet: FleetView, alike: Sequence[FailureGroup]) -> str:
    """Return where the jobs of groups of one code are listed."""
    count, rejected = sum(one.count for one in alike), sum(one.rejected for one in alike)
    states = {0: State.FAILED, count: State.REJECTED}
    return link("/jobs", fleet=fleet.id, state=states.get(rejected), error_code=alike[0].code)


def because(groups: Sequence[FailureGroup]) -> str:
    """Return why jobs failed, in a few words: the most frequent code first."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.code] += group.count
    return ", ".join(f"{count:,} {telling.cause(code)}" for code, count in counts.most_common(_NAMED))


# How it went ---------------------------------------------------------------------------------------------------------


def history_picture(past: History, span: Scale) -> Markup:
    """Return the states over time."""
    samples = [Sample(point.at, {name: getattr(point, name) for name in _PHASES}) for point in past.points]
    samples.append(Sample(span.end, samples[-1].counts))
    most = max(point.total for point in past.points)
    return pictures.area(samples, _PHASES, span, most) + pictures.axis(span)


def history_scale(past: History, *, busy: bool) -> Scale | None:
    """Return the time that a history spans, with room for what comes next; None: none yet."""
    if len(past.points) < 2 or past.points[-1].at - past.points[0].at < timedelta(seconds=1):  # noqa: PLR2004 - a line
        return None
    return _scale(past.points[0].at, past.points[-1].at, busy=busy)


def _scale(begin: datetime, end: datetime, *, busy: bool) -> Scale:
    # What ended last would not be seen at the very edge.
    return pictures.scale(begin, end) if busy else Scale(begin, end + (end - begin) / 30)


def phases_in(past: History) -> list[str]:
    """Return what jobs were ever seen to do, for the legend."""
    return [name for name in _PHASES if any(getattr(point, name) for point in past.points)]


def table_of(past: History) -> Sequence[Moment]:
    """Return the moments of the table beside the picture: a dozen, the first and the last among them."""
    last = len(past.points) - 1
    return [
        past.points[at]
        for at in sorted({round(last * step / _ROWS) for step in range(_ROWS + 1)})
        if last >= 0
    ]


# Timelines -----------------------------------------------------------------------------------------------------------


def timelines(fleet: FleetView, spans: Sequence[Span], whole: Scale | None, now: datetime) -> dict[str, str]:
    """Return the timeline's parts: the axis, then the rows, some at a time. Its scale is the history's where it can."""
    if not spans:
        return {}
    scale = scale_of(spans, now)
    if whole is not None and whole.begin <= scale.begin and whole.seconds < _LONGER * scale.seconds:
        scale = whole
    rows = [row_of(span, scale.end) for span in spans]
    found = {"timeline-axis": _plot("axis", pictures.axis(scale))}
    for begin in range(0, len(rows), CHUNK):
        picture = pictures.gantt(rows[begin : begin + CHUNK], scale, many=len(rows))
        words = f"Jobs {spans[begin].position} to {spans[min(begin + CHUNK, len(rows)) - 1].position} of {fleet.name}"
        found[f"timeline-{begin // CHUNK + 1}"] = _plot("rows", picture, words)
    return found


def _plot(kind: str, picture: Markup, words: str = "") -> str:
    macro = environment().globals["ui"]
    return str(macro.plot(kind, picture, words))  # type: ignore[attr-defined]  # a template's macros are its module's


def scale_of(spans: Sequence[Span], now: datetime) -> Scale:
    """Return the time that the rows span: until now where something is under way, else until the last one was up."""
    begin = min(span.submitted_at for span in spans)
    busy = any(span.state in _AT_WORK for span in spans)
    last = max((moment for span in spans for moment in _moments(span)), default=now)
    return _scale(begin, now if busy else last, busy=busy)


def _moments(span: Span) -> Iterator[datetime]:
    """Yield the moments that a row should show; when it was deleted, perhaps weeks later, is none of them."""
    yield from (one for one in (span.submitted_at, span.sent_at, span.created_at, span.running_at) if one)
    if span.ended_at is not None and span.state in {State.FAILED, State.REJECTED} and span.running_at is None:
        yield span.ended_at


def row_of(span: Span, end: datetime) -> Row:
    """Return a job's line."""
    return Row(span.label, words_of(span), f"/jobs/{span.id}", tuple(_stretches(span, end)))


def _stretches(span: Span, end: datetime) -> Iterator[Stretch]:
    """Yield how the job spent its time; what it is now lasts until the picture's end."""
    steps = [("waiting", span.submitted_at)]
    steps += [
        (kind, at)
        for kind, at in (
            ("creating", span.sent_at),
            ("booting", span.created_at),
            ("running", span.running_at),
        )
        if at is not None
    ]
    if span.state == State.UNCERTAIN and steps[-1][0] == "creating":
        steps[-1] = ("uncertain", steps[-1][1])
    elif span.state in _WAITS:
        steps = steps[:1]
    closing = {State.FAILED: "failed", State.REJECTED: "failed"}.get(State(span.state), "ended")
    if span.ended_at is not None and span.state in _OVER:
        steps.append((closing, span.ended_at))
    stops = [*(at for _, at in steps[1:]), end]
    for (kind, begin), stop in zip(steps, stops, strict=True):
        if stop > begin or kind == "failed":
            yield Stretch(kind, begin, stop)


_WAITS: Final = frozenset(telling.KINDS["waiting"])
_OVER: Final = frozenset({State.FAILED, State.REJECTED, State.CANCELLED, State.DELETED})


def words_of(span: Span) -> str:
    """Return a job's line in words."""
    took = span.ended_at if span.state in _OVER else span.running_at
    after = "" if took is None else f" after {duration((took - span.submitted_at).total_seconds())}"
    why = f": {span.error_code}" if span.error_code else ""
    return f"{span.label} {span.state}{after}{why}"


# Facts ---------------------------------------------------------------------------------------------------------------


def facts_of(fleet: FleetView) -> list[tuple[str, object]]:
    """Return what was asked for the fleet as a whole, and what it costs."""
    spend = fleet.spend
    cost = f"{telling.usd(spend.hourly_microusd)} an hour now, {telling.usd(spend.spent_microusd)} so far"
    if spend.wasted_microusd:
        cost += f", {telling.usd(spend.wasted_microusd)} of that for instances that failed"
    return known(
        [
            ("id", fleet.id),
            ("instances", f"{fleet.count:,}"),
            ("cost", cost),
            ("request", fleet.request_id),
            ("trace", fleet.traceparent),
            ("boot timeout", _seconds(fleet.boot_timeout_seconds)),
            ("time to live", _seconds(fleet.ttl_seconds)),
        ]
    )


def _seconds(value: int | None) -> str | None:
    return None if value is None else duration(value)

"""Pictures as inline SVG: bars, states over time, a timeline per job. Pure functions of what is to be seen.

Text keeps its size, and the plot takes the width that there is: it is drawn in a box of 1000 units that is stretched.
Colours and line widths are the style sheet's, by class; no picture has a style of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final

from markupsafe import Markup, escape

WIDE: Final = 1000
"""How many units a plot is wide."""
MARKED: Final = 5
"""How many moments an axis names at most."""
_ROUND: Final = 20
"""A span that grows is lengthened by such a part of itself."""
_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400 * days for days in (1, 2, 7, 14, 28, 91, 365, 3650)),
)
_DAY: Final = 86_400
_MINUTE: Final = 60
_LEAST: Final = 2
"""Units that the shortest stretch is drawn with, so that it can be seen at all."""
_ROOMY: Final = 40
"""Up to so many rows each has its label beside it."""
_THICK: Final = 22
_MANY: Final = 200
"""From more rows on each is as thin as it may be."""
_THIN: Final = 6
_THINNEST: Final = 4
_GUTTER: Final = 14
"""Characters of a label that there is room for beside its row."""


# Bars ----------------------------------------------------------------------------------------------------------------


def bar(shares: Sequence[tuple[str, float]], whole: float) -> Markup:
    """Return a bar of one piece for each (class, amount). Readers of the text beside it are not told it twice."""
    total = max(whole, sum(amount for _, amount in shares)) or 1
    pieces, begin = [], 0.0
    for name, amount in shares:
        wide = WIDE * amount / total
        if wide:
            pieces.append(f'<rect class="k-{escape(name)}" x="{_no(begin)}" width="{_no(wide)}" height="1"/>')
        begin += wide
    return _svg("bar", f'viewBox="0 0 {WIDE} 1" preserveAspectRatio="none"', "".join(pieces))


def columns(amounts: Sequence[float], limit: float | None) -> Markup:
    """Return amounts as columns side by side, the last at the right, with the limit as a line across."""
    top = max([*amounts, limit or 0, 1]) * 1.1
    step = WIDE / max(len(amounts), 1)
    drawn = [
        f'<rect x="{_no(at * step + step * 0.15)}" y="{_no(100 - 100 * amount / top)}"'
        f' width="{_no(step * 0.7)}" height="{_no(100 * amount / top)}"/>'
        for at, amount in enumerate(amounts)
        if amount
    ]
    if limit:
        drawn.append(f'<path class="limit" d="M0 {_no(100 - 100 * limit / top)}h{WIDE}"/>')
    return _svg("columns", f'viewBox="0 0 {WIDE} 100" preserveAspectRatio="none"', "".join(drawn))


# Time ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """The time that a picture spans."""

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """How long it is; never nothing."""
        return max((self.end - self.begin).total_seconds(), 1.0)

    def at(self, moment: datetime) -> float:
        """Return where a moment is, in units from the left edge."""
        return WIDE * min(max((moment - self.begin).total_seconds() / self.seconds, 0.0), 1.0)


def scale(begin: datetime, end: datetime) -> Scale:
    """Return a span that ends on a round moment soon: what goes on is drawn to its edge, and seldom anew as a whole."""
    step = _step(max((end - begin).total_seconds(), 1.0) / _ROUND)
    return Scale(begin, _floor(end, step) + timedelta(seconds=step))


def marks(span: Scale) -> list[tuple[float, str]]:
    """Return the round moments of a span: where each is, in percent, and how it is written."""
    step = _step(span.seconds / MARKED)
    moment = _floor(span.begin, step) + timedelta(seconds=step)
    found = []
    while moment <= span.end:
        found.append((span.at(moment) / WIDE * 100, _clock(moment, step)))
        moment += timedelta(seconds=step)
    return found


def _step(least: float) -> int:
    return next((step for step in _STEPS if step >= least), _STEPS[-1])


def _floor(moment: datetime, step: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)


def _clock(moment: datetime, step: int) -> str:
    if step >= _DAY:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}" if step >= _MINUTE else f"{moment:%H:%M:%S}"


def axis(span: Scale) -> Markup:
    """Return the time axis, for above or below a plot of the same width."""
    lines = []
    for at, words in marks(span):
        anchor = "start" if at < 6 else "end" if at > 94 else "middle"  # noqa: PLR2004 - so wide is half a word
        lines.append(f'<text x="{_no(at)}%" y="12" text-anchor="{anchor}">{escape(words)}</text>')
        lines.append(f'<line x1="{_no(at)}%" x2="{_no(at)}%" y1="16" y2="20"/>')
    return _svg("axis", 'width="100%" height="20"', "".join(lines))


# States over time ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """How many of each kind there were at a moment."""

    at: datetime
    counts: Mapping[str, int]


def area(samples: Sequence[Sample], kinds: Sequence[str], span: Scale, whole: int) -> Markup:
    """Return how many of each kind there were, one upon another in the order of ``kinds``, from the bottom up."""
    heights = [list(accumulate(sample.counts.get(kind, 0) for kind in kinds)) for sample in samples]
    across = [_no(span.at(sample.at)) for sample in samples]
    floor = [0] * len(samples)
    bands = []
    for level, kind in enumerate(kinds):
        ceiling = [height[level] for height in heights]
        if ceiling != floor:
            bands.append(_band(kind, across, floor, ceiling, whole))
        floor = ceiling
    grid = [f'<path class="grid" d="M{_no(at * WIDE / 100)} 0v1000"/>' for at, _ in marks(span)]
    box = f'viewBox="0 0 {WIDE} 1000" preserveAspectRatio="none" width="100%" height="100%"'
    return _svg("area", 'width="100%"', f"<svg {box}>{''.join([*bands, *grid])}</svg>{_upwards(whole)}")


def _upwards(whole: int) -> str:
    """Return the numbers beside a plot that is ``whole`` high."""
    top = f'<text x="-6" y="10">{whole:,}</text>'
    half = f'<text x="-6" y="50%" dy="4">{whole // 2:,}</text>' if whole > 1 and whole % 2 == 0 else ""
    return f'<g class="names" text-anchor="end">{top}{half}<text x="-6" y="100%">0</text></g>'


def _band(kind: str, across: Sequence[str], floor: Sequence[int], ceiling: Sequence[int], whole: int) -> str:
    def line(levels: Sequence[int]) -> list[str]:
        return [
            f"{x} {_no(1000 - 1000 * level / (whole or 1))}" for x, level in zip(across, levels, strict=True)
        ]

    points = [*line(ceiling), *reversed(line(floor))]
    return f'<path class="k-{escape(kind)}" d="M{"L".join(points)}Z"/>'


# A timeline per job --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """A time that a job spent in one way."""

    kind: str
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Row:
    """One job's line."""

    label: str
    words: str
    """What a reader hears, and who points at it sees."""
    href: str
    stretches: Sequence[Stretch]


def gantt(rows: Sequence[Row], span: Scale, *, many: int) -> Markup:
    """Return a line for each job, thin where there are ``many`` in all. Each is a link that says what it is."""
    name, high, named = _size(many)
    lines: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        for stretch in row.stretches:
            begin, end = round(span.at(stretch.begin)), round(span.at(stretch.end))
            wide = max(end - begin, _LEAST)
            lines.setdefault(stretch.kind, []).append(f"M{min(begin, WIDE - wide)} {number}h{wide}")
    paths = "".join(f'<path class="k-{escape(kind)}" d="{"".join(parts)}"/>' for kind, parts in lines.items())
    grid = "".join(
        f'<path class="grid" d="M{round(at * WIDE / 100)} -1v{len(rows) + 1}"/>' for at, _ in marks(span)
    )
    plot = (
        f'<svg viewBox="0 -.5 {WIDE} {len(rows)}" preserveAspectRatio="none" width="100%" height="100%">'
        f"{grid}{paths}</svg>"
    )
    names = "".join(_names(rows, high, named))
    links = "".join(_links(rows, high))
    return Markup(  # noqa: S704 - every text in it is escaped above
        f'<svg class="gantt {name}" width="100%" height="{high * len(rows)}">{plot}{names}{links}</svg>'
    )


def _size(many: int) -> tuple[str, int, int]:
    """Return how rows look, how high each is, and how many of them share a label beside them."""
    if many <= _ROOMY:
        return "thick", _THICK, 1
    return ("thin", _THIN, 10) if many <= _MANY else ("thinnest", _THINNEST, 10)


def _names(rows: Sequence[Row], high: int, every: int) -> Iterator[str]:
    """Yield what stands beside the rows: a label for each, or for some."""
    yield '<g class="names" text-anchor="end" aria-hidden="true">'
    for number, row in enumerate(rows):
        if number % every == 0:
            yield f'<text x="-6" y="{number * high + high // 2 + 4}">{escape(_tail(row.label))}</text>'
    yield "</g>"


def _tail(label: str) -> str:
    """Return the end of a label: there it differs from its neighbours'."""
    return label if len(label) <= _GUTTER else f"…{label[1 - _GUTTER :]}"


def _links(rows: Sequence[Row], high: int) -> Iterator[str]:
    for number, row in enumerate(rows):
        top = number * high
        yield (
            f'<a href="{escape(row.href)}"><rect y="{top}"/>'
            f'<text x="4" y="{top + high // 2 + 4}">{escape(row.words)}</text></a>'
        )


# Numbers -------------------------------------------------------------------------------------------------------------


def _svg(name: str, attributes: str, content: str) -> Markup:
    return Markup(f'<svg class="{name}" {attributes} aria-hidden="true" focusable="false">{content}</svg>')  # noqa: S704


def _no(value: float) -> str:
    """Return a number as short as it may be said."""
    return f"{value:.1f}".removesuffix(".0")

"""Result rows, and what becomes of them: tables with ratios and bounds, as Markdown and as JSON.

A part of the suite is a module with ``measure(*, quick: bool) -> list[Row]``; its ``__main__`` is :func:`main`.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """What a figure must not go beyond; either end may be open."""

    most: float | None = None
    least: float | None = None

    def holds(self, value: float) -> bool:
        return not (self.most is not None and value > self.most) and not (
            self.least is not None and value < self.least
        )

    @property
    def words(self) -> str:
        ends = [("≤", self.most), ("≥", self.least)]
        return " and ".join(f"{sign} {shown(end)}" for sign, end in ends if end is not None)


@dataclass(frozen=True)
class Row:
    """One line of one table.

    Args:
        table: the table's heading; rows with the same heading are one table.
        case: the first column: what was measured, or who.
        figures: column → value, in the columns' order; a number, or text.
        bounds: column → what its value must keep.
        against: the case of the same table that ratios refer to; the columns of ``ratios`` show them.
        runs: the figures of each single run, where ``figures`` are their medians.

    """

    table: str
    case: str
    figures: Figures
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    against: str | None = None
    ratios: Sequence[str] = ()
    runs: Sequence[Figures] = ()

    @property
    def broken(self) -> list[str]:
        """One sentence for each bound that does not hold."""
        return [
            f"{self.table}, {self.case}: {name} is {shown(self.figures[name])}, expected {bound.words}"
            for name, bound in self.bounds.items()
            if not bound.holds(self.figures[name])
        ]


Measure = Callable[..., list[Row]]


def medians(runs: Sequence[Figures]) -> dict[str, Any]:
    """Return the median of each number; of what is no number, the first run's."""
    return {name: _median([run[name] for run in runs]) for name in runs[0]}


def _median(values: Sequence[Any]) -> Any:  # noqa: ANN401 - numbers or text
    return statistics.median(values) if all(isinstance(one, int | float) for one in values) else values[0]


def worst(runs: Sequence[Figures], *names: str) -> dict[str, Any]:
    """Return the medians, but of ``names`` the largest: what must never happen has no median."""
    return medians(runs) | {name: max(run[name] for run in runs) for name in names}


def shown(value: Any) -> str:  # noqa: ANN401 - numbers or text
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 100):
        return f"{value:,.0f}"
    if not isinstance(value, float):
        return str(value)
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}"


# Tables


def tables(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by their tables, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.table, []).append(row)
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return every table as Markdown, with a line of bounds beneath."""
    return "\n".join(_section(heading, members) for heading, members in tables(rows).items())


def _section(heading: str, rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [
        "| |" + "".join(f" {name} |" for name in columns),
        "| --- |" + " ---: |" * len(columns),
        *(f"| {row.case} |" + "".join(f" {_cell(row, name, rows)} |" for name in columns) for row in rows),
    ]
    return f"## {heading}\n\n" + "\n".join(lines) + "\n" + _bounds(rows)


def _cell(row: Row, name: str, rows: Sequence[Row]) -> str:
    if name not in row.figures:
        return ""
    text, ratio = shown(row.figures[name]), ratio_of(row, name, rows)
    text += "" if ratio is None else f" ({ratio:.2f} \u00d7)"
    return f"**{text}**" if name in row.bounds and not row.bounds[name].holds(row.figures[name]) else text


def ratio_of(row: Row, name: str, rows: Sequence[Row]) -> float | None:
    """Return a figure divided by the one of the row that it is compared with."""
    other = next((one for one in rows if one.case == row.against), None)
    if name not in row.ratios or other is None or other is row or not other.figures.get(name):
        return None
    return float(row.figures[name] / other.figures[name])


def _bounds(rows: Sequence[Row]) -> str:
    said = dict.fromkeys(f"{name} {bound.words}" for row in rows for name, bound in row.bounds.items())
    return f"\nBounds: {', '.join(said)}. What breaks one is bold.\n" if said else ""


# Keeping


def write(part: str, rows: Sequence[Row], folder: Path = RESULTS) -> None:
    """Write a part's results as ``PART.md`` and ``PART.json``."""
    folder.mkdir(exist_ok=True)
    machine = describe_machine()
    head = f"# {part.replace('_', ' ')}\n\n{machine.words}\n\n"
    command = f"Made by `python -m benchmarks.{part}`.\n\n"
    (folder / f"{part}.md").write_text(head + command + markdown(rows), encoding="utf-8")
    document = {"machine": asdict(machine), "rows": [asdict(row) | {"broken": row.broken} for row in rows]}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / f"{part}.json").write_text(text + "\n", encoding="utf-8")


def run(part: str, measure: Measure, *, quick: bool) -> list[str]:
    """Measure one part and print it; a full run is written too. Returns the bounds that are broken."""
    rows = measure(quick=quick)
    print(markdown(rows), flush=True)
    if not quick:
        write(part, rows)
    return [sentence for row in rows for sentence in row.broken]


def verdict(broken: Sequence[str]) -> int:
    """Say which bounds are broken; return the exit code."""
    for sentence in broken:
        print(f"broken: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def main(part: str, measure: Measure) -> int:
    """Run one part by itself: the ``__main__`` of its module."""
    parser = argparse.ArgumentParser(f"benchmarks.{part}")
    parser.add_argument("--quick", action="store_true", help="a smaller one with wide bounds; writes nothing")
    return verdict(run(part, measure, quick=parser.parse_args().quick))

"""The picture of docs/explanation/rate-window.md: creates over time against the limit, drawn from a real run.

python -m benchmarks.picture          draws it again from benchmarks/results/picture.json
python -m benchmarks.picture --run    makes the run first (four minutes)
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.competitors import OURS, OurTrial, PeerTrial
from benchmarks.lab import ROOT, Api, Ours
from benchmarks.report import RESULTS
from benchmarks.waves import Trial, run_waves

DATA = RESULTS / "picture.json"
PICTURE = ROOT / "docs" / "explanation" / "rate-window.svg"
COUNT, LIMIT, WINDOW = 200, 20, 15.0
PEERS = ("naive Celery service", "SDK, 10 threads")
WIDTH, HEIGHT = 760, 470
LEFT, RIGHT, TOP, FOOT = 52, 24, 46, 318
LANE, LANE_GAP = 24, 38
STYLE = """
text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.quiet { fill: #59636e; font-size: 12px; }
.axis, .grid { stroke: #d1d9e0; stroke-width: 1; }
.limit { fill: #eaeef2; }
.edge { fill: none; stroke: #8c959f; stroke-width: 1.5; }
.s0 { color: #0969da; } .s1 { color: #1a7f37; } .s2 { color: #8250df; }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.s0.line { stroke-width: 3; }
.name { fill: currentColor; font-weight: 600; }
.sent { stroke: currentColor; stroke-width: 1.2; }
.no { stroke: #cf222e; stroke-width: 1.2; }
.noword { fill: #cf222e; font-size: 12px; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9198a1; } .axis, .grid { stroke: #3d444d; }
  .limit { fill: #212830; } .edge { stroke: #768390; }
  .s0 { color: #4493f8; } .s1 { color: #3fb950; } .s2 { color: #ab7df8; }
  .no { stroke: #f85149; } .noword { fill: #f85149; }
}
"""


@dataclass(frozen=True)
class Series:
    """One client's creates: when they were received, in seconds from its start, and which were let through."""

    name: str
    sent: Sequence[tuple[float, bool]]

    @property
    def passed(self) -> list[float]:
        return [at for at, ok in self.sent if ok]

    @property
    def refused(self) -> list[float]:
        return [at for at, ok in self.sent if not ok]


def series(name: str, creates: Sequence[dict[str, Any]]) -> Series:
    """Return an audit's creates as a series that begins with the first one."""
    start = min(one["at"] for one in creates)
    return Series(name, [(one["at"] - start, one["status"] == "200") for one in creates])


# Drawing


@dataclass(frozen=True)
class Scale:
    """From seconds and instances to pixels."""

    seconds: float
    count: int

    def x(self, at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at / self.seconds, 1)

    def y(self, count: float) -> float:
        return round(FOOT - (FOOT - TOP) * count / self.count, 1)


def draw(found: Sequence[Series], *, count: int, limit: int, window: float) -> str:
    """Return the SVG."""
    scale = Scale((count / limit) * window * 1.1, count)
    height = FOOT + 40 + LANE_GAP * len(found) + 22
    words = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Creates over time against the rate limit</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{count} creates against a limit of {limit} per {window:g} s</text>',
        *_limit(scale, limit, window),
        *_axes(scale, window),
        *(word for number, one in enumerate(found) for word in _line(scale, number, one)),
        *(word for number, one in enumerate(found) for word in _lane(scale, number, one)),
        "</svg>",
    ]
    return "\n".join(words) + "\n"


def _steps(points: Sequence[tuple[float, float]], scale: Scale) -> str:
    """Return a path that rises at each point and is level between them."""
    path, level = [f"M{scale.x(0)} {scale.y(0)}"], 0.0
    for at, count in points:
        path.append(f"L{scale.x(at)} {scale.y(level)}L{scale.x(at)} {scale.y(count)}")
        level = count
    return "".join(path)


def _limit(scale: Scale, limit: int, window: float) -> Iterator[str]:
    openings = range(scale.count // limit)
    path = _steps([(number * window, (number + 1) * limit) for number in openings], scale)
    end = f"L{scale.x(scale.seconds)} {scale.y(scale.count)}"
    yield f'<path class="limit" d="{path}{end}L{scale.x(scale.seconds)} {scale.y(0)}Z"/>'
    yield f'<path class="edge" d="{path}{end}"/>'
    x, y = scale.x(window * 0.3), scale.y(limit * 4.4)
    yield f'<text class="quiet" x="{x}" y="{y}">what the limit lets through</text>'


def _axes(scale: Scale, window: float) -> Iterator[str]:
    yield f'<line class="axis" x1="{LEFT}" y1="{FOOT}" x2="{WIDTH - RIGHT}" y2="{FOOT}"/>'
    for number in range(int(scale.seconds // window) + 1):
        x = scale.x(number * window)
        yield f'<line class="axis" x1="{x}" y1="{FOOT}" x2="{x}" y2="{FOOT + 5}"/>'
        yield f'<text class="quiet" x="{x}" y="{FOOT + 19}" text-anchor="middle">{number * window:g} s</text>'
    for count in range(0, scale.count + 1, 50):
        yield f'<text class="quiet" x="{LEFT - 8}" y="{scale.y(count) + 4}" text-anchor="end">{count}</text>'


def _line(scale: Scale, number: int, one: Series) -> Iterator[str]:
    passed = [at for at in one.passed if at <= scale.seconds]
    points = [(at, float(place)) for place, at in enumerate(passed, start=1)]
    yield f'<path class="line s{number}" d="{_steps(points, scale)}"/>'


def _lane(scale: Scale, number: int, one: Series) -> Iterator[str]:
    top = FOOT + 40 + LANE_GAP * number
    passed, refused = len(one.passed), len(one.refused)
    end = max(at for at, _ in one.sent)
    later = f", the last after {end:.0f} s" if end > scale.seconds else ""
    yield f'<text class="name s{number}" x="{LEFT}" y="{top + 8}">{escape(one.name)}</text>'
    yield (
        f'<text class="quiet" x="{WIDTH - RIGHT}" y="{top + 8}" text-anchor="end">'
        f'{passed:,} let through{later}, <tspan class="noword">{refused:,} refused</tspan></text>'
    )
    for moments, kind in ((one.passed, f"sent s{number}"), (one.refused, "no")):
        yield f'<path class="{kind}" d="{_ticks(scale, moments, top)}"/>'


def _ticks(scale: Scale, moments: Sequence[float], top: int) -> str:
    places = dict.fromkeys(scale.x(at) for at in moments if at <= scale.seconds)
    return "".join(f"M{x} {top + 14}v{LANE - 8}" for x in places)


# Running


def trials() -> list[Trial]:
    api = Api(headers="none")
    return [OurTrial(OURS, api, COUNT, Ours(1)), *(PeerTrial(name, api, COUNT) for name in PEERS)]


def measure() -> list[Series]:
    names = ["Nodewright", *PEERS]
    runs = run_waves(trials(), at_once=len(names))
    return [series(name, run["_audit"]["creates"]) for name, run in zip(names, runs, strict=True)]


def keep(found: Sequence[Series], path: Path = DATA) -> None:
    rows = {one.name: [[round(at, 3), ok] for at, ok in one.sent] for one in found}
    path.write_text(json.dumps(rows, separators=(",", ":")) + "\n", encoding="utf-8")


def kept(path: Path = DATA) -> list[Series]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Series(name, [(at, ok) for at, ok in sent]) for name, sent in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.picture", description=__doc__)
    parser.add_argument("--run", action="store_true", help="make the run first")
    if parser.parse_args().run:
        keep(measure())
    PICTURE.write_text(draw(kept(), count=COUNT, limit=LIMIT, window=WINDOW), encoding="utf-8")


if __name__ == "__main__":
    main()

"""N = 200 at 20 / 15 s: with every kind of headers, with 1, 2 and 4 workers, and through a network that jitters.

python -m benchmarks.rate_window [--quick]
"""

import sys
from itertools import product
from typing import Any

from benchmarks.lab import Api, Ours
from benchmarks.report import Bound, Row, main, worst
from benchmarks.trials import FleetTrial, kept, plain
from benchmarks.waves import run_waves

HEADERS = ("all", "limit-only", "none")
WORKERS = (1, 2, 4)
JITTER = "50±30"
AT_ONCE = 12
RUNS = 3
TABLE = "A fleet of {count}, 20 creates per 15 s, 1.5 s per create, 10 s to boot: floor {floor:.1f} s"
NEVER = ("refused", "bought twice")


def bounds(*, jitter: bool, quick: bool) -> dict[str, Bound]:
    """Return what a run must keep. The quick ones are wide: a machine that tests run on is noisy."""
    times = 1.10 if quick else 1.03 if jitter else 1.01
    return {
        "of floor": Bound(most=times),
        "refused": Bound(most=5 if quick else 0),
        "bought twice": Bound(most=0),
        "POSTs each": Bound(most=1.10 if quick else 1.0),
        "calls each": Bound(most=1.60 if quick else 1.10),
    }


def trials(
    count: int, headers: tuple[str, ...], workers: tuple[int, ...], jitter: str | None
) -> list[FleetTrial]:
    suffix = "" if jitter is None else f", network {jitter} ms"
    return [
        FleetTrial(
            f"headers {kind}, {number} worker{'s' * (number > 1)}{suffix}",
            Api(headers=kind, jitter=jitter),
            count,
            Ours(workers=number),
        )
        for kind, number in product(headers, workers)
    ]


def measure(*, quick: bool) -> list[Row]:
    if quick:
        chosen = [*trials(60, ("all", "none"), (2,), None), *trials(60, ("all",), (1,), JITTER)]
        return _rows(chosen, 1, quick=True)
    chosen = [*trials(200, HEADERS, WORKERS, None), *trials(200, HEADERS, (2,), JITTER)]
    return _rows(chosen, RUNS, quick=False)


def _rows(chosen: list[FleetTrial], runs: int, *, quick: bool) -> list[Row]:
    found = run_waves([trial for trial in chosen for _ in range(runs)], at_once=AT_ONCE)
    by_trial = [found[start : start + runs] for start in range(0, len(found), runs)]
    return [_row(trial, of, quick=quick) for trial, of in zip(chosen, by_trial, strict=True)]


def _row(trial: FleetTrial, found: list[dict[str, Any]], *, quick: bool) -> Row:
    runs = [plain(run) for run in found]
    return Row(
        TABLE.format(count=trial.count, floor=trial.floor),
        trial.name,
        worst(runs, *NEVER),
        bounds(jitter=trial.api.jitter is not None, quick=quick),
        runs=[kept(run) for run in found],
    )


if __name__ == "__main__":
    sys.exit(main("rate_window", measure))

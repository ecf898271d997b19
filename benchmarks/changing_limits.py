"""Limits that are not one plain window: two buckets at once, a limit that is cut, a stranger on the same token.

python -m benchmarks.changing_limits [--quick]
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Event
from typing import Any

import httpx

from benchmarks.arithmetic import Share, shares, taken_share
from benchmarks.lab import SPEC, TOKEN, Api, Ours, Simulated
from benchmarks.report import Bound, Row, main, worst
from benchmarks.trials import NAME, FleetTrial, plain
from benchmarks.waves import run_waves

RUNS = 3
AT_ONCE = 12
LIMIT, SECONDS = 20, 15.0
TWO = "5/15,10/30"
CUT_TO = 5
CUT_AFTER = 40
STRANGERS = 10
"""How many creates a stranger sends at each opening …"""
STRANGER_DELAY = 0.01
"""… so many seconds after it: before ours, which keep a margin."""
NEVER = ("bought twice", "refused after the first window", "refused in one window", "refused later")
TWO_TABLE = "Two buckets at once: 5 creates per 15 s and 10 per 30 s"
CUT_TABLE = "The limit is cut from 20 to 5 creates per 15 s in the middle of a run"
STRANGER_TABLE = "A stranger on the same token takes the first 10 of 20 creates in every window of 15 s"


# What happens


def cut_limit(simulator: Simulated, over: Event, *, after: int) -> None:
    """Cut the limit once so many creates were let through; the window that is open then goes on with it."""
    while not over.wait(0.1):
        creates = simulator.control("GET", "traffic")["creates"]
        if sum(one["status"] == "200" for one in creates) >= after:
            over.wait(1.0)
            simulator.control("POST", "limits", {"create": [[CUT_TO, SECONDS]]})
            return


def stranger(simulator: Simulated, over: Event) -> None:
    """Send ten creates with the same token at the opening of each window, before anybody else does."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        httpx.Client(headers=headers, timeout=10, trust_env=False) as client,
        ThreadPoolExecutor(STRANGERS) as pool,
    ):
        for window in count():
            create = partial(_foreign_create, client, f"{simulator.url}/linode/instances", window)
            for number in range(STRANGERS):
                pool.submit(create, number)
            if over.wait(_until_next(simulator) + STRANGER_DELAY):
                return


def _foreign_create(client: httpx.Client, url: str, window: int, number: int) -> None:
    body = {**SPEC, "label": f"stranger-{window}-{number}", "root_pass": "aComplexP@ssw0rd"}
    client.post(url, json=body)


def _until_next(simulator: Simulated) -> float:
    """Return in how many seconds the server's present window is over."""
    time.sleep(1.0)  # the stranger's own creates have arrived by then
    creates = simulator.control("GET", "traffic")["creates"]
    return max(0.0, shares(creates, LIMIT, SECONDS, prefix=NAME)[-1].start + SECONDS - time.time())


# What is counted


def refused_late(audit: dict[str, Any]) -> dict[str, Any]:
    """Return how many creates were refused after the first window of two buckets' shorter one."""
    found = shares(audit["creates"], 5, SECONDS, prefix=NAME)
    return {"refused after the first window": sum(one.refused for one in found[1:])}


def refused_after_cut(audit: dict[str, Any]) -> dict[str, Any]:
    """Return the refusals of the first window that had any, and those of the later ones."""
    found = [one.refused for one in shares(audit["creates"], LIMIT, SECONDS, prefix=NAME)]
    first = next((number for number, refused in enumerate(found) if refused), len(found))
    return {"refused in one window": sum(found[first : first + 1]), "refused later": sum(found[first + 1 :])}


def left_taken(audit: dict[str, Any]) -> dict[str, Any]:
    """Return which share of what the stranger left became ours, in windows that we had work for."""
    found = _with_work(shares(audit["creates"], LIMIT, SECONDS, prefix=NAME))
    return {
        "windows": len(found),
        "stranger's": sum(one.theirs for one in found),
        "ours refused": sum(one.refused for one in found),
        "ours refused after the first window": sum(one.refused for one in found[1:]),
        "share of what is left": taken_share(found, LIMIT),
    }


def _with_work(found: list[Share]) -> list[Share]:
    ours = [number for number, one in enumerate(found) if one.ours]
    return found[ours[0] : ours[-1] + 1]


# The trials


def two_buckets(size: int, configured: str, headers: str) -> FleetTrial:
    name = "both configured" if configured == TWO else f"configured {configured}, learnt from headers"
    return FleetTrial(name, Api(headers=headers, create=TWO), size, Ours(2, configured), extra=refused_late)


def cut(size: int, headers: str) -> FleetTrial:
    twist = partial(cut_limit, after=CUT_AFTER)
    return FleetTrial(f"headers {headers}", Api(headers=headers), size, Ours(2), twist, refused_after_cut)


def shared(size: int, headers: str) -> FleetTrial:
    return FleetTrial(f"headers {headers}", Api(headers=headers), size, Ours(2), stranger, left_taken)


def plans(*, quick: bool) -> list[tuple[str, FleetTrial]]:
    if quick:
        return [(TWO_TABLE, two_buckets(20, TWO, "all"))]
    return [
        *((TWO_TABLE, two_buckets(40, TWO, headers)) for headers in ("all",)),
        (TWO_TABLE, two_buckets(40, "20/15", "all")),
        *((CUT_TABLE, cut(80, headers)) for headers in ("all", "limit-only", "none")),
        *((STRANGER_TABLE, shared(80, headers)) for headers in ("all", "none")),
    ]


def bounds(table: str, *, quick: bool) -> dict[str, Bound]:
    if table == TWO_TABLE:
        times = Bound(most=1.10 if quick else 1.03)
        return {
            "of floor": times,
            "refused after the first window": Bound(most=0),
            "bought twice": Bound(most=0),
        }
    if table == CUT_TABLE:
        late = Bound(most=0)
        return {
            "refused in one window": Bound(most=LIMIT),
            "refused later": late,
            "bought twice": Bound(most=0),
        }
    return {"share of what is left": Bound(least=0.95), "bought twice": Bound(most=0)}


def measure(*, quick: bool) -> list[Row]:
    chosen, runs = plans(quick=quick), 1 if quick else RUNS
    found = run_waves([trial for _, trial in chosen for _ in range(runs)], at_once=AT_ONCE)
    by_trial = [found[start : start + runs] for start in range(0, len(found), runs)]
    return [_row(table, trial, of, quick=quick) for (table, trial), of in zip(chosen, by_trial, strict=True)]


def _row(table: str, trial: FleetTrial, found: list[dict[str, Any]], *, quick: bool) -> Row:
    runs = [_figures(table, run) for run in found]
    never = [name for name in NEVER if name in runs[0]]
    return Row(table, trial.name, worst(runs, *never), bounds(table, quick=quick), runs=runs)


def _figures(table: str, run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's figures; where limits change there is no floor, and a stranger's calls are not ours."""
    hidden = {TWO_TABLE: set(), CUT_TABLE: {"of floor"}}.get(
        table, {"of floor", "refused", "POSTs each", "calls each"}
    )
    return {name: value for name, value in plain(run).items() if name not in hidden}


if __name__ == "__main__":
    sys.exit(main("changing_limits", measure))

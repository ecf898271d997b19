"""N = 20 with a warm worker: from the submit to the last of 20 POSTs received.

python -m benchmarks.burst [--quick]
"""

import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.lab import SPEC, Api, Ours, Simulated, scratch, settled, simulated, stack
from benchmarks.report import Bound, Row, main
from nodewright.client import Client

COUNT = 20
TIMES = 15
QUICK_TIMES = 4
TABLE = (
    "A fleet of 20 into an open window, warm worker: milliseconds from the submit to the last POST received"
)
PAUSE_SECONDS = 0.5


def milliseconds(creates: list[dict[str, Any]], began: float) -> dict[str, float]:
    """Return when the first and the last create were received, after ``began``; moments are epoch seconds."""
    moments = sorted(one["at"] for one in creates)
    return {"first POST": (moments[0] - began) * 1000, "last POST": (moments[-1] - began) * 1000}


def measure(*, quick: bool) -> list[Row]:
    seconds = 5.0 if quick else 10.0
    api = Api(create=f"{COUNT}/{seconds:g}", latency=1.5, boot=2.0)
    with ExitStack() as held:
        folder = held.enter_context(scratch())
        simulator = held.enter_context(simulated(api, folder))
        client = held.enter_context(stack(simulator, Ours(create_limit=api.create), folder))
        times = QUICK_TIMES if quick else TIMES
        runs = [_burst(client, simulator, seconds, f"web{number}") for number in range(times + 1)]
    return [_row(runs[1:], quick=quick)]  # the first one warms it


def _burst(client: Client, simulator: Simulated, seconds: float, name: str) -> dict[str, float]:
    before = simulator.control("GET", "traffic")
    began = time.time()
    fleet = client.submit({"name": name, "count": COUNT, **SPEC}).fleet
    answered = time.time()
    settled(client, fleet, within=60)
    after = simulator.control("GET", "traffic")
    creates = after["creates"][len(before["creates"]) :]
    found = {"submit answered": (answered - began) * 1000, **milliseconds(creates, began)}
    # The next one is to find the window over, and connections that went idle since, as in real life.
    time.sleep(max(0.0, creates[0]["at"] + seconds + PAUSE_SECONDS - time.time()))
    return {**found, "refused": after["refused"] - before["refused"]}


def _row(runs: list[dict[str, float]], *, quick: bool) -> Row:
    last = [run["last POST"] for run in runs]
    figures = {
        "submit answered": statistics.median(run["submit answered"] for run in runs),
        "first POST": statistics.median(run["first POST"] for run in runs),
        "last POST": statistics.median(last),
        "last POST, worst": max(last),
        "refused": int(sum(run["refused"] for run in runs)),
    }
    bounds = {"last POST": Bound(most=400 if quick else 100), "refused": Bound(most=0)}
    return Row(TABLE, f"median of {len(runs)}", figures, bounds, runs=runs)


if __name__ == "__main__":
    sys.exit(main("burst", measure))

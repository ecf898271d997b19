"""The same fleet by others, side by side with ours: the SDK in series, the SDK by ten threads, the naive service.

python -m benchmarks.competitors [--quick]
"""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arithmetic import account, floor_seconds
from benchmarks.lab import ROOT, TOKEN, Api, Ours, Simulated, environment, scratch, simulated
from benchmarks.report import Bound, Row, main, medians
from benchmarks.trials import FleetTrial, plain
from benchmarks.waves import Go, Trial, run_waves

OURS = "Nodewright, 1 worker"
PATIENCE_SECONDS = 900.0
RUNS = 3
AT_ONCE = 18
TABLE = "{count} instances, 20 creates per 15 s, 1.5 s per create, 10 s to boot, headers {headers}: floor {floor:.1f} s"
LOST = {"action": "reset_after", "method": "POST", "route": "/linode/instances", "every": 10}
LOST_TABLE = (
    "{count} instances, where the reply to each tenth create that is applied is lost, headers {headers}"
)
PEERS = {
    "SDK in series": ("benchmarks.peers.sdk",),
    "SDK, 10 threads": ("benchmarks.peers.sdk", "--threads", "10"),
    "naive Celery service": ("benchmarks.peers.naive",),
}


@dataclass(frozen=True)
class PeerTrial:
    """One run of somebody else's."""

    name: str
    api: Api
    count: int
    lost: bool = False

    @property
    def floor(self) -> float:
        return floor_seconds(self.count, self.api.buckets, latency=self.api.latency, boot=self.api.boot)

    def prepare(self, held: ExitStack) -> Go:
        folder = held.enter_context(scratch())
        simulator = held.enter_context(simulated(self.api, folder))
        if self.lost:
            simulator.control("POST", "faults", LOST)
        return lambda: self._go(simulator, folder)

    def _go(self, simulator: Simulated, folder: Path) -> dict[str, Any]:
        module, *options = PEERS[self.name]
        if module.endswith("naive"):
            options += [
                "--folder",
                str(folder),
                "--within",
                str(self.floor * 3 if not self.lost else self.floor + 60),
            ]
        words = [sys.executable, "-m", module, simulator.url, TOKEN, str(self.count), *options]
        began = time.time()
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
            timeout=PATIENCE_SECONDS,
        )
        said, audit = json.loads(done.stdout.splitlines()[-1]), simulator.audit()
        return figures(said, audit, self.count, self.floor) | {"_audit": audit, "_began": began}


def figures(said: dict[str, Any], audit: dict[str, Any], count: int, floor: float) -> dict[str, Any]:
    """Return the figures of a run. ``orphans``: instances that exist and that nobody was told of."""
    found = account(audit)
    return {
        "made": found.made,
        "running": said["running"],
        "failed": count - said["running"],
        "orphans": found.kept - said["running"],
        "refused": found.refused,
        "POSTs each": found.posts / count,
        "calls each": found.calls / count,
        "seconds": said["seconds"],
        "of floor": said["seconds"] / floor,
    }


@dataclass(frozen=True)
class OurTrial(FleetTrial):
    """A fleet by Nodewright, with the columns of the others."""

    lost: bool = False

    def prepare(self, held: ExitStack) -> Go:
        go = super().prepare(held)
        return lambda: self._columns(go())

    def _spoil(self, simulator: Simulated) -> None:
        if self.lost:
            simulator.control("POST", "faults", LOST)

    def _columns(self, run: dict[str, Any]) -> dict[str, Any]:
        return figures(run, run["_audit"], self.count, self.floor) | {
            "_audit": run["_audit"],
            "_began": run["_began"],
        }


def trials(api: Api, count: int, *, lost: bool) -> list[Trial]:
    """Return one trial of each, ours first."""
    peers = [PeerTrial(name, api, count, lost) for name in PEERS]
    return [OurTrial(OURS, api, count, Ours(1), lost=lost), *peers]


def plans(*, quick: bool) -> list[tuple[str, list[Trial]]]:
    if quick:
        return [_plan(TABLE, Api(headers="none"), 30, lost=False)]
    return [
        _plan(TABLE, Api(headers="none"), 200, lost=False),
        _plan(TABLE, Api(headers="all"), 200, lost=False),
        _plan(LOST_TABLE, Api(headers="all"), 60, lost=True),
    ]


def _plan(table: str, api: Api, count: int, *, lost: bool) -> tuple[str, list[Trial]]:
    floor = floor_seconds(count, api.buckets, latency=api.latency, boot=api.boot)
    return table.format(count=count, headers=api.headers, floor=floor), trials(api, count, lost=lost)


def measure(*, quick: bool) -> list[Row]:
    chosen, runs = plans(quick=quick), 1 if quick else RUNS
    listed = [(table, trial) for table, members in chosen for trial in members]
    # One run of each before the second of any: what is compared runs side by side.
    found = run_waves([trial for _ in range(runs) for _, trial in listed], at_once=AT_ONCE)
    return [
        _row(table, trial.name, found[number :: len(listed)]) for number, (table, trial) in enumerate(listed)
    ]


def _row(table: str, name: str, found: list[dict[str, Any]]) -> Row:
    runs = [plain(run) for run in found]
    ours = {"failed": Bound(most=0), "orphans": Bound(most=0)} if name == OURS else {}
    return Row(table, name, medians(runs), ours, OURS, ("seconds",), runs)


if __name__ == "__main__":
    sys.exit(main("competitors", measure))

"""One run of ours: a fleet, from its submit until every job's `running` is recorded."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread
from typing import Any

from benchmarks.arithmetic import Account, account, floor_seconds
from benchmarks.lab import SPEC, Api, Ours, Simulated, scratch, settled, simulated, stack
from benchmarks.waves import Go
from nodewright.client import Client, Fleet, Job

Twist = Callable[[Simulated, Event], None]
"""Something that happens to the simulator while a run goes on; the event ends it."""
Extra = Callable[[dict[str, Any]], dict[str, Any]]
"""More figures, from the audit."""
PATIENCE = 4.0
NAME = "web"


@dataclass(frozen=True)
class FleetTrial:
    """A fleet of ``count`` by Nodewright. A run's figures that begin with ``_`` are not for tables."""

    name: str
    api: Api
    count: int
    ours: Ours = field(default_factory=Ours)
    twist: Twist | None = None
    extra: Extra | None = None

    @property
    def floor(self) -> float:
        return floor_seconds(self.count, self.api.buckets, latency=self.api.latency, boot=self.api.boot)

    def prepare(self, held: ExitStack) -> Go:
        folder = held.enter_context(scratch())
        simulator = held.enter_context(simulated(self.api, folder))
        client = held.enter_context(stack(simulator, self.ours, folder))
        return lambda: self._go(simulator, client)

    def _spoil(self, simulator: Simulated) -> None:
        """Change the simulator before the run; here nothing."""

    def _go(self, simulator: Simulated, client: Client) -> dict[str, Any]:
        self._spoil(simulator)
        with _happening(self.twist, simulator):
            began = time.time()
            fleet = client.submit({"name": NAME, "count": self.count, **SPEC}).fleet
            fleet = settled(client, fleet, within=self.floor * PATIENCE + 60)
        audit = simulator.audit()
        seconds = ended(client, fleet) - began
        more = {} if self.extra is None else self.extra(audit)
        usual = figures(fleet, account(audit), seconds, self.floor)
        return {**usual, **more, "_audit": audit, "_began": began}


def figures(fleet: Fleet, found: Account, seconds: float, floor: float) -> dict[str, Any]:
    """Return the usual figures of one of our runs."""
    running = fleet.states.get("running", 0)
    return {
        "running": running,
        "seconds": seconds,
        "of floor": seconds / floor,
        "refused": found.refused,
        "bought twice": found.twice + found.kept - running,
        "POSTs each": found.posts / fleet.count,
        "calls each": found.calls / fleet.count,
    }


def ended(client: Client, fleet: Fleet) -> float:
    """Return when the last job was recorded as running, by the database's clock, which is this machine's."""
    return max(_moment(job) for job in client.jobs(fleet=fleet.id))


def _moment(job: Job) -> float:
    text = job.to_json().get("running_at")
    return datetime.fromisoformat(text).timestamp() if text else 0.0


@contextmanager
def _happening(twist: Twist | None, simulator: Simulated) -> Iterator[None]:
    if twist is None:
        yield
        return
    over = Event()
    thread = Thread(target=twist, args=(simulator, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def plain(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's figures without what is not for tables."""
    return {name: value for name, value in run.items() if not name.startswith("_")}


def kept(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the JSON keeps of a single run: its figures, and its calls by route."""
    return plain(run) | {"routes": dict(account(run["_audit"]).routes)}

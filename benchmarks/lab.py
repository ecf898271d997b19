"""The processes of a run: a simulated API, perhaps with a network before it, and Nodewright's real stack against it."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from nodewright.client import Client, Fleet
from nodewright.embedded import free_port
from nodewright.pausing import Pause
from nodewright.processes import Part, Supervisor
from nodewright.settings import Settings
from nodewright.stack import Stack, StackPlan
from nodewright.wiring import Wiring

TOKEN = "simulated-token"
SPEC = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Api:
    """How the simulated API is, in its own words. ``jitter``: each way's delay in ms, as ``50±30``."""

    headers: str = "all"
    create: str = "20/15"
    latency: float = 1.5
    boot: float = 10.0
    jitter: str | None = None
    free_reads: bool = False
    """Without any limit on reads."""

    @property
    def buckets(self) -> list[tuple[int, float]]:
        pairs = [text.partition("/") for text in self.create.split(",") if self.create != "none"]
        return [(int(limit), float(seconds)) for limit, _, seconds in pairs]

    @property
    def options(self) -> list[str]:
        return [
            *("--headers", self.headers, "--limit", f"create={self.create}"),
            *("--latency", str(self.latency), "--boot", str(self.boot)),
            *(("--limit", "list=none", "--limit", "other=none") if self.free_reads else ()),
        ]


@dataclass(frozen=True)
class Simulated:
    """A running simulator. ``url`` is what clients are given; ``root`` leads to its levers, past the network."""

    root: str
    url: str

    def control(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        answer = httpx.request(method, f"{self.root}/_control/{path}", json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def audit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control("GET", "audit")
        return found


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for the length of a block."""
    folder = Path(tempfile.mkdtemp(prefix="nw-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def simulated(api: Api, folder: Path) -> Iterator[Simulated]:
    """Run a simulator, and the network where there is one."""
    port = free_port()
    with Supervisor() as supervisor:
        start(supervisor, folder, "simulator", "simulator", "--port", str(port), *api.options)
        root = f"http://127.0.0.1:{port}"
        _await(f"{root}/_control/health")
        if api.jitter is None:
            yield Simulated(root, f"{root}/v4")
            return
        near = free_port()
        start(supervisor, folder, "network", "benchmarks.network", str(near), str(port), api.jitter)
        _await(f"http://127.0.0.1:{near}/_control/health")
        yield Simulated(root, f"http://127.0.0.1:{near}/v4")


def start(supervisor: Supervisor, folder: Path, name: str, module: str, *arguments: str) -> None:
    """Run a module of this checkout as a part that dies with this process."""
    tether = (sys.executable, "-P", "-m", "nodewright.tether", str(os.getpid()))
    argv = (*tether, sys.executable, "-m", module, *arguments)
    supervisor.start(Part(name, argv, environment(), folder / f"{name}.log"))


def environment(**settings: str) -> dict[str, str]:
    """Return the real environment with exactly these settings of ours."""
    ours = ("NODEWRIGHT_", "LINODE_", "NAIVE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **settings}


def _await(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"no answer from {url}")


@dataclass(frozen=True)
class Ours:
    """How Nodewright's stack is to be, beside its defaults."""

    workers: int = 1
    create_limit: str = "20/15"
    settings: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def stack(simulator: Simulated, ours: Ours, folder: Path) -> Iterator[Client]:
    """Run broker, workers and service; yield a client of the service."""
    settings = Settings.load(
        {
            "LINODE_TOKEN": TOKEN,
            "LINODE_API_URL": simulator.url,
            "NODEWRIGHT_HOME": str(folder / "home"),
            "NODEWRIGHT_MAX_INSTANCES": "1000000",
            "NODEWRIGHT_MAX_HOURLY_USD": "1000000",
            "NODEWRIGHT_CREATE_LIMIT": ours.create_limit,
            **ours.settings,
        }
    )
    plan = StackPlan(ours.workers, free_port())
    with Stack(Wiring(settings), plan, Pause(), say=lambda words: print(words, file=sys.stderr)) as running:
        address = running.start()
        with Client(address.url, address.api_key) as client:
            yield client


def settled(client: Client, fleet: Fleet, *, within: float) -> Fleet:
    """Wait until nothing of a fleet is under way any more."""
    deadline = time.monotonic() + within
    while not fleet.settled:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not settled within {within:.0f} s: {fleet.states}")
        time.sleep(POLL_SECONDS)
        fleet = client.fleet(fleet.id)
    return fleet

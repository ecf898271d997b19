"""The demo: a simulated Linode API, the whole stack in a temporary home, one fleet, and an audit of what was bought."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console

from nodewright.cli.fleets import print_result
from nodewright.cli.progress import Follower
from nodewright.client import Client, Fleet, Job
from nodewright.embedded import free_port
from nodewright.failures import Failure
from nodewright.pausing import Pause
from nodewright.processes import Part, Supervisor, own_command, tail
from nodewright.settings import Settings
from nodewright.stack import Stack, StackPlan
from nodewright.wiring import Wiring

CREATES: Final = 20
WINDOW_SECONDS: Final = 5
BOOT_SECONDS: Final = 3
SHOWN: Final = 10
_SPEC: Final = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
_INTRODUCTION: Final = f"""\
Simulated: a Linode API on loopback that takes {CREATES} creates per {WINDOW_SECONDS} s (the real
one: 20 per 15 s) and boots instances in about {BOOT_SECONDS} s (really: about 60).
Real: HTTP service, Celery worker, Valkey, SQLite. Nothing is bought.
"""
_TOKEN: Final = "simulated-token"  # noqa: S105 - it opens nothing but the simulator
_SIMULATOR_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Audit:
    """What the simulator says was really made, beside what our table says."""

    asked: int
    running: int
    kept: int
    """Instances that exist."""
    twice: int
    """Instances beyond the first of any job, deleted ones too."""
    refused: int
    """Calls answered 429."""

    @property
    def line(self) -> str:
        """The audit in one line."""
        return (
            f"asked {self.asked} · running {self.running} · "
            f"bought twice {self.twice} · refused calls {self.refused}"
        )

    @property
    def well(self) -> bool:
        """Whether each job has exactly one running instance, at no refused call."""
        return self.asked == self.running == self.kept and not self.twice and not self.refused


def audit(report: dict[str, Any], fleet: Fleet) -> Audit:
    """Return the audit of ``fleet`` by the simulator's ``report``."""
    made = Counter(_job_of(one["tags"]) for one in report["instances"])
    twice = sum(count - 1 for job, count in made.items() if job)
    running = fleet.states.get("running", 0)
    return Audit(fleet.count, running, report["kept"], twice + made[""], report["refused"])


def _job_of(tags: list[str]) -> str:
    """Return the job whose attempt made an instance; nothing for one that nobody can own."""
    return next((tag.removeprefix("nw:").partition(".")[0] for tag in tags if tag.startswith("nw:")), "")


def run_demo(settings: Settings, count: int, pause: Pause, out: Console) -> int:
    """Run the demo; return its exit code.

    Raises:
        Interrupted: somebody asked for the end. Nothing is left behind then either.

    """
    out.print("Nodewright demo", style="bold")
    out.print(_INTRODUCTION)
    with _temporary_home() as folder, Supervisor() as supervisor:
        port = _start_simulator(supervisor, settings, folder, pause)
        wiring = Wiring(_demo_settings(folder, port, count))
        began = time.time()
        with Stack(wiring, StackPlan(), pause, say=out.print) as stack:
            address = stack.start()
            out.print(f"The stack is up after {time.time() - began:.1f} s. The page: {address.url}/\n")
            with Client(address.url, address.api_key) as client:
                return _run_fleet(client, f"http://127.0.0.1:{port}", count, pause, out, began)


def _run_fleet(client: Client, simulator: str, count: int, pause: Pause, out: Console, began: float) -> int:
    document = {"name": "demo", "count": count, **_SPEC}
    fleet = Follower(client, out, wait=pause).follow(client.submit(document).fleet, until_paused=True)
    print_result(client, fleet, shown=SHOWN)
    first = _first_running(client.jobs(fleet=fleet.id))
    if first is not None:
        out.print(f"first instance running {first - began:.1f} s after the stack's start")
    found = audit(httpx.get(f"{simulator}/_control/audit", timeout=10, trust_env=False).json(), fleet)
    out.print()
    out.print(found.line, style="bold green" if found.well else "bold red")
    return 0 if found.well else 1


def _first_running(jobs: Iterator[Job]) -> float | None:
    moments = [job.to_json().get("running_at") for job in jobs]
    return min((datetime.fromisoformat(one).timestamp() for one in moments if one), default=None)


def _demo_settings(folder: Path, port: int, count: int) -> Settings:
    return Settings.load(
        {
            "LINODE_TOKEN": _TOKEN,
            "LINODE_API_URL": f"http://127.0.0.1:{port}/v4",
            "NODEWRIGHT_HOME": str(folder),
            "NODEWRIGHT_MAX_INSTANCES": str(count),
            "NODEWRIGHT_MAX_HOURLY_USD": "1000",
            "NODEWRIGHT_CREATE_LIMIT": f"{CREATES}/{WINDOW_SECONDS}",
        }
    )


@contextmanager
def _temporary_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nodewright-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_simulator(supervisor: Supervisor, settings: Settings, folder: Path, pause: Pause) -> int:
    port, log = free_port(), folder / "simulator.log"
    command = own_command(
        *("simulate", "--port", str(port), "--token", _TOKEN),
        *("--create-limit", str(CREATES), "--create-window", str(WINDOW_SECONDS)),
        *("--boot", str(BOOT_SECONDS), "--boot-spread", "1", "--latency", "0.3"),
    )
    supervisor.start(Part("simulator", command, settings.environment(PYTHONSAFEPATH="1"), log))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=2, trust_env=False) as client:
        for _ in range(round(_SIMULATOR_SECONDS / 0.05)):
            supervisor.check()
            if _answers(client):
                return port
            pause(0.05)
    raise Failure(f"the simulator does not answer; its log:\n{tail(log)}")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/_control/traffic").is_success
    except httpx.TransportError:
        return False

"""The clients of the storm: they send each fleet until it is accepted, and cancel some."""

import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from nodewright.answers import Cancelled
from nodewright.client import Answered, Client, ClientError, Refused, ServiceUnavailable, Unexpected
from tests.chaos.plan import FleetPlan
from tests.chaos.rig import API_KEY, Rig

PATIENCE_SECONDS: Final = 150.0
PAUSE_SECONDS: Final = 0.3
THREADS: Final = 24


class Submits:
    """Sends fleets in threads of its own. ``accepted`` grows as answers come."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="client")
        self._futures: list[Future[None]] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self.accepted: dict[str, str] = {}
        """The id of each fleet's acceptance, by its key."""
        self.seen: Counter[str] = Counter()
        """What became of sends: ``sent again``, ``replayed``, ``cancelled``, ``noted`` …"""
        self.faults: list[str] = []

    def send(self, plan: FleetPlan) -> None:
        """Send a fleet until it is accepted, and cancel it if that is the plan."""
        self._futures.append(self._pool.submit(self._run, plan))

    def finish(self) -> None:
        """Wait for every client."""
        for future in self._futures:
            future.result()

    def end(self) -> None:
        """Give up whatever is still under way."""
        self._ending.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, plan: FleetPlan) -> None:
        fleet = self._until(plan, lambda: self._by_cli(plan) if plan.by_cli else self._by_http(plan))
        if fleet is None:
            return
        self.accepted[plan.key] = fleet
        if plan.cancel_after is not None:
            self._ending.wait(plan.cancel_after)
            done = self._until(plan, lambda: self._cancel(fleet))
            for what in ("cancelled", "noted"):
                self._count(what, 0 if done is None else getattr(done, what))

    def _until(self, plan: FleetPlan, call: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not self._ending.is_set():
            try:
                return call()
            except (ServiceUnavailable, Unexpected) as error:
                self._count(f"answered {error.problem.status}")
            except Refused as error:
                self._fault(f"{plan.key} was refused: {error.problem.status} {error}")
                return None
            except (ClientError, subprocess.TimeoutExpired):
                self._count("no answer")
            self._ending.wait(PAUSE_SECONDS)
        self._fault(f"{plan.key}: no sensible answer within {PATIENCE_SECONDS:.0f} s")
        return None

    def _by_http(self, plan: FleetPlan) -> str:
        with Client(self._rig.url("service"), API_KEY, timeout=15) as client:
            found = client.submit(plan.document, idempotency_key=plan.key)
        self._count("replayed" if found.replayed else "accepted at once")
        return found.fleet.id

    def _by_cli(self, plan: FleetPlan) -> str:
        """Submit by the command; it prints the fleet as JSON."""
        argv = [
            str(Path(sys.executable).with_name("nodewright")),
            "submit",
            "--json",
            "--idempotency-key",
            plan.key,
        ]
        for name in ("name", "count", "type", "region", "image"):
            argv += [f"--{name}", str(plan.document[name])]
        given = plan.document.get("root_pass")
        done = subprocess.run(
            [*argv, *(["--root-pass-stdin"] if given else [])],
            env=self._rig.environment,
            input=given or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            self._count(f"command ended {done.returncode}")
            raise ClientError(done.stderr)
        self._count("accepted by command")
        return plan.key

    def _cancel(self, fleet: str) -> Cancelled:
        with Client(self._rig.url("service"), API_KEY, timeout=15) as client:
            return client.cancel(fleet)

    def replay(self, plan: FleetPlan) -> None:
        """Send an accepted fleet once more, and once with another body: the same fleet, and a clear no."""
        same, other = plan.document, {**plan.document, "count": plan.count + 1}
        if (got := self._status(plan, same)) != "replayed":
            self._fault(f"{plan.key}: the same request again was answered {got}")
        if (got := self._status(plan, other)) != "409":
            self._fault(f"{plan.key}: the same key with another body was answered {got}")

    def _status(self, plan: FleetPlan, document: dict[str, Any]) -> str:
        with Client(self._rig.url("service"), API_KEY, timeout=15) as client:
            try:
                found = client.submit(document, idempotency_key=plan.key)
            except Answered as error:
                return str(error.problem.status)
        return "replayed" if found.replayed else "as a new fleet"

    def _count(self, what: str, many: int = 1) -> None:
        with self._lock:
            self.seen[what] += many

    def _fault(self, words: str) -> None:
        with self._lock:
            self.faults.append(words)

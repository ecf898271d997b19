"""Starting the naive service, giving it work, and seeing how far it is."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu.connection import Connection
from sqlalchemy import Engine, create_engine, func, select

from benchmarks.lab import environment
from benchmarks.peers.naive.app import Base, Instance, app
from nodewright.processes import Part, Supervisor

READY_SECONDS = 30.0
TASK = "benchmarks.peers.naive.app.provision"


@dataclass(frozen=True)
class NaivePlan:
    """How it runs: ``processes`` workers of ``threads`` threads each (Celery's ``-P threads``)."""

    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    api_url: str
    token: str = field(repr=False)
    processes: int = 1
    threads: int = 32
    poll_seconds: float = 2.0

    @property
    def environment(self) -> dict[str, str]:
        return environment(
            NAIVE_DATABASE_URL=self.database_url,
            NAIVE_BROKER_URL=self.broker_url,
            NAIVE_API_URL=self.api_url,
            NAIVE_TOKEN=self.token,
            NAIVE_THREADS=str(self.threads),
            NAIVE_POLL_SECONDS=str(self.poll_seconds),
        )


@dataclass(frozen=True)
class NaiveService:
    """A running one."""

    plan: NaivePlan
    database: Engine

    def submit(self, count: int, *, prefix: str = "web") -> None:
        """Publish one message per instance."""
        with Connection(self.plan.broker_url) as connection, connection.Producer() as producer:  # type: ignore[no-untyped-call]
            for number in range(count):
                app.send_task(TASK, (f"{prefix}-{number:06}",), producer=producer)

    def running(self, *, prefix: str = "web") -> int:
        """Return how many instances are recorded as running."""
        which = Instance.label.startswith(f"{prefix}-") & (Instance.status == "running")
        with self.database.connect() as connection:
            return int(connection.execute(select(func.count()).where(which)).scalar_one())

    def last_running_at(self, *, prefix: str = "web") -> float:
        """Return when the last one was recorded as running, in epoch seconds."""
        which = Instance.label.startswith(f"{prefix}-")
        with self.database.connect() as connection:
            return float(
                connection.execute(select(func.max(Instance.running_at)).where(which)).scalar() or 0.0
            )

    def await_running(self, count: int, *, within: float, prefix: str = "web") -> int:
        """Wait until so many run, or the time is over; return how many do."""
        deadline = time.monotonic() + within
        while (found := self.running(prefix=prefix)) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@contextmanager
def running_naive(plan: NaivePlan, folder: Path) -> Iterator[NaiveService]:
    """Make the table, start the workers, and stop them at the end."""
    database = create_engine(plan.database_url)
    Base.metadata.create_all(database)
    with Supervisor() as supervisor:
        for number in range(1, plan.processes + 1):
            log = folder / f"naive-{number}.log"
            supervisor.start(Part(f"naive-{number}", _command(plan, number), plan.environment, log))
        _await_ready([folder / f"naive-{number}.log" for number in range(1, plan.processes + 1)])
        yield NaiveService(plan, database)
    database.dispose()


def _command(plan: NaivePlan, number: int) -> tuple[str, ...]:
    tether = (sys.executable, "-P", "-m", "nodewright.tether", str(os.getpid()))
    celery = (sys.executable, "-m", "celery", "-A", "benchmarks.peers.naive.app", "worker")
    options = ("--pool", "threads", "--concurrency", str(plan.threads), "--hostname", f"naive-{number}@%h")
    return (*tether, *celery, *options, "--without-gossip", "--without-mingle", "--loglevel", "INFO")


def _await_ready(logs: list[Path]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not all(log.exists() and " ready." in log.read_text(errors="replace") for log in logs):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the naive service does not start:\n{logs[0].read_text(errors='replace')}")
        time.sleep(0.1)


def figures(service: NaiveService, count: int, *, within: float) -> dict[str, Any]:
    """Submit ``count``, wait, and return figures."""
    began = time.time()
    service.submit(count)
    running = service.await_running(count, within=within)
    ended = service.last_running_at()
    return {"running": running, "failed": count - running, "seconds": ended - began}

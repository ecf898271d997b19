"""How fast we are where the API is not the limit, beside a service that protects nothing: PostgreSQL, no rate limit.

Both do the same job: a create, a row, the look that sees it running, the row again. The simulator answers at once, and
its instances run at once; what is measured is what we cost.

python -m benchmarks.throughput [--quick]
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import SystemRandom
from typing import Any

from sqlalchemy import create_engine, text

from benchmarks.databases import DURABLE
from benchmarks.lab import SPEC, TOKEN, Api, Ours, Simulated, environment, scratch, simulated, stack
from benchmarks.peers.naive.service import NaivePlan, running_naive
from benchmarks.report import Bound, Row, main, medians
from jobs.database import Database, normalise_url
from jobs.schema import upgrade
from jobs.vault import new_key
from nodewright.client import Client
from nodewright.embedded import EmbeddedValkey
from nodewright.processes import Supervisor
from tests.support.postgres import PostgresServer

API = Api(create="none", latency=0.0, boot=0.0, free_reads=True)
LARGEST_FLEET = 10_000
WORKERS = 1
WITHIN = 600.0
BESIDE = 2_000
FEW, MANY = 1_000, 20_000
RUNS = 5


@dataclass(frozen=True)
class Bench:
    """What both services share: a simulator, a PostgreSQL, a folder."""

    simulator: Simulated
    server: PostgresServer
    folder: Path


@contextmanager
def bench() -> Iterator[Bench]:
    """Run a simulator without a limit, and a PostgreSQL that is as durable as in production."""
    with scratch() as folder, simulated(API, folder) as simulator:
        server = PostgresServer(DURABLE)
        try:
            yield Bench(simulator, server, folder)
        finally:
            server.remove()


@contextmanager
def our_stack(at: Bench, number: int) -> Iterator[tuple[Client, str]]:
    """Run Nodewright on a fresh database; yield a client, and the database's URL."""
    url = at.server.url(at.server.create())
    database = Database(url)
    upgrade(database, dice=SystemRandom())
    database.close()
    settings = {"NODEWRIGHT_DATABASE_URL": url, "NODEWRIGHT_ENCRYPTION_KEYS": new_key()}
    folder = at.folder / f"ours-{number}"
    folder.mkdir()
    with stack(at.simulator, Ours(WORKERS, "0", settings), folder) as client:
        yield client, url


def our_run(client: Client, url: str, count: int, name: str) -> float:
    """Submit ``count`` jobs; return the seconds until the last one was recorded as running."""
    began = time.time()
    for start in range(0, count, LARGEST_FLEET):
        client.submit({"name": f"{name}-{start}", "count": min(LARGEST_FLEET, count - start), **SPEC})
    return _last_running(url, name, count) - began


def _last_running(url: str, name: str, count: int) -> float:
    # Asked rarely and of the index: a wait that counts rows would be part of what is measured.
    words = text(
        "SELECT count(*), max(running_at) FROM jobs WHERE state = 'running' AND fleet_id IN "
        "(SELECT id FROM fleets WHERE name LIKE :name)"
    )
    engine = create_engine(normalise_url(url))
    deadline = time.monotonic() + WITHIN
    try:
        while time.monotonic() < deadline:
            with engine.connect() as connection:
                found, moment = connection.execute(words, {"name": f"{name}-%"}).one()
            if found == count:
                return float(moment.timestamp() if isinstance(moment, datetime) else moment)
            time.sleep(0.5)
    finally:
        engine.dispose()
    raise RuntimeError(f"{found} of {count} running after {WITHIN:.0f} s")


def naive_run(at: Bench, count: int, number: int) -> float:
    """Have the naive service do ``count`` jobs on a fresh database; return the same seconds."""
    folder = at.folder / f"naive-{number}"
    folder.mkdir()
    valkey = EmbeddedValkey.planned(folder / "valkey")
    with Supervisor() as supervisor:
        valkey.start(supervisor, environment())
        url = normalise_url(at.server.url(at.server.create())).render_as_string(hide_password=False)
        plan = NaivePlan(url, valkey.url, at.simulator.url, TOKEN, WORKERS)
        with running_naive(plan, folder) as service:
            # The simulated account keeps the instances of former runs, and with them their labels.
            prefix, began = f"naive{number}", time.time()
            service.submit(count, prefix=prefix)
            if service.await_running(count, within=WITHIN, prefix=prefix) != count:
                raise RuntimeError("the naive service did not finish")
            return service.last_running_at(prefix=prefix) - began


def beside(at: Bench, *, runs: int, count: int, least: float) -> list[Row]:
    """Both, one after the other, again and again: what else the machine does hits both alike."""
    ours, theirs = [], []
    for number in range(runs):
        with our_stack(at, number) as (client, url):
            ours.append(_figures(count, our_run(client, url, count, f"run{number}")))
        theirs.append(_figures(count, naive_run(at, count, number)))
    ratio = medians(ours)["jobs/s"] / medians(theirs)["jobs/s"]
    table = f"{count:,} jobs, no limit, PostgreSQL, {WORKERS} workers each: from submit to the last `running`"
    figures = {**medians(ours), "ratio": ratio}
    return [
        Row(table, "Nodewright", figures, {"ratio": Bound(least=least)}, runs=ours),
        Row(table, "naive Celery service", {**medians(theirs), "ratio": 1.0}, runs=theirs),
    ]


def growth(at: Bench, *, runs: int, few: int, many: int) -> list[Row]:
    """Does a job cost more where there are more? A few and many, in turn, each on a fresh stack."""
    found: dict[int, list[dict[str, Any]]] = {few: [], many: []}
    for number in range(runs):
        for count in (few, many):
            # The simulated account keeps the instances of former runs, and with them their labels.
            run = 100 + 2 * number + (count == many)
            with our_stack(at, run) as (client, url):
                our_run(client, url, 200, f"warm{run}")
                found[count].append(_figures(count, our_run(client, url, count, f"run{run}")))
    small, large = medians(found[few]), medians(found[many])
    ratio = large["ms per job"] / small["ms per job"]
    table = f"What a job costs as jobs grow ({WORKERS} workers, PostgreSQL, no limit)"
    return [
        Row(table, f"{few:,} jobs", {**small, "of the few": 1.0}, runs=found[few]),
        Row(
            table,
            f"{many:,} jobs",
            {**large, "of the few": ratio},
            {"of the few": Bound(most=1.15)},
            runs=found[many],
        ),
    ]


def _figures(count: int, seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "jobs/s": count / seconds, "ms per job": 1000 * seconds / count}


def measure(*, quick: bool) -> list[Row]:
    """Return the rows of both tables; a quick run has the first one only, with a wide bound."""
    with bench() as at:
        if quick:
            # So few are over before either service is warm.
            return beside(at, runs=1, count=500, least=0.75)
        return [*beside(at, runs=RUNS, count=BESIDE, least=1.5), *growth(at, runs=RUNS, few=FEW, many=MANY)]


if __name__ == "__main__":
    sys.exit(main("throughput", measure))

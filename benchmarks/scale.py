"""What a million waiting jobs cost whoever admits, submits, cancels or looks, and the worker and broker beside them.

PostgreSQL, as durable as in production. Admission grants 20 jobs at a time without a limit; between two grants the
granted ones go on, as they would, so that dead rows pile up at the head of the queue. With an old snapshot held open
by another connection none of those can be cleared away.

python -m benchmarks.scale [--quick]
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import text

from benchmarks.bulk import serving
from benchmarks.databases import ACCOUNT, TOKEN, database
from benchmarks.lab import SPEC, Api, Ours, environment, scratch, simulated, stack
from benchmarks.report import Bound, Row, main, medians
from benchmarks.rows import Crowd, fill
from jobs import admission
from jobs.database import Database
from jobs.vault import new_key
from nodewright.embedded import EmbeddedValkey
from nodewright.processes import Supervisor

AT_ONCE = 20
ADMISSIONS = 500
RUNS = 3
CALLS = 200
MIB = 2**20
WORK_SECONDS = 40.0


def crowds(rows: int) -> dict[str, list[Crowd]]:
    """Return the two kinds of crowd: many fleets of several tenants beside as much history, and one huge fleet."""
    fleet = rows // 100
    many = [
        Crowd("waiting", "queued", 100, fleet, tenants=5),
        Crowd("ran", "running", 50, fleet, tenants=5, born=0x18000000000),
        Crowd("ended", "cancelled", 50, fleet, tenants=5, born=0x18800000000),
    ]
    return {
        f"{rows:,} queued in 100 fleets of 5 tenants, beside {rows:,} that ran": many,
        f"{rows:,} queued in one fleet of one tenant": [Crowd("waiting", "queued", 1, rows)],
    }


def measure(*, quick: bool) -> list[Row]:
    found = []
    for name, made in crowds(50_000 if quick else 1_000_000).items():
        with scratch() as folder, database("postgresql", folder) as opened:
            fill(opened, made)
            found += _people(name, opened, folder, quick=quick)
            found += _admissions(name, opened, quick=quick)
            if len(made) == 1:
                found += _beside(name, opened, folder, quick=quick)
    return found


# Admission -----------------------------------------------------------------------------------------------------------


def _admissions(name: str, opened: Database, *, quick: bool) -> list[Row]:
    table, bound = f"Admission of {AT_ONCE}, {name}", 50.0 if quick else 5.0
    count = 50 if quick else ADMISSIONS
    _admit(opened)
    free, held = [], []
    for _ in range(1 if quick else RUNS):
        free.append(_figures_of_both([_admit(opened) for _ in range(count)]))
        with _old_snapshot(opened):
            held.append(_figures_of_both([_admit(opened) for _ in range(count)]))
    bounds = {"p99 ms": Bound(most=bound)}
    return [
        Row(table, "as it is", medians(free), bounds, runs=free),
        Row(table, "an old snapshot is held", medians(held), bounds, runs=held),
    ]


def _admit(opened: Database) -> tuple[float, float]:
    """Look for jobs and grant them, as a worker does; return the seconds of the look and of the grant.

    What was granted goes on, outside of the clock.
    """
    began = time.perf_counter()
    with opened.read() as tx:
        waiting = admission.next_jobs(tx, ACCOUNT, AT_ONCE)
    looked = time.perf_counter()
    with opened.write() as tx:
        done = admission.admit(
            tx, waiting, account_id=ACCOUNT, token_id=TOKEN, actor="benchmark", most=AT_ONCE
        )
    admitted = time.perf_counter()
    _go_on(opened, done.granted)
    return looked - began, admitted - looked


def _figures_of_both(seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    looks, grants = (sorted(column) for column in zip(*seconds, strict=True))
    figures = _figures(grants)
    return {**figures, "p99 ms of the look before it": _figures(looks)["p99 ms"]}


def _go_on(opened: Database, granted: Sequence[str]) -> None:
    if len(granted) != AT_ONCE:
        raise RuntimeError(f"{len(granted)} granted")
    values = {"ids": list(granted)}
    for change in (
        "state = 'creating', lease_until = now() + interval '1 minute'",
        "state = 'running', lease_until = NULL, linode_id = (random() * 1e15)::bigint",
    ):
        with opened.write() as tx:
            words = f"UPDATE jobs SET version = version + 1, {change} WHERE id = ANY(CAST(:ids AS uuid[]))"
            tx.execute(text(words), values)


@contextmanager
def _old_snapshot(opened: Database) -> Iterator[None]:
    with opened.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.exec_driver_sql("SELECT 1 FROM jobs LIMIT 1")
        yield


# People --------------------------------------------------------------------------------------------------------------


def _people(name: str, opened: Database, folder: Path, *, quick: bool) -> list[Row]:
    count, bound = (30, 500.0) if quick else (CALLS, 50.0)
    with serving(opened, folder) as client:
        fleet = client.get("/v1/fleets/waiting0").json()["fleet"]["id"]
        acts: dict[str, Callable[[int], httpx.Response]] = {
            "submit a fleet of 20": lambda n: _post(client, {"name": f"new{n}", "count": 20, **SPEC}),
            "submit a fleet of one": lambda n: _post(client, {"name": f"single{n}", **SPEC}),
            "cancel a fleet of one": lambda n: client.post(f"/v1/fleets/single{n}/cancel"),
            f"status of a fleet of {made_of(opened, fleet):,}": lambda _: client.get(f"/v1/fleets/{fleet}"),
            "first page of results": lambda _: client.get("/v1/jobs"),
            "first page of a fleet's results": lambda _: client.get("/v1/jobs", params={"fleet": fleet}),
            "status of the service": lambda _: client.get("/v1/status"),
        }
        rows = []
        for case, act in acts.items():
            numbers = iter(range(count))
            seconds = _timed(lambda act=act, numbers=numbers: _call(act, next(numbers)), count)
            rows.append(_row(f"Calls over HTTP, {name}", case, seconds, bound))
        return rows


def made_of(opened: Database, fleet: str) -> int:
    """Return how many jobs a fleet has."""
    with opened.read() as tx:
        found: int = tx.execute(
            text("SELECT count FROM fleets WHERE id = CAST(:id AS uuid)"), {"id": fleet}
        ).scalar()
        return found


def _post(client: httpx.Client, document: dict[str, Any]) -> httpx.Response:
    return client.post("/v1/fleets", json=document)


def _call(act: Callable[[int], httpx.Response], number: int) -> float:
    began = time.perf_counter()
    answer = act(number)
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    return seconds


# Worker and broker ---------------------------------------------------------------------------------------------------


def _beside(name: str, opened: Database, folder: Path, *, quick: bool) -> list[Row]:
    """Run one worker on an empty database and one on the crowd; both buy at 20 per 15 s or have just done so."""
    seconds = WORK_SECONDS / 4 if quick else WORK_SECONDS
    (folder / "idle").mkdir()
    with database("postgresql", folder) as empty:
        idle = _memory(empty, folder / "idle", seconds)
    (folder / "busy").mkdir()
    busy = _memory(opened, folder / "busy", seconds)
    table = f"Memory in MiB, {name}"
    ratio = busy["worker"] / idle["worker"]
    bounds = {"Valkey": Bound(most=5.0), "worker, times idle": Bound(most=1.1)}
    return [
        Row(table, "an idle worker", idle),
        Row(table, "a worker at work", {**busy, "worker, times idle": ratio}, bounds),
    ]


def _memory(opened: Database, folder: Path, seconds: float) -> dict[str, Any]:
    """Return the worker's memory at the end, and the broker's most, in MiB."""
    with scratch() as home, simulated(Api(), home) as simulator, Supervisor() as supervisor:
        valkey = EmbeddedValkey.planned(home / "valkey")
        valkey.start(supervisor, environment())
        settings = {
            "NODEWRIGHT_DATABASE_URL": opened.url.render_as_string(hide_password=False),
            "NODEWRIGHT_ENCRYPTION_KEYS": new_key(),
            "NODEWRIGHT_REDIS_URL": valkey.url,
        }
        with (
            stack(simulator, Ours(settings=settings), folder) as client,
            redis.Redis.from_url(valkey.url) as broker,
        ):
            client.submit({"name": "own", "count": AT_ONCE, **SPEC})
            most, until = 0.0, time.monotonic() + seconds
            while time.monotonic() < until:
                most = max(most, broker.info("memory")["used_memory"] / MIB)
                time.sleep(0.25)
            return {"worker": _resident(_worker()), "Valkey": most}


def _worker() -> int:
    """Return the process of the worker that this process started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_worker(entry):
            return int(entry.name)
    raise RuntimeError("no worker")


def _is_worker(entry: Path) -> bool:
    try:
        parent = entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        return int(parent) == os.getpid() and b"\0worker-1\0" in entry.joinpath("cmdline").read_bytes()
    except OSError:
        return False


def _resident(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


# Times ---------------------------------------------------------------------------------------------------------------


def _timed(act: Callable[[], float], count: int) -> list[float]:
    return sorted(act() for _ in range(count))


def _row(table: str, case: str, seconds: Sequence[float], most: float) -> Row:
    """Return the milliseconds of sorted ``seconds``, with a bound on the 99th percentile."""
    return Row(table, case, _figures(seconds), {"p99 ms": Bound(most=most)})


def _figures(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "p50 ms": seconds[len(seconds) // 2] * 1000,
        "p99 ms": seconds[len(seconds) * 99 // 100] * 1000,
        "calls": len(seconds),
    }


if __name__ == "__main__":
    sys.exit(main("scale", measure))

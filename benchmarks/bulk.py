"""10,000 jobs in one request to the real service process, beside a bare bulk insert of the very same rows.

The insert is Core's ``executemany`` of the job and event rows in one transaction: what any way in has to pay. The
rows are made before its clock starts; the request's clock covers JSON, validation, labels, ids, rows, commit, answer.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
from sqlalchemy import insert, select, text

from benchmarks.databases import database
from benchmarks.lab import SPEC, environment, scratch
from benchmarks.report import Bound, Row, main, medians
from jobs.database import Database
from jobs.identity import new_ids
from jobs.records import fleets, job_events, jobs
from jobs.vault import new_key
from nodewright.embedded import free_port
from nodewright.processes import Part, Supervisor

COUNT = 10_000
ROUNDS = 5
KEY = "a-benchmark-key-of-some-length"
START_SECONDS = 30.0
ENGINES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
TABLE = "{count:,} jobs submitted over HTTP, beside a bare executemany of the same rows ({engine})"
BARE = "Core executemany, jobs and events"


def measure(*, quick: bool) -> list[Row]:
    rounds = 3 if quick else ROUNDS
    return [row for engine in ENGINES for row in _compare(engine, rounds, quick=quick)]


def _compare(engine: str, rounds: int, *, quick: bool) -> list[Row]:
    with scratch() as folder, database(engine, folder) as opened, serving(opened, folder) as client:
        _submit(client, {"name": "warm", "count": 100, **SPEC})
        found = [_round(opened, client, number) for number in range(rounds)]
    table = TABLE.format(count=COUNT, engine=ENGINES[engine])
    bare = medians([one[0] for one in found])
    rows = [Row(table, BARE, bare, runs=[one[0] for one in found])]
    for case, at in (("one group", 1), ("100 groups", 2)):
        runs = [one[at] for one in found]
        own = medians(runs)
        own["times bare"] = own["seconds"] / bare["seconds"]
        bounds = {
            "seconds": Bound(most=6.0 if quick else 1.5),
            "times bare": Bound(most=6.0 if quick else 3.0),
        }
        rows.append(Row(table, f"POST /v1/fleets, {case}", own, bounds, runs=runs))
    return rows


def _round(opened: Database, client: httpx.Client, number: int) -> tuple[dict[str, Any], ...]:
    groups = [{**SPEC, "name": f"g{group:03d}", "count": COUNT // 100} for group in range(100)]
    pattern = {"label_pattern": "{name}-{group}-{index:04d}"}
    one = _submit(client, {"name": f"one{number}", "count": COUNT, **SPEC})
    many = _submit(client, {"name": f"many{number}", "groups": [group | pattern for group in groups]})
    return {"seconds": _insert(opened, f"one{number}", number)}, {"seconds": one}, {"seconds": many}


def _submit(client: httpx.Client, document: dict[str, Any]) -> float:
    began = time.perf_counter()
    answer = client.post("/v1/fleets", json=document)
    seconds = time.perf_counter() - began
    if answer.status_code != httpx.codes.ACCEPTED:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
    return seconds


def _insert(opened: Database, name: str, number: int) -> float:
    """Insert the rows of the fleet ``name`` once more, under other ids and labels; return the seconds it took."""
    made, lines = _copies(opened, name, number)
    began = time.perf_counter()
    with opened.write() as tx:
        if not tx.on_sqlite:  # as ours does: else each row is planned anew, and the bare insert looks slow
            tx.execute(text("SET LOCAL plan_cache_mode = auto"))
        tx.execute(insert(jobs), made)
        tx.execute(insert(job_events), lines)
    return time.perf_counter() - began


def _copies(opened: Database, name: str, number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with opened.read() as tx:
        fleet = tx.execute(select(fleets.c.id).where(fleets.c.name == name)).scalar_one()
        made = (
            tx.execute(select(jobs).where(jobs.c.fleet_id == fleet).order_by(jobs.c.position))
            .mappings()
            .all()
        )
        ids = new_ids(len(made), tx.now, Random(number))
        line = tx.execute(select(job_events).where(job_events.c.job_id == made[0]["id"])).mappings().one()
    # Only what a new job has: the columns that are empty are left to their defaults, as a submit leaves them.
    filled = [column for column, value in made[0].items() if value is not None]
    copies = [
        {column: row[column] for column in filled}
        | {"id": job_id, "label": f"bare{number}-{row['position']:05d}"}
        for row, job_id in zip(made, ids, strict=True)
    ]
    kept = {column: value for column, value in line.items() if column != "id"}
    return copies, [kept | {"job_id": job_id} for job_id in ids]


@contextmanager
def serving(opened: Database, folder: Path) -> Iterator[httpx.Client]:
    """Run ``nodewright serve`` on the database, and yield a client of it."""
    port = free_port()
    settings = {
        "NODEWRIGHT_HOME": str(folder / "home"),
        "NODEWRIGHT_DATABASE_URL": opened.url.render_as_string(hide_password=False),
        "NODEWRIGHT_ENCRYPTION_KEYS": new_key(),
        "NODEWRIGHT_API_KEY": KEY,
        "NODEWRIGHT_MAX_INSTANCES": "1000000",
        "NODEWRIGHT_MAX_HOURLY_USD": "1000000",
        "NODEWRIGHT_MAX_COUNT": str(COUNT),
        # Calls one after the other come more often than one key may ask; what each costs is what is measured.
        "NODEWRIGHT_REQUESTS_PER_SECOND": "1000000",
    }
    argv = (sys.executable, "-m", "nodewright", "serve", "--port", str(port), "--with-parent")
    headers = {"Authorization": f"Bearer {KEY}"}
    with Supervisor() as supervisor:
        supervisor.start(Part("service", argv, environment(**settings), folder / "service.log"))
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            _await(client)
            yield client


def _await(client: httpx.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the service does not answer")


if __name__ == "__main__":
    sys.exit(main("bulk", measure))

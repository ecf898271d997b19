"""What people wait for among a million jobs: each list of jobs and fleets over HTTP, and the reads beneath the page.

PostgreSQL, as durable as in production, behind the real service process. Two crowds: a million jobs in 10,000 fleets,
in every state that people see, of which the oldest ones alone have what the sparse questions ask for; and one fleet of
a million. A question that looks through many rows is followed from page to page to its end, and each page is a call.

python -m benchmarks.pages [--quick]
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from benchmarks.bulk import KEY, serving
from benchmarks.databases import ACCOUNT, TENANT, database
from benchmarks.lab import scratch
from benchmarks.report import Bound, Row, main
from benchmarks.rows import Crowd, fill
from jobs import overview
from jobs.database import Database
from nodewright.service.paging import seal

ROWS = 1_000_000
CALLS = 100
MOST_MS = 100.0
EACH = 100
FAR = {"region": "far-away", "type": "g6-rare-1"}


@dataclass(frozen=True)
class Served:
    """A service over many rows. ``url`` and ``key`` are what a browser needs; ``client`` has them already."""

    url: str
    key: str
    client: httpx.Client
    database: Database


@contextmanager
def crowded(folder: Path, rows: int = ROWS, *, huge: bool = False) -> Iterator[Served]:
    """Run a service over so many jobs: in fleets of a hundred, or (``huge``) in one fleet, named ``waiting0``."""
    with database("postgresql", folder) as opened:
        fill(opened, _crowds(rows, huge=huge))
        vary(opened, huge=huge)
        with serving(opened, folder) as client:
            yield Served(str(client.base_url), KEY, client, opened)


def _crowds(rows: int, *, huge: bool) -> list[Crowd]:
    if huge:
        return [Crowd("waiting", "queued", 1, rows)]
    fleets = rows // EACH
    return [
        Crowd("ended", "cancelled", fleets * 3 // 10, EACH, born=0x18000000000),
        Crowd("ran", "running", fleets * 5 // 10, EACH, born=0x18800000000),
        Crowd("waiting", "queued", fleets * 2 // 10, EACH),
    ]


_SENT = "submitted_at + interval '1 second' * (position % 900)"
_VARIED = (
    # What instances have.
    f"""UPDATE jobs SET sent_at = {_SENT}, created_at = {_SENT} + interval '2 seconds',
        running_at = {_SENT} + interval '40 seconds', got_type = type, got_region = region,
        ipv4 = '10.' || linode_id / 65536 % 256 || '.' || linode_id / 256 % 256 || '.' || linode_id % 256
        WHERE state = 'running'""",
    "UPDATE jobs SET region = 'eu-west', got_region = NULL WHERE position % 10 = 3",
    # Every twentieth of those that ended has failed, for one of three reasons.
    """UPDATE jobs SET state = 'failed',
        error_code = (ARRAY['no_capacity', 'rejected_by_api', 'boot_timeout'])[1 + position % 3],
        error_reason = label || ' was refused for reason ' || position % 3
        WHERE state = 'cancelled' AND position % 20 = 7""",
    # The very oldest has what nobody else has.
    f"""UPDATE jobs SET region = '{FAR["region"]}', type = '{FAR["type"]}', state = 'failed', error_code = 'vanished',
        error_reason = 'gone' WHERE id = (SELECT id FROM jobs ORDER BY id LIMIT 1)""",
    """UPDATE fleets SET groups = jsonb_set(groups, '{0,tags}', '["everybody"]')""",
    """UPDATE fleets SET groups = jsonb_set(groups, '{0,tags}', '["everybody", "oldest"]')
        WHERE id = (SELECT id FROM fleets ORDER BY id LIMIT 1)""",
)
_HUGE = (
    # The fleet is under way: what came first runs, some have failed.
    f"""UPDATE jobs SET state = 'running', linode_id = position, sent_at = {_SENT},
        created_at = {_SENT} + interval '2 seconds', running_at = {_SENT} + interval '40 seconds'
        WHERE position < (SELECT count(*) FROM jobs) / 10""",
    """UPDATE jobs SET state = 'failed', error_code = 'no_capacity', linode_id = NULL,
        error_reason = label || ': no room'
        WHERE position % 100 = 5 AND state = 'running'""",
)


def vary(opened: Database, *, huge: bool) -> None:
    """Make the rows as different as real ones, and leave the tables as autovacuum would."""
    for statement in _HUGE if huge else _VARIED:
        with opened.write() as tx:
            tx.execute(text(statement))
    with opened.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


# Questions -----------------------------------------------------------------------------------------------------------


def measure(*, quick: bool) -> list[Row]:
    rows, calls, most = (20_000, 10, 500.0) if quick else (ROWS, CALLS, MOST_MS)
    found = []
    for huge in (False, True):
        with scratch() as folder, crowded(folder, rows, huge=huge) as served:
            name = f"{rows:,} jobs in {'one fleet' if huge else f'{rows // EACH:,} fleets'}"
            for case, act in {**_lists(served, huge=huge), **_reads(served, huge=huge)}.items():
                found.append(_row(f"Reads of {name}", case, _timed(act, calls), most))
    return found


Act = Callable[[], Sequence[float]]


def _lists(served: Served, *, huge: bool) -> dict[str, Act]:
    client, sample = served.client, _sample(served.database)
    ask = partial(_ask, client)
    follow = partial(_follow, client)
    fleet = {"fleet": sample["fleet"]}
    middle = sample["middle"]
    acts: dict[str, Act] = {
        "the newest": ask(),
        "1,000 of the newest": ask(limit="1000"),
        "sort=oldest": ask(sort="oldest"),
        "sort=label": ask(sort="label"),
        "from the middle on": ask(after=seal(middle, {})),
        "sort=label, from the middle on": ask(
            sort="label", after=seal(f"{sample['label']} {middle}", {"sort": "label"})
        ),
        **{f"state={state}": ask(state=state) for state in ("queued", "running", "failed", "booting")},
        "state=failed sort=label": follow(state="failed", sort="label"),
        "label": ask(label=sample["label"]),
        "type, of all": ask(type="g6-nanode-1"),
        "region, of a tenth": ask(region="eu-west"),
        "region, of none": follow(region="nowhere"),
        "error_code": ask(error_code="no_capacity"),
        "error_code, sort=oldest": ask(error_code="no_capacity", sort="oldest"),
        "error_code, of none": ask(error_code="weak_password"),
        "since": ask(since="2026-01-01"),
        "tag, of none": follow(tag="nobody"),
        "q: a job's id": ask(q=middle),
        "q: a whole label": ask(q=sample["label"]),
        "q: what all labels begin with": ask(q="waiting"),
        "q: what all labels begin with, sort=label": ask(q="waiting", sort="label"),
        "q: nothing": ask(q="nobody-has-this"),
        "q: an instance's id": ask(q=str(sample["linode_id"])),
        "a fleet": ask(**fleet),
        "a fleet, state=failed": ask(**fleet, state="failed"),
        "a fleet, sort=newest": ask(**fleet, sort="newest"),
        "a fleet, sort=label": follow(**fleet, sort="label"),
        "a fleet, region of none": follow(**fleet, region="nowhere"),
        "a fleet, q": ask(**fleet, q=sample["label"][:-2]),
        "GET /v1/fleets": _get(client, "/v1/fleets"),
        "GET /v1/fleets/{ref}": _get(client, f"/v1/fleets/{sample['fleet']}"),
        "GET /v1/fleets/{name}": _get(client, "/v1/fleets/waiting0"),
    }
    return acts if huge else acts | _sparse(ask, follow)


def _sparse(ask: Callable[..., Act], follow: Callable[..., Act]) -> dict[str, Act]:
    """Return the questions that one job alone answers, at the far end."""
    return {
        "q: an address": ask(q="10.0.1.7"),
        "the oldest alone: region": follow(region=FAR["region"]),
        "the oldest alone: type": follow(type=FAR["type"]),
        "the oldest alone: error_code": ask(error_code="vanished"),
        "the oldest alone: tag": follow(tag="oldest", state="failed"),
        "the oldest alone: type and state": follow(type=FAR["type"], state="failed"),
        "the oldest alone: all at once": follow(
            **FAR, state="failed", error_code="vanished", tag="oldest", q="ended"
        ),
        "tag, of all, and region, of one": follow(tag="everybody", region=FAR["region"]),
        "q, of half, and region, of one": follow(q="ended", region=FAR["region"], sort="oldest"),
        "state, of half, and region, of one": follow(state="cancelled", region=FAR["region"]),
    }


def _reads(served: Served, *, huge: bool) -> dict[str, Act]:
    """Return what the page reads beside the lists."""
    fleet = _sample(served.database)["fleet"]
    reads: dict[str, Callable[..., object]] = {
        "page: failures": partial(overview.failures, fleet_id=fleet),
        "page: history": partial(overview.history, fleet_id=fleet),
        "page: 500 spans": partial(overview.spans, fleet_id=fleet),
        "page: pace": partial(overview.pace, account_ids=[ACCOUNT]),
        "page: system": overview.system,
    }
    if not huge:
        del reads["page: failures"]  # a hundred rows
    return {case: _read(served.database, read) for case, read in reads.items()}


def _sample(opened: Database) -> Mapping[str, Any]:
    """Return a fleet, and a job in its middle."""
    words = """
        SELECT jobs.id::text AS middle, jobs.label, jobs.fleet_id::text AS fleet,
            (SELECT max(linode_id) FROM jobs WHERE account_id = :account) AS linode_id
        FROM jobs WHERE tenant_id = :tenant
        ORDER BY jobs.id OFFSET (SELECT count(*) / 2 FROM jobs WHERE tenant_id = :tenant) LIMIT 1
    """
    with opened.read() as tx:
        found: Mapping[str, Any] = (
            tx.execute(text(words), {"tenant": TENANT, "account": ACCOUNT}).mappings().one()
        )
        return found


# Calls ---------------------------------------------------------------------------------------------------------------


def _get(client: httpx.Client, path: str, **params: str) -> Act:
    def act() -> Sequence[float]:
        began = time.perf_counter()
        answer = client.get(path, params=params)
        seconds = time.perf_counter() - began
        answer.raise_for_status()
        return [seconds]

    return act


def _ask(client: httpx.Client, **params: str) -> Act:
    return _get(client, "/v1/jobs", **params)


def _follow(client: httpx.Client, **params: str) -> Act:
    """Ask from page to page, as far as the first job that is found, or to the end."""

    def act() -> Sequence[float]:
        took, after = [], None
        while True:
            began = time.perf_counter()
            answer = client.get("/v1/jobs", params=params if after is None else {**params, "after": after})
            took.append(time.perf_counter() - began)
            page = answer.raise_for_status().json()
            after = page["next"]
            if page["jobs"] or after is None:
                return took

    return act


def _read(opened: Database, read: Callable[..., object]) -> Act:
    def act() -> Sequence[float]:
        began = time.perf_counter()
        with opened.read() as tx:
            read(tx)
        return [time.perf_counter() - began]

    return act


def _timed(act: Act, calls: int) -> list[float]:
    """Return the seconds of so many calls, after one that warms up: sorted."""
    act()
    took: list[float] = []
    while len(took) < calls:
        took += act()
    return sorted(took)


def _row(table: str, case: str, seconds: Sequence[float], most: float) -> Row:
    figures = {
        "p50 ms": seconds[len(seconds) // 2] * 1000,
        "p99 ms": seconds[len(seconds) * 99 // 100] * 1000,
        "calls": len(seconds),
    }
    return Row(table, case, figures, {"p99 ms": Bound(most=most)})


if __name__ == "__main__":
    sys.exit(main("pages", measure))

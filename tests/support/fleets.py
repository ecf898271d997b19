"""What tests of the jobs room and of its users need: a small catalog, a service, fleets and jobs in any state."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any, Final

from sqlalchemy import insert, select, update

from jobs import admission, transitions
from jobs.admission import CREATE, Admission, Limit
from jobs.catalog import Catalog
from jobs.database import Database, Transaction
from jobs.fleets import Guards
from jobs.identity import new_id
from jobs.records import JobRecord, accounts, fleets, installation, job_events, jobs, tenants
from jobs.requests import FleetRequest, parse_request
from jobs.service import Service, Submission
from jobs.states import State
from jobs.vault import Vault
from tests.support.clock import START

ACCOUNT: Final = "default"
TENANT: Final = "default"
TOKEN: Final = "t0ken"
ACTOR: Final = "test"
PARTS: Final[dict[str, list[dict[str, Any]]]] = {
    "types": [
        {"id": "g6-nanode-1", "class": "nanode", "disk": 25600, "price": {"hourly": 0.0075, "monthly": 5.0}},
        {
            "id": "g6-standard-2",
            "class": "standard",
            "disk": 81920,
            "price": {"hourly": 0.036, "monthly": 24.0},
        },
    ],
    "regions": [
        {"id": "us-east", "capabilities": ["Linodes", "Metadata"], "status": "ok"},
        {"id": "eu-west", "capabilities": ["Linodes", "Metadata"], "status": "ok"},
    ],
    "images": [{"id": "linode/debian12", "size": 1500, "capabilities": ["cloud-init"]}],
    "availability": [{"region": "us-east", "plan": "g6-nanode-1", "available": True}],
}
GROUP: Final = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
ROOMY: Final = Guards(max_instances=100_000, max_hourly_microusd=10**12, max_count=100_000)
NANODE_MICROUSD: Final = 7_500


def catalog(version: str = "v1", fetched_at: datetime = START, **parts: list[dict[str, Any]]) -> Catalog:
    """Return the small catalog, with some of its parts replaced."""
    return Catalog.from_rows(**{**PARTS, **parts}, version=version, fetched_at=fetched_at)


def fleet_request(*groups: dict[str, Any], name: str = "web", **fleet: Any) -> FleetRequest:
    """Return a request for a fleet; each group is laid over a valid one, and a field that is None is left out."""
    laid = ({**GROUP, **group} for group in groups or ({},))
    kept = [{key: value for key, value in group.items() if value is not None} for group in laid]
    return parse_request({"name": name, **fleet, "groups": kept})


def make_service(database: Database, **parts: Any) -> Service:
    """Return a service over ``database`` with the small catalog, roomy guards and seeded dice."""
    found = catalog()
    usual: dict[str, Any] = {
        "vault": None,
        "guards": ROOMY,
        "catalogs": lambda _account: found,
        "notify": lambda: None,
        "dice": Random(7),
    }
    return Service(database, **{**usual, **parts})


def submit(
    database: Database, *groups: dict[str, Any], name: str = "web", tenant: str = TENANT, **fleet: Any
) -> Submission:
    """Submit a fleet and return what came of it."""
    vault = fleet.pop("vault", None)
    dice = Random(f"{tenant} {name}")
    service = make_service(database, vault=vault if isinstance(vault, Vault) else None, dice=dice)
    return service.submit(fleet_request(*groups, name=name, **fleet), tenant=tenant, actor=ACTOR)


def move_in(
    database: Database, *limits: Limit, route: str = CREATE, account: str = ACCOUNT, token: str = TOKEN
) -> None:
    """Register the account, its token and the limits of a route, and open admission (reconcile is through)."""
    with database.write() as tx:
        buckets = {route: limits or (Limit(20, 15.0),)}
        admission.register(tx, account_id=account, token_id=token, limits=buckets)
        epoch = tx.execute(select(installation.c.epoch)).scalar_one()
        tx.execute(update(accounts).where(accounts.c.id == account).values(epoch=epoch))


def records(tx: Transaction, ids: Sequence[str]) -> tuple[JobRecord, ...]:
    """Return jobs as they are, in this order."""
    found = (transitions.load(tx, job_id) for job_id in ids)
    return tuple(job for job in found if job is not None)


def admit(database: Database, *, most: int = 64, account: str = ACCOUNT, token: str = TOKEN) -> Admission:
    """Admit once, in a transaction of its own; what was granted comes as whole records."""
    with database.write() as tx:
        admission.wake(tx, account)
    with database.read() as tx:
        waiting = admission.next_jobs(tx, account, most)
    with database.write() as tx:
        done = admission.admit(tx, waiting, account_id=account, token_id=token, actor=ACTOR, most=most)
        return replace(done, granted=records(tx, done.granted))


def admit_in(
    tx: Transaction, *, most: int = 64, account: str = ACCOUNT, token: str = TOKEN, actor: str = ACTOR
) -> Admission:
    """Look and admit in a transaction of the caller's."""
    waiting = admission.next_jobs(tx, account, most)
    return admission.admit(tx, waiting, account_id=account, token_id=token, actor=actor, most=most)


def add_tenant(database: Database, tenant: str, **columns: Any) -> None:
    """Add a tenant."""
    usual = {"weight": 1, "alive": 0, "hourly_microusd": 0}
    with database.write() as tx:
        tx.execute(insert(tenants), {**usual, "id": tenant, "created_at": tx.now, **columns})


def add_fleet(database: Database, *, name: str = "made", **columns: Any) -> str:
    """Add a fleet without jobs; return its id."""
    with database.write() as tx:
        row = {
            "id": new_id(tx.now, Random(name)),
            "tenant_id": TENANT,
            "name": name,
            "count": 1,
            "priority": 0,
            "groups": [fleet_request().groups[0].public()],
            "secrets_erased": False,
            "created_at": tx.now,
        }
        row |= columns
        tx.execute(insert(fleets), row)
    return str(row["id"])


def _consistent(state: State, now: datetime) -> dict[str, Any]:
    # What the tables' CHECKs ask of a row in this state.
    if state in {State.BOOTING, State.RUNNING, State.DELETING}:
        return {"linode_id": 4711, "created_at": now}
    if state in {State.CREATING, State.DISPATCHED}:
        return {"lease_until": now, "token_id": TOKEN, "window_generation": 1}
    if state is State.FAILED:
        return {"error_code": "rejected_by_api", "error_reason": "no", "ended_at": now}
    return {}


def job_row(
    database: Database, fleet_id: str, state: State, *, position: int = 1, **columns: Any
) -> dict[str, Any]:
    """Return the row of a job in any state, as a store would have left it."""
    with database.read() as tx:
        now = tx.now
    return {
        "id": new_id(now, Random(f"{fleet_id}{position}")),
        "fleet_id": fleet_id,
        "tenant_id": TENANT,
        "account_id": ACCOUNT,
        "position": position,
        "group_index": 0,
        "label": f"made-{position:04d}",
        "type": GROUP["type"],
        "region": GROUP["region"],
        "image": GROUP["image"],
        "booted": True,
        "priority": 0,
        "pinned": False,
        "state": state.value,
        "version": 1,
        "attempt": 1,
        "sends": 0,
        "tries": 0,
        "looks": 0,
        "hourly_microusd": NANODE_MICROUSD,
        "counted": True,
        "submitted_at": now,
        "changed_at": now,
        **_consistent(state, now),
        **columns,
    }


def add_job(database: Database, state: State, *, fleet_id: str | None = None, **columns: Any) -> JobRecord:
    """Add one job in any state to a fleet (by default a new one); return its record."""
    fleet_id = fleet_id or add_fleet(database)
    row = job_row(database, fleet_id, state, **columns)
    with database.write() as tx:
        tx.execute(insert(jobs), row)
    return read_job(database, row["id"])


def read_job(database: Database, job_id: str) -> JobRecord:
    """Return a job's record as it stands."""
    with database.read() as tx:
        found = transitions.load(tx, job_id)
    assert found is not None, f"there is no job {job_id}"
    return found


def job_columns(database: Database, job_id: str) -> dict[str, Any]:
    """Return every column of a job as it stands."""
    with database.read() as tx:
        return dict(tx.execute(select(jobs).where(jobs.c.id == job_id)).one()._mapping)


def timeline(database: Database, job_id: str) -> list[dict[str, Any]]:
    """Return a job's events, oldest first, without their row numbers and job id."""
    with database.read() as tx:
        lines = tx.execute(select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.id))
        return [
            {key: value for key, value in line._mapping.items() if key not in {"id", "job_id"}}
            for line in lines
        ]


def set_job(database: Database, job_id: str, **columns: Any) -> JobRecord:
    """Overwrite columns of a job, as nothing but a test may; return its record."""
    with database.write() as tx:
        tx.execute(update(jobs).where(jobs.c.id == job_id).values(**columns))
    return read_job(database, job_id)


def stale(job: JobRecord) -> JobRecord:
    """Return the record as somebody holds it who read it before the last move."""
    return replace(job, version=job.version - 1)

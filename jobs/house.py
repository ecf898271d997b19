"""The installation itself: its identity, its epoch, its tenants and its catalogs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, insert, select, text, update

from jobs.catalog import Catalog
from jobs.database import Transaction
from jobs.estimate import USUAL_BOOT_SECONDS
from jobs.identity import new_installation_id
from jobs.queries import CATALOG_KINDS
from jobs.records import accounts, catalogs, chores, installation, jobs, rate_windows, tenants, workers
from jobs.states import State

BACKWARD: Final = timedelta(seconds=5)
"""A heartbeat this much in the future means that the clock was set back."""
LEASE_CEILING: Final = timedelta(minutes=5)
"""The longest lease and the longest wait for a window that anything asks for."""
_UNSETTLED: Final = (State.UNCERTAIN.value, State.BOOTING.value)
FORGOTTEN: Final = timedelta(days=1)
"""A worker that died is shown for so long."""
ASLEEP: Final = timedelta(seconds=60)
"""A database on which no worker's loop ran for so long may be a restored one: it begins a new epoch."""

# Asked in each turn of a worker's loop, so they are built once.
_BOOT_SECONDS: Final = select(accounts.c.boot_seconds).where(accounts.c.id == bindparam("account"))
_CATALOG_VERSION: Final = (
    select(catalogs.c.version).where(catalogs.c.account_id == bindparam("account")).limit(1)
)


def settle_in(tx: Transaction, *, dice: Random, tenant: str = "default") -> str:
    """Make sure that the installation and the first tenant have rows; return the installation's id."""
    found = tx.execute(select(installation.c.id)).scalar()
    if found is None:
        found = new_installation_id(dice)
        row = {"row": 1, "id": found, "epoch": 1, "alive_at": tx.now, "created_at": tx.now}
        tx.execute(insert(installation), row)
    if tx.execute(select(tenants.c.id).where(tenants.c.id == tenant)).first() is None:
        row = {"id": tenant, "weight": 1, "alive": 0, "hourly_microusd": 0, "created_at": tx.now}
        tx.execute(insert(tenants), row)
    return str(found)


def _timeline(tx: Transaction) -> str | None:
    if tx.on_sqlite:
        return None
    # The first eight digits of a WAL file's name are the timeline: a promoted standby begins another one.
    words = text(
        "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
    )
    found: str | None = tx.execute(words).scalar()
    return found


def heartbeat(tx: Transaction, worker: str | None = None) -> bool:
    """Note that a worker's loop runs; True: a new epoch begins, and admission waits for reconcile.

    A restored backup always has an old heartbeat; a promoted standby has another timeline. Either may have forgotten
    creates that were sent, so nothing is bought before the API was asked what exists.
    """
    house = tx.execute(select(installation).with_for_update()).one()
    timeline = _timeline(tx)
    if house.alive_at - tx.now > BACKWARD:
        _rewind(tx)
    moved = house.timeline is not None and timeline is not None and timeline != house.timeline
    fresh = moved or tx.now - house.alive_at > ASLEEP
    epoch = house.epoch + 1 if fresh else house.epoch
    tx.execute(update(installation).values(alive_at=tx.now, timeline=timeline or house.timeline, epoch=epoch))
    if worker is not None:
        _note_worker(tx, worker)
    return bool(fresh)


def _note_worker(tx: Transaction, name: str) -> None:
    if not tx.execute(update(workers).where(workers.c.name == name).values(seen_at=tx.now)).rowcount:
        tx.insert_missing(workers, {"name": name, "started_at": tx.now, "seen_at": tx.now})
        tx.execute(delete(workers).where(workers.c.seen_at < tx.now - FORGOTTEN))


def leave(tx: Transaction, worker: str) -> None:
    """Note that a worker has ended as it should."""
    tx.execute(delete(workers).where(workers.c.name == worker))


def _rewind(tx: Transaction) -> None:
    """Pull waits back after the clock was set back, so that nothing waits for a time that has long been.

    Leases and windows stay as they are, at most a lease or a window longer than meant: early would be dangerous, late
    is not. What was due within the step is due now.
    """
    for column in (chores.c.due_at, accounts.c.probe_at):
        tx.execute(update(column.table).where(column > tx.now).values({column: tx.now}))
    held = (State.DISPATCHED.value, State.CREATING.value)
    waits = and_(jobs.c.state.not_in(held), jobs.c.run_after > tx.now)
    tx.execute(update(jobs).where(waits).values(run_after=tx.now))
    longest = tx.now + LEASE_CEILING
    for column in (chores.c.lease_until, jobs.c.lease_until, rate_windows.c.closed_until):
        tx.execute(update(column.table).where(column > longest).values({column: longest}))
    for column in (rate_windows.c.opened_at, rate_windows.c.granted_at):
        tx.execute(update(column.table).where(column > tx.now).values({column: tx.now}))
    for column in (jobs.c.created_at, jobs.c.last_unknown_at):
        unsettled = and_(jobs.c.state.in_(_UNSETTLED), column > tx.now)
        tx.execute(update(jobs).where(unsettled).values({column: tx.now}))


def last_heartbeat(tx: Transaction) -> datetime:
    """Return when a worker's loop last ran."""
    moment: datetime = tx.execute(select(installation.c.alive_at)).scalar_one()
    return moment


def epochs(tx: Transaction, account_id: str) -> tuple[int, int]:
    """Return the installation's epoch and the one that the account's reconcile has been through."""
    mine = tx.execute(select(accounts.c.epoch).where(accounts.c.id == account_id)).scalar_one()
    return int(tx.execute(select(installation.c.epoch)).scalar_one()), int(mine)


def reconciled(tx: Transaction, account_id: str, epoch: int) -> None:
    """Note that reconcile has been through the account in this epoch: admission may open."""
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(epoch=epoch))


def paused(tx: Transaction, account_id: str) -> tuple[str | None, str | None]:
    """Return the code and the words with which the account is paused, or two times None."""
    columns = (accounts.c.paused_code, accounts.c.paused_reason)
    row = tx.execute(select(*columns).where(accounts.c.id == account_id)).first()
    return (None, None) if row is None else (row[0], row[1])


def unknown_at(tx: Transaction, account_id: str) -> datetime | None:
    """Return when a create of the account last ended unknown."""
    moment: datetime | None = tx.execute(
        select(accounts.c.unknown_at).where(accounts.c.id == account_id)
    ).scalar()
    return moment


def boot_seconds(tx: Transaction, account_id: str) -> float | None:
    """Return how long instances of the account lately took to run."""
    seconds: float | None = tx.execute(_BOOT_SECONDS, {"account": account_id}).scalar()
    return seconds


def slowest_boot(tx: Transaction, account_ids: Sequence[str]) -> float:
    """Return how long a boot takes in the slowest of the accounts, as far as that is known."""
    known = (boot_seconds(tx, account_id) for account_id in account_ids)
    return max((USUAL_BOOT_SECONDS if one is None else one for one in known), default=USUAL_BOOT_SECONDS)


def learn_boot_seconds(tx: Transaction, account_id: str, seconds: float) -> None:
    """Remember how long instances of the account lately took to run."""
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(boot_seconds=seconds))


# Catalogs ------------------------------------------------------------------------------------------------------------


def store_catalogs(tx: Transaction, account_id: str, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Replace the account's last good copy; return the version, a digest of the content."""
    version = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    tx.execute(delete(catalogs).where(catalogs.c.account_id == account_id))
    common = {"account_id": account_id, "version": version, "fetched_at": tx.now}
    tx.execute(
        insert(catalogs), [{**common, "kind": kind, "rows": list(parts[kind])} for kind in CATALOG_KINDS]
    )
    return version


def catalog_version(tx: Transaction, account_id: str) -> str | None:
    """Return the version of the account's last good copy, or None while there is none."""
    version: str | None = tx.execute(_CATALOG_VERSION, {"account": account_id}).scalar()
    return version


def load_catalog(tx: Transaction, account_id: str) -> Catalog | None:
    """Return the account's last good copy, or None while there is none."""
    rows = {row.kind: row for row in tx.execute(select(catalogs).where(catalogs.c.account_id == account_id))}
    if set(rows) != set(CATALOG_KINDS):
        return None
    parts = {kind: rows[kind].rows for kind in CATALOG_KINDS}
    one = rows["types"]
    return Catalog.from_rows(**parts, version=one.version, fetched_at=one.fetched_at)

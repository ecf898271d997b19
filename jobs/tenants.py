"""Tenants: who submits, within which guards, and to which accounts their jobs may go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, insert, select, update

from jobs import fleets
from jobs.database import Transaction
from jobs.records import accounts, tenant_accounts, tenants

DEFAULT_ACCOUNT: Final = "default"
"""The account of a tenant that was given none."""
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What a tenant or an account may be called: it stands in tables, logs and metrics."""
GUARDS: Final = ("max_count", "max_instances", "max_hourly_microusd")


@dataclass(frozen=True)
class TenantView:
    """A tenant as the operator sees it. A guard that is None is the settings' own. Money in micro-dollars per hour."""

    id: str
    weight: int
    max_count: int | None
    max_instances: int | None
    max_hourly_microusd: int | None
    alive: int
    hourly_microusd: int
    accounts: tuple[str, ...]
    created_at: datetime


def add(tx: Transaction, tenant: str) -> bool:
    """Add a tenant; False: it was there already."""
    if exists(tx, tenant):
        return False
    row = {"id": tenant, "weight": 1, "alive": 0, "hourly_microusd": 0, "created_at": tx.now}
    tx.execute(insert(tenants), row)
    return True


def change(tx: Transaction, tenant: str, values: Mapping[str, Any]) -> None:
    """Write some of a tenant's columns: ``weight`` and :data:`GUARDS`."""
    if values:
        tx.execute(update(tenants).where(tenants.c.id == tenant).values(**values))


def map_accounts(tx: Transaction, tenant: str, names: tuple[str, ...]) -> None:
    """Say to which accounts a tenant's jobs may go. What waits elsewhere is taken over when there is room."""
    tx.execute(delete(tenant_accounts).where(tenant_accounts.c.tenant_id == tenant))
    if DEFAULT_ACCOUNT in names:
        # It is there without anybody's doing; its row comes with the first worker otherwise.
        row = {"id": DEFAULT_ACCOUNT, "epoch": 0, "faults": 0, "created_at": tx.now}
        tx.insert_missing(accounts, row)
    rows = [{"tenant_id": tenant, "account_id": account} for account in dict.fromkeys(names)]
    if rows:
        tx.execute(insert(tenant_accounts), rows)


def accounts_of(tx: Transaction, tenant: str) -> tuple[str, ...]:
    """Return the accounts that a tenant's jobs may go to."""
    mine = select(tenant_accounts.c.account_id).where(tenant_accounts.c.tenant_id == tenant)
    return tuple(tx.execute(mine.order_by(tenant_accounts.c.account_id)).scalars()) or (DEFAULT_ACCOUNT,)


def exists(tx: Transaction, tenant: str) -> bool:
    """Whether there is a tenant of this name."""
    return tx.execute(select(tenants.c.id).where(tenants.c.id == tenant)).first() is not None


def list_tenants(tx: Transaction) -> list[TenantView]:
    """Return every tenant, with what it holds by now. Writes: newly ended jobs are no longer counted afterwards."""
    names = list(tx.execute(select(tenants.c.id).order_by(tenants.c.id)).scalars())
    return [view(tx, tenant) for tenant in names]


def view(tx: Transaction, tenant: str) -> TenantView:
    """Return one tenant as :func:`list_tenants` does."""
    fleets.release(tx, tenant)
    row = tx.execute(select(tenants).where(tenants.c.id == tenant)).one()
    names = ("id", "weight", *GUARDS, "alive", "hourly_microusd", "created_at")
    return TenantView(**{name: getattr(row, name) for name in names}, accounts=accounts_of(tx, tenant))

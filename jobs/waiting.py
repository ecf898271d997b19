"""The jobs that wait for nothing but the rate limit, as they stand in their index.

A line is those of one account, tenant and priority, the oldest first. There are few lines, however many jobs wait, and
each answer takes a step or two in each of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, func, literal, select

from jobs.admission import GOING
from jobs.database import Transaction
from jobs.records import accounts, in_state, jobs, tenants
from jobs.states import State


@dataclass(frozen=True)
class Line:
    """A line, and the job at its head."""

    account: str
    tenant: str
    priority: int
    first: str
    """The job's id."""
    since: datetime
    """When it was submitted."""


_READY: Final = and_(
    jobs.c.account_id == bindparam("account"),
    jobs.c.tenant_id == bindparam("tenant"),
    in_state(State.QUEUED),
    jobs.c.run_after.is_(None),
)
_HEAD: Final = (
    select(jobs.c.priority, jobs.c.id, jobs.c.submitted_at)
    .where(_READY)
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(1)
)
_NEXT: Final = _HEAD.where(jobs.c.priority < bindparam("below"))
_BEFORE: Final = select(func.count()).select_from(
    select(literal(1))
    .where(
        _READY,
        jobs.c.priority == bindparam("priority"),
        jobs.c.id < bindparam("edge", type_=jobs.c.id.type),
        jobs.c.fleet_id != bindparam("fleet", type_=jobs.c.fleet_id.type),
    )
    .limit(bindparam("most"))
    .subquery()
)


def lines(
    tx: Transaction, *, account_ids: Sequence[str] | None = None, tenant: str | None = None
) -> Iterator[Line]:
    """Yield the lines of some accounts (None: all) and of a tenant (None: each), those of paused fleets among them."""
    return _lines(tx, _HEAD, _NEXT, account_ids, tenant)


def going(tx: Transaction) -> Iterator[Line]:
    """Yield the lines as they are without the fleets that a person has paused, or that their own policy has stopped."""
    return _lines(tx, _HEAD.where(GOING), _NEXT.where(GOING), None, None)


def _lines(
    tx: Transaction,
    head: Select[Any],
    following: Select[Any],
    account_ids: Sequence[str] | None,
    tenant: str | None,
) -> Iterator[Line]:
    where = tx.execute(select(accounts.c.id)).scalars().all() if account_ids is None else account_ids
    who = tx.execute(select(tenants.c.id)).scalars().all() if tenant is None else [tenant]
    for account_id, tenant_id in product(where, who):
        which = {"account": account_id, "tenant": tenant_id}
        row = tx.execute(head, which).first()
        while row is not None:
            yield Line(account_id, tenant_id, *row)
            row = tx.execute(following, {**which, "below": row.priority}).first()


def count_before(tx: Transaction, line: Line, job_id: str, *, fleet_id: str, most: int) -> int:
    """Return how many jobs of a line were submitted before a job, but for its fleet's own; ``most`` at most."""
    which = {"account": line.account, "tenant": line.tenant, "priority": line.priority}
    return int(tx.execute(_BEFORE, {**which, "edge": job_id, "fleet": fleet_id, "most": most}).scalar_one())

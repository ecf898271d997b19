"""The jobs that wait for nothing but the rate limit, as they stand in their index.

A line is those of one account, tenant and priority, the oldest first. There are few lines, however many jobs wait, and
each answer takes a step or two in each of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, func, literal, select, true

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


_READY: Final = and_(in_state(State.QUEUED), jobs.c.run_after.is_(None))
_LINE: Final = (jobs.c.account_id == bindparam("account"), jobs.c.tenant_id == bindparam("tenant"))
_PAIRS: Final = select(accounts.c.id, tenants.c.id).select_from(accounts.join(tenants, true()))
_HEAD: Final = (
    select(jobs.c.priority, jobs.c.id, jobs.c.submitted_at)
    .where(_READY)
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(1)
)
_BEFORE: Final = select(func.count()).select_from(
    select(literal(1))
    .where(
        *_LINE,
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
    pairs = _PAIRS if account_ids is None else _PAIRS.where(accounts.c.id.in_(account_ids))
    return _lines(tx, _HEAD, pairs if tenant is None else pairs.where(tenants.c.id == tenant))


def going(tx: Transaction) -> Iterator[Line]:
    """Yield the lines as they are without the fleets that a person has paused, or that their own policy has stopped."""
    return _lines(tx, _HEAD.where(GOING), _PAIRS)


def _lines(tx: Transaction, head: Select[Any], pairs: Select[Any]) -> Iterator[Line]:
    following = head.where(*_LINE, jobs.c.priority < bindparam("below"))
    for row in _first(tx, head, pairs):
        line: Line | None = Line(*row)
        while line is not None:
            yield line
            which = {"account": line.account, "tenant": line.tenant, "below": line.priority}
            found = tx.execute(following, which).first()
            line = None if found is None else Line(line.account, line.tenant, *found)


def _first(tx: Transaction, head: Select[Any], pairs: Select[Any]) -> Iterable[Any]:
    """Return the most urgent line's columns of each account and tenant for which jobs wait."""
    if not tx.on_sqlite:
        own = (jobs.c.account_id == accounts.c.id, jobs.c.tenant_id == tenants.c.id)
        each = head.where(*own).correlate(accounts, tenants).lateral("each")
        return list(tx.execute(pairs.add_columns(*each.c).join(each, true())))
    # SQLite has no LATERAL, and statements cost next to nothing.
    which = [{"account": row[0], "tenant": row[1]} for row in tx.execute(pairs)]
    found = [(one, tx.execute(head.where(*_LINE), one).first()) for one in which]
    return [(one["account"], one["tenant"], *row) for one, row in found if row is not None]


def count_before(tx: Transaction, line: Line, job_id: str, *, fleet_id: str, most: int) -> int:
    """Return how many jobs of a line were submitted before a job, but for its fleet's own; ``most`` at most."""
    which = {"account": line.account, "tenant": line.tenant, "priority": line.priority}
    return int(tx.execute(_BEFORE, {**which, "edge": job_id, "fleet": fleet_id, "most": most}).scalar_one())

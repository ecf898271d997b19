"""Which jobs somebody asks for: filters, and pages that stay stable while rows are added.

A page begins after a place (a position in its fleet, or a job's id), never after a number of rows, so that jobs which
come in between neither repeat nor hide others. Fleet, time and error code walk an index; what else is asked for is
looked at row by row on the way. A tag stands in the fleet's document, not in the job's row.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Text, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from jobs.database import Transaction
from jobs.queries import as_id, job_rows, job_view, pauses
from jobs.records import fleets, jobs
from jobs.states import State
from jobs.views import JobView

_CHUNK: Final = 1000


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are asked for; None: any. ``since`` is when they were submitted, or later."""

    fleet_id: str | None = None
    state: State | None = None
    label: str | None = None
    type: str | None = None
    region: str | None = None
    tag: str | None = None
    error_code: str | None = None
    since: datetime | None = None

    def to_json(self) -> dict[str, str]:
        """Return what is asked for, as text."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


def list_jobs(
    tx: Transaction, *, tenant: str, where: JobFilter, limit: int, after: str | None = None
) -> list[JobView]:
    """Return a tenant's jobs, a fleet's by position, else the newest first; those that follow the place ``after``."""
    statement = job_rows().where(jobs.c.tenant_id == tenant, *conditions(tx, where))
    if where.fleet_id is not None:
        statement = statement.order_by(jobs.c.position)
    else:
        statement = statement.order_by(jobs.c.id.desc())
    if after is not None:
        statement = statement.where(_follows(where, after))
    paused = pauses(tx)
    return [job_view(row, paused, tx.now) for row in tx.execute(statement.limit(limit))]


def place_of(job: JobView, where: JobFilter) -> str:
    """Return the place after which the next page begins."""
    return str(job.position) if where.fleet_id is not None else job.id


def is_place(text: str, where: JobFilter) -> bool:
    """Whether ``text`` can be a place in this list."""
    if where.fleet_id is not None:
        return text.isascii() and text.isdecimal() and len(text) < len("1000000000")
    return as_id(text) is not None


def iterate_jobs(tx: Transaction, *, tenant: str, where: JobFilter) -> Iterator[JobView]:
    """Yield a tenant's jobs in chunks, so that a million rows need no memory."""
    last: str | None = None
    while chunk := list_jobs(tx, tenant=tenant, where=where, limit=_CHUNK, after=last):
        yield from chunk
        last = place_of(chunk[-1], where)


def _follows(where: JobFilter, place: str) -> ColumnElement[bool]:
    return jobs.c.position > int(place) if where.fleet_id is not None else jobs.c.id < place


def conditions(tx: Transaction, where: JobFilter) -> Iterator[ColumnElement[bool]]:
    """Yield what a job must fulfil, for a statement that joins jobs and their fleets."""
    exact = {
        jobs.c.fleet_id: where.fleet_id,
        jobs.c.state: where.state and where.state.value,
        jobs.c.label: where.label,
        jobs.c.error_code: where.error_code,
        # What the instance says of itself is what the job shows.
        func.coalesce(jobs.c.got_type, jobs.c.type): where.type,
        func.coalesce(jobs.c.got_region, jobs.c.region): where.region,
    }
    yield from (column == value for column, value in exact.items() if value is not None)
    if where.since is not None:
        # Ids begin with the millisecond of the submit: the index on them finds the place.
        yield jobs.c.id >= _first_id(where.since)
        yield jobs.c.submitted_at >= where.since
    if where.tag is not None:
        yield _tagged(tx, where.tag)


def _first_id(moment: datetime) -> str:
    milliseconds = min(max(int(moment.timestamp() * 1000), 0), 2**48 - 1)
    return str(UUID(int=milliseconds << 80))


def _tagged(tx: Transaction, tag: str) -> ColumnElement[bool]:
    if tx.on_sqlite:
        tags: Any = func.json_each(fleets.c.groups, literal("$[").concat(jobs.c.group_index).concat("].tags"))
        listed = tags.table_valued("value")
        return select(literal(1)).select_from(listed).where(listed.c.value == tag).exists()
    group = fleets.c.groups.op("->", return_type=JSONB())(jobs.c.group_index)
    return group.op("->", return_type=JSONB())(literal("tags", Text)).contains([tag])

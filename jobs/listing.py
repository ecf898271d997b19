"""Which jobs somebody asks for: filters, orders, and pages that stay stable while rows are added.

A page begins after a place (a position in its fleet, a job's id, a label), never after a number of rows, so that jobs
which come in between neither repeat nor hide others. What an index finds, and is not much, is gathered and sorted.
Everything else is looked for row by row in the order asked for; a page looks at so many rows and no more, and says
where to go on, so that the one job at the far end of a million costs several quick pages instead of a slow one.
A tag stands in the fleet's document, not in the job's row.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    and_,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobs.columns import Identifier
from jobs.database import Transaction
from jobs.queries import as_id, job_rows, job_view, pauses
from jobs.records import accounts, fleets, in_settled_state, jobs
from jobs.states import State
from jobs.tables import SETTLED
from jobs.views import JobView

LOOKED_AT: Final = 25_000
"""So many rows one page looks at, and then says where to go on."""
GATHERED: Final = 10_000
"""What an index finds is gathered and sorted if it is no more than this."""
_FLEETS: Final = 100
"""In so many fleets at most is a tag looked for by the fleets."""
_CHUNK: Final = 1000
_LAST_CHARACTER: Final = "\U0010ffff"
_PREFIX_LENGTHS: Final = (128, 64)
_LARGEST_ID: Final = 2**63 - 1


class Sort(StrEnum):
    """In which order jobs come. Within a fleet the oldest is the first by position."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LABEL = "label"


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are asked for; None: any. ``since`` is when they were submitted, or later.

    ``q`` is what a label begins with, or a job's id, an instance's id or its address.
    """

    fleet_id: str | None = None
    state: State | None = None
    label: str | None = None
    type: str | None = None
    region: str | None = None
    tag: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    q: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return what is asked for, as text."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class JobPage:
    """Some jobs, perhaps none, and the place after which the next page begins; None: there is no more."""

    jobs: tuple[JobView, ...]
    next: str | None


# Places --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Order:
    """The columns that jobs are sorted by. The last one tells any two jobs of the list apart."""

    names: tuple[str, ...]
    descending: bool = False

    def columns(self, of: FromClause) -> list[ColumnElement[Any]]:
        return [of.c[name] for name in self.names]

    def by(self, of: FromClause, *, reverse: bool = False) -> list[ColumnElement[Any]]:
        columns = self.columns(of)
        return [one.desc() for one in columns] if self.descending is not reverse else columns

    def follows(self, of: FromClause, place: str) -> ColumnElement[bool]:
        one, other = tuple_(*self.columns(of)), tuple_(*self._values(place))
        found: ColumnElement[bool] = one < other if self.descending else one > other
        return found

    def _values(self, place: str) -> list[ColumnElement[Any]]:
        words = place.rsplit(" ", 1) if len(self.names) > 1 else [place]
        return [
            literal(int(word)) if name == "position" else literal(word, jobs.c[name].type)
            for name, word in zip(self.names, words, strict=True)
        ]

    def place(self, row: Any) -> str:  # noqa: ANN401 - a row or a view
        return " ".join(str(getattr(row, name)) for name in self.names)

    def is_place(self, text: str) -> bool:
        if self.names == ("position",):
            return text.isascii() and text.isdecimal() and len(text) < len("1000000000")
        words = text.rsplit(" ", 1) if len(self.names) > 1 else [text]
        return len(words) == len(self.names) and as_id(words[-1]) is not None


def _order(where: JobFilter, sort: Sort | None) -> _Order:
    if sort is Sort.LABEL:
        return _Order(("label", "id"))
    if where.fleet_id is not None:
        return _Order(("position",), descending=sort is Sort.NEWEST)
    return _Order(("id",), descending=sort is not Sort.OLDEST)


def place_of(job: JobView, where: JobFilter, sort: Sort | None = None) -> str:
    """Return the place after which the next page begins."""
    return _order(where, sort).place(job)


def is_place(text: str, where: JobFilter, sort: Sort | None = None) -> bool:
    """Whether ``text`` can be a place in this list."""
    return _order(where, sort).is_place(text)


# Lists ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    tenant: str
    where: JobFilter
    order: _Order
    after: str | None
    on_sqlite: bool


def job_page(
    tx: Transaction,
    *,
    tenant: str,
    where: JobFilter,
    limit: int,
    after: str | None = None,
    sort: Sort | None = None,
) -> JobPage:
    """Return those of a tenant's jobs that follow the place ``after``: a fleet's by position, else the newest first.

    A page may hold fewer than ``limit`` and still have a next one: so many rows were looked at.
    """
    asked = _Asked(tenant, where, _order(where, sort), after, tx.on_sqlite)
    gathered = next((some for some in _gatherings(tx, asked) if _is_little(tx, some)), None)
    of = _walk(asked) if gathered is None else jobs
    statement = job_rows(of).where(of.c.tenant_id == tenant, *conditions(tx, where, of=of))
    if gathered is not None:
        statement = statement.where(jobs.c.id.in_(gathered), *_follows(asked, jobs))
    paused = pauses(tx)
    rows = tx.execute(statement.order_by(*asked.order.by(of)).limit(limit + 1)).all()
    views = tuple(job_view(row, paused, tx.now) for row in rows[:limit])
    if len(rows) > limit:
        return JobPage(views, asked.order.place(views[-1]))
    return JobPage(views, _end_of_walk(tx, asked) if gathered is None else None)


def list_jobs(
    tx: Transaction,
    *,
    tenant: str,
    where: JobFilter,
    limit: int,
    after: str | None = None,
    sort: Sort | None = None,
) -> list[JobView]:
    """Return so many of a tenant's jobs that follow the place ``after``, however many rows have to be looked at."""
    found: list[JobView] = []
    while True:
        page = job_page(tx, tenant=tenant, where=where, limit=limit - len(found), after=after, sort=sort)
        found += page.jobs
        after = page.next
        if after is None or len(found) >= limit:
            return found


def iterate_jobs(tx: Transaction, *, tenant: str, where: JobFilter) -> Iterator[JobView]:
    """Yield a tenant's jobs in chunks, so that a million rows need no memory."""
    after: str | None = None
    while True:
        page = job_page(tx, tenant=tenant, where=where, limit=_CHUNK, after=after)
        yield from page.jobs
        after = page.next
        if after is None:
            return


def _follows(asked: _Asked, of: FromClause) -> Iterator[ColumnElement[bool]]:
    if asked.after is not None:
        yield asked.order.follows(of, asked.after)


def _walk(asked: _Asked) -> FromClause:
    """Return the rows that a page looks at: so many in its order, along an index."""
    inner = select(jobs).where(*_in_walk(asked)).order_by(*asked.order.by(jobs))
    return inner.limit(LOOKED_AT).subquery("looked_at")


def _in_walk(asked: _Asked) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that the index which has the order can find."""
    where, names = asked.where, asked.order.names
    yield jobs.c.tenant_id == asked.tenant
    yield from _follows(asked, jobs)
    if names == ("position",):
        yield jobs.c.fleet_id == where.fleet_id
    elif names == ("id",):
        yield from (
            jobs.c[name] == getattr(where, name) for name in ("label", "error_code") if getattr(where, name)
        )
        if where.since is not None:
            yield jobs.c.id >= _first_id(where.since)
        if where.state in SETTLED:
            yield and_(in_settled_state(where.state, on_sqlite=asked.on_sqlite))
    elif where.q is not None:
        yield _begins(jobs, where.q)


def _end_of_walk(tx: Transaction, asked: _Asked) -> str | None:
    """Return the last place that the page looked at, or None where it has seen the last row."""
    last = select(*asked.order.columns(jobs)).where(*_in_walk(asked)).order_by(*asked.order.by(jobs))
    row = tx.execute(last.offset(LOOKED_AT - 1).limit(1)).first()
    return None if row is None else asked.order.place(row)


# What an index finds -------------------------------------------------------------------------------------------------


def _gatherings(tx: Transaction, asked: _Asked) -> Iterator[Select[Any]]:
    """Yield the ids that an index finds by a part of what is asked for, the most telling part first."""
    where, walked = asked.where, asked.order.names
    mine = select(jobs.c.id).where(jobs.c.tenant_id == asked.tenant)
    fleet = [] if where.fleet_id is None else [jobs.c.fleet_id == where.fleet_id]
    if where.q is not None:
        yield _found(tx, where.q, asked.tenant)
    if where.label is not None and walked != ("id",):
        yield mine.where(jobs.c.label == where.label)
    if where.state is not None and not (walked == ("id",) and where.state in SETTLED):
        yield _in_state(where.state, asked.tenant, fleet)
    if where.error_code is not None and walked != ("id",):
        yield mine.where(jobs.c.error_code == where.error_code)
    if fleet and walked != ("position",):
        yield mine.where(*fleet)
    if where.tag is not None:
        yield from _in_tagged_fleets(tx, where.tag, asked.tenant)


def _is_little(tx: Transaction, some: Select[Any]) -> bool:
    counted = select(func.count()).select_from(some.limit(GATHERED + 1).subquery())
    return bool(tx.execute(counted).scalar_one() <= GATHERED)


def _in_state(state: State, tenant: str, fleet: list[ColumnElement[bool]]) -> Select[Any]:
    # By the fleets: an index of all states would have to be written at each step of each job.
    joined = select(jobs.c.id).join(fleets, fleets.c.id == jobs.c.fleet_id)
    return joined.where(fleets.c.tenant_id == tenant, jobs.c.state == state.value, *fleet)


def _in_tagged_fleets(tx: Transaction, tag: str, tenant: str) -> Iterator[Select[Any]]:
    """Yield the jobs of the fleets that name the tag, if those are few."""
    if tx.on_sqlite:
        groups = func.json_each(fleets.c.groups).table_valued("value", name="one", joins_implicitly=True)
        tags = func.json_each(groups.c.value, "$.tags").table_valued(
            "value", name="tag", joins_implicitly=True
        )
        named: ColumnElement[bool] = (
            select(literal(1)).select_from(groups, tags).where(tags.c.value == tag).exists()
        )
    else:
        named = type_coerce(fleets.c.groups, JSONB()).contains([{"tags": [tag]}])
    found = select(fleets.c.id).where(fleets.c.tenant_id == tenant, named).limit(_FLEETS + 1)
    ids = tx.execute(found).scalars().all()
    if len(ids) <= _FLEETS:
        yield select(jobs.c.id).where(jobs.c.tenant_id == tenant, jobs.c.fleet_id.in_(ids))


def _found(tx: Transaction, q: str, tenant: str) -> Select[Any]:
    """Return the ids of the jobs that somebody means by ``q``; each way of meaning one has its index."""
    mine = select(jobs.c.id).where(jobs.c.tenant_id == tenant)
    ways = [mine.where(way) for way in _meanings(jobs, q)]
    if number := _number(q):
        house = tx.execute(select(accounts.c.id)).scalars().all()
        ways.append(mine.where(jobs.c.account_id.in_(house), jobs.c.linode_id == number))
    return select(union_all(*ways).subquery("found").c.id)


def _meanings(of: FromClause, q: str) -> Iterator[ColumnElement[bool]]:
    """Yield what ``q`` may mean, but for an instance's id."""
    yield _begins(of, q)
    if (job_id := as_id(q)) is not None:
        yield of.c.id == literal(job_id, Identifier)
    if (address := _address(q)) is not None:
        column = of.c.ipv4 if address.version == 4 else of.c.ipv6  # noqa: PLR2004 - the Internet's own number
        yield column.in_([str(address), *(f"{address}/{length}" for length in _PREFIX_LENGTHS)])


def _begins(of: FromClause, q: str) -> ColumnElement[bool]:
    return and_(of.c.label >= q, of.c.label < f"{q}{_LAST_CHARACTER}")


def _number(q: str) -> int | None:
    whole = q.isascii() and q.isdecimal() and len(q) < len(str(_LARGEST_ID))
    return int(q) if whole else None


def _address(q: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_interface(q).ip if any(mark in q for mark in ".:") else None
    except ValueError:
        return None


# Conditions ----------------------------------------------------------------------------------------------------------


def conditions(tx: Transaction, where: JobFilter, *, of: FromClause = jobs) -> Iterator[ColumnElement[bool]]:
    """Yield what a job must fulfil, for a statement that joins jobs and their fleets."""
    exact = {
        of.c.fleet_id: where.fleet_id,
        of.c.state: where.state and where.state.value,
        of.c.label: where.label,
        of.c.error_code: where.error_code,
        # What the instance says of itself is what the job shows.
        func.coalesce(of.c.got_type, of.c.type): where.type,
        func.coalesce(of.c.got_region, of.c.region): where.region,
    }
    yield from (column == value for column, value in exact.items() if value is not None)
    if where.since is not None:
        # Ids begin with the millisecond of the submit: the index on them finds the place.
        yield of.c.id >= literal(_first_id(where.since), Identifier)
        yield of.c.submitted_at >= where.since
    if where.tag is not None:
        yield _tagged(tx, where.tag, of)
    if where.q is not None:
        number = _number(where.q)
        yield or_(*_meanings(of, where.q), *([] if number is None else [of.c.linode_id == number]))


def _first_id(moment: datetime) -> str:
    milliseconds = min(max(int(moment.timestamp() * 1000), 0), 2**48 - 1)
    return str(UUID(int=milliseconds << 80))


def _tagged(tx: Transaction, tag: str, of: FromClause) -> ColumnElement[bool]:
    if tx.on_sqlite:
        tags: Any = func.json_each(fleets.c.groups, literal("$[").concat(of.c.group_index).concat("].tags"))
        listed = tags.table_valued("value")
        return select(literal(1)).select_from(listed).where(listed.c.value == tag).exists()
    group = fleets.c.groups.op("->", return_type=JSONB())(of.c.group_index)
    return group.op("->", return_type=JSONB())(literal("tags", Text)).contains([tag])

"""What the metrics show of the present beside the status: read when somebody asks for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import product
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, select, text

from jobs import messages, spend, tallies, webhooks, windows
from jobs.admission import GOING
from jobs.database import Transaction
from jobs.house import workers_seen
from jobs.records import (
    accounts,
    catalogs,
    chores,
    in_open_state,
    in_state,
    installation,
    jobs,
    rate_windows,
    tenants,
    tokens,
    webhook_deliveries,
)
from jobs.records import webhooks as endpoints
from jobs.states import State
from jobs.windows import Window


@dataclass(frozen=True)
class WindowGauge:
    """A bucket of a rate window. ``limit`` 0: there is none, and ``left`` says nothing."""

    account: str
    token: str
    route: str
    """Method and path template."""
    bucket: int
    limit: int
    left: int
    seconds: float
    refused: int
    """429s ever."""


@dataclass(frozen=True)
class Gauges:
    """The present, in numbers. All moments are of the database's clock."""

    now: datetime
    oldest_waiting_at: datetime | None
    """When the oldest job was accepted that could be sent now, but for the rate limit; None: there is none."""
    parked: int
    hourly_microusd: int
    windows: tuple[WindowGauge, ...]
    deliveries: dict[str, int]
    """Messages to webhooks that are ``pending`` or ``dead``."""
    endpoints_disabled: int
    catalogs: tuple[tuple[str, str, datetime], ...]
    """Account, kind, and when it was fetched."""
    paused: dict[str, int]
    """Accounts that take no creates, by whose doing: ``person`` or ``api``."""
    held: bool
    """Whether a person has paused everything."""
    workers: dict[str, datetime]
    """When each worker was last seen."""
    worker_seen_at: datetime
    """When the last worker's loop ran."""
    chores: tuple[tuple[str, bool], ...]
    """Each chore, and whether its last run failed."""
    unfolded: int
    """How far the counters are behind the events, in ids."""
    refused_messages: int


@dataclass(frozen=True)
class Readings:
    """All that the database has for the metrics."""

    states: Mapping[str, int]
    """Jobs by state."""
    alarms: Mapping[str, int]
    """Alarms by code."""
    gauges: Gauges
    tallies: Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
    """The counters, as :func:`jobs.tallies.read` returns them."""


def gauges(tx: Transaction) -> Gauges:
    """Return the present."""
    house = tx.execute(select(installation.c.held_at, installation.c.alive_at)).one()
    fetched = select(catalogs.c.account_id, catalogs.c.kind, catalogs.c.fetched_at)
    duties = select(chores.c.name, chores.c.error.is_not(None)).order_by(chores.c.name)
    return Gauges(
        now=tx.now,
        oldest_waiting_at=_oldest_waiting(tx),
        parked=_count(tx, jobs, and_(in_open_state(State.UNCERTAIN), jobs.c.parked_at.is_not(None))),
        hourly_microusd=spend.hourly(tx),
        windows=tuple(_windows(tx)),
        deliveries={state: _deliveries(tx, state) for state in ("pending", "dead")},
        endpoints_disabled=_count(tx, endpoints, endpoints.c.disabled_at.is_not(None)),
        catalogs=tuple((row[0], row[1], row[2]) for row in tx.execute(fetched)),
        paused={
            "api": _count(tx, accounts, accounts.c.paused_at.is_not(None)),
            "person": _count(tx, accounts, accounts.c.held_at.is_not(None)),
        },
        held=house.held_at is not None,
        workers=workers_seen(tx),
        worker_seen_at=house.alive_at,
        chores=tuple((row[0], bool(row[1])) for row in tx.execute(duties)),
        unfolded=max(webhooks.latest_event(tx) - tallies.folded(tx), 0),
        refused_messages=messages.total(tx),
    )


def _count(tx: Transaction, table: Any, where: Any) -> int:  # noqa: ANN401 - SQLAlchemy's own shapes
    found: int = tx.execute(select(func.count()).select_from(table).where(where)).scalar_one()
    return found


def _deliveries(tx: Transaction, state: str) -> int:
    # In the very words of the partial indexes: a bound value would hide from SQLite's planner that they serve.
    return _count(tx, webhook_deliveries, text(f"webhook_deliveries.state = '{state}'"))


# Waiting -------------------------------------------------------------------------------------------------------------

_READY: Final = and_(
    jobs.c.account_id == bindparam("account"),
    jobs.c.tenant_id == bindparam("tenant"),
    in_state(State.QUEUED),
    jobs.c.run_after.is_(None),
    GOING,
)
_IN_ORDER: Final = (
    select(jobs.c.priority, jobs.c.submitted_at).where(_READY).order_by(jobs.c.priority.desc(), jobs.c.id)
)
_FIRST: Final = _IN_ORDER.limit(1)
_BELOW: Final = _IN_ORDER.where(jobs.c.priority < bindparam("below")).limit(1)


def _oldest_waiting(tx: Transaction) -> datetime | None:
    """Return when the oldest job was accepted that waits for nothing but the rate limit.

    Each tenant's jobs of one priority stand in the index by age, so that a long queue costs no more than a short one.
    """
    who, where = (tx.execute(select(table.c.id)).scalars().all() for table in (tenants, accounts))
    found = (at for account, tenant in product(where, who) for at in _oldest_of(tx, account, tenant))
    return min(found, default=None)


def _oldest_of(tx: Transaction, account: str, tenant: str) -> Iterator[datetime]:
    which = {"account": account, "tenant": tenant}
    row = tx.execute(_FIRST, which).first()
    while row is not None:
        yield row.submitted_at
        row = tx.execute(_BELOW, {**which, "below": row.priority}).first()


# Windows -------------------------------------------------------------------------------------------------------------

_FIELDS: Final = tuple(field.name for field in fields(Window))
_EVERY_WINDOW: Final = (
    select(
        *(tokens.c.account_id, rate_windows.c.token_id, rate_windows.c.route, rate_windows.c.bucket),
        *(rate_windows.c[name] for name in _FIELDS),
    )
    .join(tokens, tokens.c.id == rate_windows.c.token_id)
    .order_by(tokens.c.account_id, tokens.c.id, rate_windows.c.route, rate_windows.c.bucket)
)


def _windows(tx: Transaction) -> Iterator[WindowGauge]:
    for row in tx.execute(_EVERY_WINDOW):
        window = windows.rolled(Window(*row[4:]), tx.now)
        left = windows.room(window, tx.now)
        account, token, route, bucket = row[:4]
        yield WindowGauge(
            account, token, route, bucket, window.allowed, left or 0, window.seconds, window.refused
        )

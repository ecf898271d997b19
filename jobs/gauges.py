"""What the metrics show of the present beside the status: read when somebody asks for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, select, text

from jobs import messages, spend, tallies, waiting, webhooks, windows
from jobs.database import Transaction
from jobs.house import workers_seen
from jobs.records import (
    accounts,
    catalogs,
    chores,
    in_open_state,
    installation,
    jobs,
    rate_windows,
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
        oldest_waiting_at=min((line.since for line in waiting.going(tx)), default=None),
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

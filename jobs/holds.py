"""The kill switch: a person pauses one fleet, one account, or everything, and resumes it.

A pause is a mark on a row. From its commit on no admission grants what it covers. What may still be under way then is
an admission that looked before: it holds its window until it commits, so each window is seen free once; grants that
came of it are given back; and creates that were about to be sent are waited for (:func:`settle`). Only then is the
pause acknowledged. What waits is kept, what is in flight is finished and recorded; deletes go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, exists, func, select, true, tuple_, update

from jobs import transitions
from jobs.admission import CREATE
from jobs.database import Database, Transaction
from jobs.records import RECORD_COLUMNS, accounts, fleets, in_state, installation, jobs, rate_windows, record
from jobs.states import State
from jobs.views import moment

LATEST_SEND: Final = timedelta(seconds=10)
"""So long after its intent a create has left, or never will: the worker holds back what is older, and gives up
connecting. A test holds it to the worker's own durations."""
EVERYTHING: Final = "everything"
LOOK_SECONDS: Final = 0.05
_NAMED: Final = 50
_LOOKS: Final = int((LATEST_SEND.total_seconds() + 5) / LOOK_SECONDS)
_WAITING: Final = frozenset({State.SUBMITTED, State.QUEUED, State.DISPATCHED})
_IN_FLIGHT: Final = frozenset({State.CREATING, State.UNCERTAIN})

Windows = frozenset[tuple[str, int]]
"""Create windows, by token and bucket."""


@dataclass(frozen=True)
class Scope:
    """What is paused or resumed: the fleet or the account ``id``, or everything."""

    kind: str
    id: str = ""
    name: str = EVERYTHING

    @property
    def table(self) -> Table:
        """Where the mark is."""
        return {"fleet": fleets, "account": accounts}.get(self.kind, installation)

    @property
    def row(self) -> ColumnElement[bool]:
        """The row with the mark."""
        return true() if self.kind == EVERYTHING else self.table.c.id == self.id

    @property
    def jobs(self) -> ColumnElement[bool]:
        """The jobs that it covers."""
        column = {"fleet": jobs.c.fleet_id, "account": jobs.c.account_id}.get(self.kind)
        return true() if column is None else column == self.id


ALL: Final = Scope(EVERYTHING)


def of_fleet(fleet_id: str, name: str) -> Scope:
    """Return a fleet as a scope."""
    return Scope("fleet", fleet_id, name)


def of_account(account_id: str) -> Scope:
    """Return an account as a scope."""
    return Scope("account", account_id, account_id)


@dataclass(frozen=True)
class HoldView:
    """What a pause or a resume came to.

    Args:
        scope: ``fleet``, ``account`` or ``everything``.
        name: which one.
        held_at: since when it is paused; None: it is not.
        changed: whether this call changed that.
        settled: nothing of it can still be sent. False, after a pause: a worker hangs in the midst of an admission.
        waiting: how many of its jobs wait.
        in_flight: how many creates are under way or looked up; they are finished and recorded.
        held_by: what else keeps it paused.

    """

    scope: str
    name: str
    held_at: datetime | None
    changed: bool
    settled: bool
    waiting: int
    in_flight: int
    held_by: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {**vars(self), "held_at": moment(self.held_at), "held_by": list(self.held_by)}


@dataclass(frozen=True)
class Left:
    """What keeps a pause from being acknowledged."""

    windows: Windows
    """Those that were not seen free since the mark was made: an admission may be under way."""
    creates: int
    """Creates that may be about to be sent."""
    grants: int
    """Grants that somebody was just using."""

    @property
    def nothing(self) -> bool:
        """Whether nothing of the scope can still be sent."""
        return not (self.windows or self.creates or self.grants)


def pause(database: Database, scope: Scope, *, actor: str, wait: Callable[[float], object]) -> HoldView:
    """Pause a scope; return once nothing of it can be sent any more, 15 s later at the latest.

    Paused again it does the same, for somebody whose first answer was lost.
    """
    with database.write() as tx:
        changed = mark(tx, scope)
    with database.read() as tx:
        windows = create_windows(tx)
    for _ in range(_LOOKS):
        with database.write() as tx:
            left = settle(tx, scope, windows, actor=actor)
        if left.nothing:
            break
        windows = left.windows
        wait(LOOK_SECONDS)
    with database.read() as tx:
        return view(tx, scope, changed=changed, settled=left.nothing)


def resume(database: Database, scope: Scope) -> HoldView:
    """Resume a scope. The caller wakes the workers."""
    with database.write() as tx:
        changed = unmark(tx, scope)
        return view(tx, scope, changed=changed)


def mark(tx: Transaction, scope: Scope) -> bool:
    """Pause a scope; False: it was paused already."""
    fresh = update(scope.table).where(scope.row, scope.table.c.held_at.is_(None))
    return bool(tx.execute(fresh.values(held_at=tx.now)).rowcount)


def unmark(tx: Transaction, scope: Scope) -> bool:
    """Resume a scope; False: it was not paused."""
    marked = update(scope.table).where(scope.row, scope.table.c.held_at.is_not(None))
    return bool(tx.execute(marked.values(held_at=None)).rowcount)


def create_windows(tx: Transaction) -> Windows:
    """Return every create window. Taken after the mark's commit: a later one is only ever used by who sees it."""
    found = select(rate_windows.c.token_id, rate_windows.c.bucket).where(rate_windows.c.route == CREATE)
    return frozenset((row[0], row[1]) for row in tx.execute(found))


def settle(tx: Transaction, scope: Scope, windows: Windows, *, actor: str) -> Left:
    """Give back the scope's grants; return what may still be sent.

    It waits for nobody's locks: who claims several creates locks the jobs first and then the window.

    Args:
        tx: a write transaction, begun after the mark's commit.
        scope: what is paused.
        windows: those not yet seen free.
        actor: who pauses, for the timelines.

    """
    left = windows - _free(tx, windows)
    dispatched = (scope.jobs, in_state(State.DISPATCHED))
    unlocked = select(*RECORD_COLUMNS).where(*dispatched).with_for_update(of=jobs, skip_locked=True)
    found = [record(row) for row in tx.execute(unlocked)]
    transitions.all_given_back(tx, found, "paused", actor=actor)
    grants = tx.execute(select(func.count()).select_from(jobs).where(*dispatched)).scalar_one()
    creating = (scope.jobs, in_state(State.CREATING))
    young = select(func.count()).select_from(jobs).where(*creating, jobs.c.sent_at > tx.now - LATEST_SEND)
    return Left(left, tx.execute(young).scalar_one(), grants)


def _free(tx: Transaction, windows: Windows) -> Windows:
    if not windows:
        return windows
    key = tuple_(rate_windows.c.token_id, rate_windows.c.bucket)
    mine = and_(rate_windows.c.route == CREATE, key.in_(sorted(windows)))
    free = select(rate_windows.c.token_id, rate_windows.c.bucket).where(mine)
    return frozenset((row[0], row[1]) for row in tx.execute(free.with_for_update(skip_locked=True)))


def view(tx: Transaction, scope: Scope, *, changed: bool, settled: bool = True) -> HoldView:
    """Return how a scope stands after a pause or a resume."""
    counted = select(jobs.c.state, func.count()).where(scope.jobs).group_by(jobs.c.state)
    states = {State(row[0]): row[1] for row in tx.execute(counted)}
    return HoldView(
        scope=scope.kind,
        name=scope.name,
        held_at=tx.execute(select(scope.table.c.held_at).where(scope.row)).scalar(),
        changed=changed,
        settled=settled,
        waiting=sum(states.get(state, 0) for state in _WAITING),
        in_flight=sum(states.get(state, 0) for state in _IN_FLIGHT),
        held_by=tuple(_others(tx, scope)),
    )


def _others(tx: Transaction, scope: Scope) -> list[str]:
    """Return what else keeps a scope's jobs from being created."""
    if scope.kind == EVERYTHING:
        return []
    found = [EVERYTHING] if tx.execute(select(installation.c.held_at)).scalar() is not None else []
    if scope.kind == "fleet":
        used = exists().where(jobs.c.fleet_id == scope.id, jobs.c.account_id == accounts.c.id)
        held = select(accounts.c.id).where(accounts.c.held_at.is_not(None), used).order_by(accounts.c.id)
        found += [f"account {name}" for name in tx.execute(held).scalars()]
    return found


def account_exists(tx: Transaction, account_id: str) -> bool:
    """Whether there is such an account."""
    return tx.execute(select(accounts.c.id).where(accounts.c.id == account_id)).first() is not None


# What is paused ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AccountHold:
    """An account, and what keeps it from being created in: a person since ``held_at``, the API since ``paused_at``."""

    id: str
    held_at: datetime | None
    paused_at: datetime | None
    paused_code: str | None
    paused_reason: str | None


@dataclass(frozen=True)
class FleetHold:
    """A fleet that a person has paused."""

    id: str
    name: str
    held_at: datetime


@dataclass(frozen=True)
class Held:
    """Everything that is paused, and what could be."""

    everything: datetime | None
    accounts: tuple[AccountHold, ...]
    """All of them, paused or not."""
    fleets: tuple[FleetHold, ...]
    """Some of those that are paused, the newest first."""


def held(tx: Transaction, account_ids: Sequence[str], tenant: str) -> Held:
    """Return what is paused: everything, each of some accounts, and fleets of a tenant."""
    mine = [accounts.c[name] for name in AccountHold.__dataclass_fields__]
    rows = tx.execute(select(*mine).where(accounts.c.id.in_(account_ids)).order_by(accounts.c.id))
    theirs = select(fleets.c.id, fleets.c.name, fleets.c.held_at)
    theirs = theirs.where(fleets.c.tenant_id == tenant, fleets.c.held_at.is_not(None))
    return Held(
        everything=tx.execute(select(installation.c.held_at)).scalar(),
        accounts=tuple(AccountHold(*row) for row in rows),
        fleets=tuple(
            FleetHold(*row) for row in tx.execute(theirs.order_by(fleets.c.id.desc()).limit(_NAMED))
        ),
    )

"""Each protection taken away in turn, by a collaborator that lacks it: the explorer must notice, or it checks nothing.

No product code has an off-switch. Here a subclass, or a replaced function, stands in for the one that protects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, update

from api_client import InstanceCreate
from jobs import admission, house, transitions
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.records import JobRecord, job_events, jobs
from jobs.states import State
from jobs.windows import RateFacts
from tests.explorer.machine import GRACE, Collaborators
from tests.explorer.schedule import OUTCOMES, Reply, Schedule
from worker.engine import Claimed, Engine
from worker.lookup import Lookup
from worker.outcomes import Outcome
from worker.reconcile import Reconcile
from worker.removal import Removal
from worker.sweep import Intake, Sweep
from worker.watch import Watch


class WithoutAttemptTag(Engine):
    """Buys instances that do not say whose they are."""

    def _request(self, job: JobRecord, *rest: Any) -> InstanceCreate:
        request = super()._request(job, *rest)
        return request.model_copy(
            update={"tags": tuple(t for t in request.tags or () if not t.startswith("nw:"))}
        )


class WithoutLabelFence(Engine):
    """Gives every send a label of its own, so that the API cannot refuse the second one."""

    def _request(self, job: JobRecord, *rest: Any) -> InstanceCreate:
        return super()._request(job, *rest).model_copy(update={"label": f"{job.label}-{job.sends}"})


class WithoutIntent(Engine):
    """Sends first and writes afterwards."""

    def create(self, job_id: str) -> str:
        with self.parts.database.read() as tx:
            job = transitions.load(tx, job_id)
            if job is None or job.state is not State.DISPATCHED:
                return "not mine"
            request = self._prepare(tx, job, self.parts.catalogs(job.account_id))
        if not isinstance(request, InstanceCreate):
            return "not sent"
        outcome = self._send(request, self.parts.monotonic())
        with self.parts.database.write() as tx:
            admission.open_window(tx, job)
            mine = transitions.sent(tx, job, actor=self.actor, lease=self.pace.lease)
        return "late" if mine is None else self._settle(Claimed(mine, request, 0.0), outcome)


class WithoutStickyUnknown(Engine):
    """Forgets that an earlier send of the same job is unknown."""

    def _record(self, tx: Transaction, job: JobRecord, outcome: Outcome) -> JobRecord | None:
        return super()._record(tx, replace(job, last_unknown_at=None), outcome)


class WithoutStaleGuard(Engine):
    """Sends however late it is."""

    def _send(self, request: InstanceCreate, *rest: Any) -> Outcome | tuple[Outcome, RateFacts]:
        eager = replace(self.pace, stale_send=timedelta(days=1))
        patient, self.pace = self.pace, eager
        try:
            return super()._send(request, *rest)
        finally:
            self.pace = patient


class WithoutReconcile(Reconcile):
    """Opens admission, and compares nothing."""

    def run(self, claim: Claim) -> datetime:
        account = self._engine.identity.account_id
        with self._engine.parts.database.write() as tx:
            house.reconciled(tx, account, house.epochs(tx, account)[0])
            return tx.now + self._engine.pace.reconcile


def _unguarded(
    tx: Transaction, job: JobRecord, event: Any, *, actor: str, detail: Any = None, columns: dict[str, Any]
) -> JobRecord | None:
    target = transitions.after(job.state, event)
    written = {**columns, "state": target.value, "version": job.version + 1, "changed_at": tx.now}
    tx.execute(update(jobs).where(jobs.c.id == job.id).values(**written))
    tx.execute(
        insert(job_events), transitions.log_event(tx, job.id, event, target, actor=actor, detail=detail)
    )
    known = {name: value for name, value in columns.items() if name in JobRecord.__slots__}
    return replace(job, state=target, version=job.version + 1, **known)


@contextmanager
def _without_fencing() -> Iterator[None]:
    # A patch, because the guard is one function that every transition calls, and no switch of it may ship.
    guarded = transitions._move
    transitions._move = _unguarded
    try:
        yield
    finally:
        transitions._move = guarded


CHORES = (Watch, Lookup, Removal, Reconcile, Sweep, Intake)


@dataclass(frozen=True)
class Removed:
    """A protection taken away, and the schedules that are tried on what is left."""

    name: str
    collaborators: Collaborators
    schedules: Callable[[], Iterator[Schedule]]
    around: Callable[[], Any] = nullcontext


def _unknowns() -> Iterator[Schedule]:
    for reply in OUTCOMES:
        yield Schedule(replies=(reply,))


def _crashes() -> Iterator[Schedule]:
    for reply in (Reply(), Reply("reset_after", "yes")):
        for at in range(24):
            yield Schedule(replies=(reply,), crashes=(at,))


def _freezes() -> Iterator[Schedule]:
    for reply in OUTCOMES:
        for at in range(6):
            yield Schedule(replies=(reply,), freeze=at)
            yield Schedule(replies=(reply,), freeze=at, cancel=9)


def second_refusals() -> Iterator[Schedule]:
    """Yield schedules in which the first create is applied just when the second one is refused."""
    for step in range(260):
        after = GRACE + step * 0.0005  # between the look that finds nothing and the second send lies a moment
        yield Schedule(replies=(Reply("gateway_timeout", "later", after=after), Reply("no_capacity")))


def _late_creates() -> Iterator[Schedule]:
    for at in (8, 9, 10, 12, 14):
        for after in (3.0, 90.0, 200.0):
            yield Schedule(replies=(Reply("request_timeout", "later", after=after),), cancel=at)


PROTECTIONS: tuple[Removed, ...] = (
    Removed("attempt tag", Collaborators(WithoutAttemptTag), _unknowns),
    Removed("label fence", Collaborators(WithoutLabelFence), _unknowns),
    Removed("commit before POST", Collaborators(WithoutIntent), _unknowns),
    Removed("fencing", Collaborators(), _freezes, _without_fencing),
    Removed("sticky unknown", Collaborators(WithoutStickyUnknown), second_refusals),
    Removed("stale-send guard", Collaborators(WithoutStaleGuard), _freezes),
    Removed("sweeper", Collaborators(chores=tuple(c for c in CHORES if c is not Sweep)), _crashes),
    Removed(
        "reconcile",
        Collaborators(chores=tuple(WithoutReconcile if c is Reconcile else c for c in CHORES)),
        _late_creates,
    ),
)

"""When a fleet is given up (``on_failure``): so many of its jobs failed that the others are not worth their creates.

Whatever fails a job passes :func:`failed` in the same transaction, so that nothing is admitted for the fleet once the
failing that reached the number is committed. A chore then ends what waits (:mod:`jobs.expiry`).
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, select, update

from jobs import chores
from jobs.database import Transaction
from jobs.records import fleets, in_state, jobs
from jobs.states import Event, State

CHORE: Final = "expire"
"""The chore that ends what waits in a fleet that was given up."""
OUR_OWN: Final = frozenset({Event.STOPPED, Event.DEADLINE_PASSED})
"""Ends that say nothing of the request."""
HAS_POLICY: Final[ColumnElement[Any]] = (
    select(fleets.c.on_failure.is_not(None)).where(fleets.c.id == jobs.c.fleet_id).scalar_subquery()
)
"""Whether a job's fleet has a policy, for a statement on ``jobs``."""
_OUR_CODES: Final = ("stopped_by_policy", "deadline_exceeded")
_POLICY: Final = (
    select(fleets.c.on_failure)
    .where(fleets.c.id == bindparam("fleet", type_=fleets.c.id.type), fleets.c.stopped_at.is_(None))
    .with_for_update(key_share=True)
)
_COUNT: Final = (
    select(func.count())
    .select_from(jobs)
    .where(
        jobs.c.fleet_id == bindparam("fleet", type_=jobs.c.fleet_id.type),
        in_state(State.FAILED),
        jobs.c.error_code.not_in(_OUR_CODES),
    )
)
_COUNT_OF_CAUSE: Final = _COUNT.where(jobs.c.error_code == bindparam("code"))


def failed(tx: Transaction, fleet_id: str, code: str | None) -> None:
    """Stop the fleet if its policy says so, now that one more of its jobs has failed with ``code``.

    The fleet's row is locked first, so that of two that fail at the same moment the second one counts the first.
    """
    policy = tx.execute(_POLICY, {"fleet": fleet_id}).scalar()
    if policy is None:
        return
    same = bool(policy.get("same_cause"))
    count = tx.execute(_COUNT_OF_CAUSE if same else _COUNT, {"fleet": fleet_id, "code": code}).scalar_one()
    if count < policy["stop_after"]:
        return
    words = f"{count} jobs failed with {code}" if same else f"{count} jobs failed, the last one with {code}"
    stop = update(fleets).where(fleets.c.id == fleet_id).values(stopped_at=tx.now, stop_reason=words)
    tx.execute(stop)
    chores.hasten(tx, CHORE, tx.now)

"""Messages to endpoints: enqueued once, sent at least once, given up after a day, and sent again when asked for.

Whoever changes deliveries takes their endpoint's row first, then theirs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import and_, bindparam, delete, func, or_, select, update

from jobs import backoff, webhooks
from jobs.database import Transaction
from jobs.identity import new_id
from jobs.queries import as_id
from jobs.records import webhook_deliveries as table
from jobs.records import webhooks as endpoints
from jobs.views import moment

STATES: Final = ("pending", "delivered", "dead")
"""pending: to be sent. delivered: the endpoint took it. dead: given up."""
LEASE: Final = timedelta(seconds=60)
"""So long one worker alone sends to an endpoint: more than a turn and its last send take. Should DNS be slower still,
two send the same, which receivers bear anyway."""
KEEP_DELIVERED: Final = timedelta(days=30)
KEEP_DEAD: Final = timedelta(days=90)
GONE: Final = 410
_PRUNED: Final = 500
_LONGEST_ERROR: Final = 500


@dataclass(frozen=True)
class Message:
    """What an endpoint is told. ``data`` is the part that depends on the kind."""

    kind: str
    subject: str
    """What it tells of: no endpoint is told one thing twice."""
    at: datetime
    """When it happened."""
    data: dict[str, Any]
    fleet_id: str | None = None
    sequence: int | None = None

    def body(self, message_id: str) -> str:
        """Return the body of the request."""
        document = {
            "id": message_id,
            "type": self.kind,
            "timestamp": moment(self.at),
            "data": {"sequence": self.sequence, **self.data},
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class DeliveryView:
    """A delivery as people see it."""

    id: str
    webhook_id: str
    kind: str
    state: str
    tries: int
    status: int | None
    error: str | None
    fleet_id: str | None
    sequence: int | None
    payload: dict[str, Any]
    created_at: datetime
    due_at: datetime | None
    tried_at: datetime | None
    ended_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        moments = ("created_at", "due_at", "tried_at", "ended_at")
        return {**vars(self), **{name: moment(getattr(self, name)) for name in moments}}


def enqueue(tx: Transaction, webhook_ids: Sequence[str], message: Message, dice: Random) -> list[str]:
    """Enqueue a message for endpoints that were not told of its subject; return the ids of the deliveries."""
    rows = [_row(tx, webhook_id, message, dice) for webhook_id in webhook_ids]
    for row in rows:
        tx.insert_missing(table, row)
    return [row["id"] for row in rows]


def _row(tx: Transaction, webhook_id: str, message: Message, dice: Random) -> dict[str, Any]:
    message_id = new_id(tx.now, dice)
    return {
        "id": message_id,
        "webhook_id": webhook_id,
        "kind": message.kind,
        "subject": message.subject,
        "fleet_id": message.fleet_id,
        "sequence": message.sequence,
        "payload": message.body(message_id),
        "state": "pending",
        "tries": 0,
        "due_at": tx.now,
        "created_at": tx.now,
    }


def told(tx: Transaction, webhook_ids: Sequence[str], subjects: Sequence[str]) -> set[str]:
    """Return which of ``subjects`` some of the endpoints were told of."""
    mine = and_(table.c.webhook_id.in_(webhook_ids), table.c.subject.in_(subjects))
    return set(tx.execute(select(table.c.subject).where(mine)).scalars())


def enqueue_test(tx: Transaction, webhook_id: str, dice: Random) -> str:
    """Enqueue a test for an endpoint, also for a disabled one; return the delivery's id."""
    number = dice.getrandbits(64)
    message = Message(webhooks.TEST, f"test {number:016x}", tx.now, {"webhook": {"id": webhook_id}})
    return enqueue(tx, [webhook_id], message, dice)[0]


# Sending -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """The right to send to one endpoint until ``lease_until``."""

    webhook_id: str
    fence: int


@dataclass(frozen=True)
class Letter:
    """One delivery that is due."""

    id: str
    kind: str
    payload: str
    tries: int


@dataclass(frozen=True)
class Batch:
    """Where to send what, signed with what."""

    url: str
    sealed: bytes
    previous_until: datetime | None
    letters: tuple[Letter, ...]


@dataclass(frozen=True)
class Result:
    """What one try came to. ``status``: the answer's; None: there was none, and ``error`` says why."""

    letter: Letter
    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.error is None


_NOW: Final = bindparam("now", type_=table.c.due_at.type)
_PENDING: Final = and_(table.c.webhook_id == endpoints.c.id, table.c.state == "pending")
_FIRST_DUE: Final = select(func.min(table.c.due_at)).where(_PENDING).correlate(endpoints).scalar_subquery()
_FREE: Final = or_(endpoints.c.lease_until.is_(None), endpoints.c.lease_until <= _NOW)
_NEXT: Final = select(func.min(_FIRST_DUE, type_=table.c.due_at.type)).where(_FREE)
_READY: Final = (
    select(endpoints.c.id)
    .where(_FREE, _FIRST_DUE <= _NOW)
    .order_by(endpoints.c.served_at.nulls_first(), endpoints.c.id)
    .limit(bindparam("most"))
)


def next_due(tx: Transaction) -> datetime | None:
    """Return when the next delivery is due to an endpoint that nobody sends to."""
    found: datetime | None = tx.execute(_NEXT, {"now": tx.now}).scalar()
    return found


def claim(tx: Transaction, *, most: int) -> list[Turn]:
    """Take the right to send to endpoints for which something is due, those first that wait longest."""
    turns = []
    for webhook_id in tx.execute(_READY, {"now": tx.now, "most": most}).scalars().all():
        taken = update(endpoints).where(endpoints.c.id == webhook_id, _FREE)
        values = {"lease_until": tx.now + LEASE, "fence": endpoints.c.fence + 1}
        fence = tx.execute(taken.values(**values).returning(endpoints.c.fence), {"now": tx.now}).scalar()
        if fence is not None:
            turns.append(Turn(webhook_id, fence))
    return turns


def load(tx: Transaction, turn: Turn, *, limit: int) -> Batch | None:
    """Return what is due to the endpoint; None: the turn is over, or nothing is due."""
    columns = (endpoints.c.url, endpoints.c.sealed, endpoints.c.previous_until)
    row = tx.execute(select(*columns).where(_held(turn))).first()
    if row is None:
        return None
    due = and_(table.c.webhook_id == turn.webhook_id, table.c.state == "pending", table.c.due_at <= tx.now)
    found = select(table.c.id, table.c.kind, table.c.payload, table.c.tries).where(due)
    letters = tuple(
        Letter(*one)
        for one in tx.execute(found.order_by(table.c.due_at, table.c.sequence, table.c.id).limit(limit))
    )
    return Batch(row[0], row[1], row[2], letters) if letters else None


def _held(turn: Turn) -> Any:  # noqa: ANN401 - an SQLAlchemy expression
    return and_(endpoints.c.id == turn.webhook_id, endpoints.c.fence == turn.fence)


def record(tx: Transaction, turn: Turn, results: Sequence[Result], dice: Random) -> None:
    """Write down what tries came to; a 410 disables the endpoint, a test that arrives enables it again."""
    if _lock(tx, turn.webhook_id) is None:
        return  # it was removed meanwhile
    for result in results:
        _record_one(tx, result, dice)
    tx.execute(update(endpoints).where(_held(turn)).values(served_at=tx.now))
    if any(result.status == GONE for result in results):
        webhooks.disable(tx, turn.webhook_id, "it answered 410 Gone")
    elif any(result.delivered and result.letter.kind == webhooks.TEST for result in results):
        webhooks.enable(tx, turn.webhook_id)


def _lock(tx: Transaction, webhook_id: str) -> Any:  # noqa: ANN401 - a row
    columns = (endpoints.c.id, endpoints.c.disabled_at)
    return tx.execute(select(*columns).where(endpoints.c.id == webhook_id).with_for_update()).first()


def _record_one(tx: Transaction, result: Result, dice: Random) -> None:
    letter = result.letter
    # Somebody asked for it to be sent again meanwhile: then it is, whatever this try came to.
    same = (table.c.id == letter.id, table.c.state == "pending", table.c.tries == letter.tries)
    tried = {"tries": letter.tries + 1, "tried_at": tx.now, "status": result.status, "error": _short(result)}
    tx.execute(update(table).where(*same).values(**tried, **_outcome(tx, result, dice)))


def _outcome(tx: Transaction, result: Result, dice: Random) -> dict[str, Any]:
    if result.delivered:
        return {"state": "delivered", "due_at": None, "ended_at": tx.now}
    wait = backoff.deliver_again(result.letter.tries + 1, dice, retry_after=result.retry_after)
    if wait is None:
        return {"state": "dead", "due_at": None, "ended_at": tx.now}
    return {"due_at": tx.now + wait}


def _short(result: Result) -> str | None:
    return None if result.error is None else result.error[:_LONGEST_ERROR]


def give_back(tx: Transaction, turn: Turn) -> None:
    """End a turn: any worker may send to the endpoint again."""
    tx.execute(update(endpoints).where(_held(turn)).values(lease_until=None))


def prune(tx: Transaction) -> int:
    """Forget some of what was delivered, or given up, long ago; return how many."""
    old = or_(
        and_(table.c.state == "delivered", table.c.ended_at < tx.now - KEEP_DELIVERED),
        and_(table.c.state == "dead", table.c.ended_at < tx.now - KEEP_DEAD),
    )
    some = select(table.c.id).where(old, table.c.ended_at < tx.now - KEEP_DELIVERED)
    return int(tx.execute(delete(table).where(table.c.id.in_(some.limit(_PRUNED)))).rowcount)


# The log, and sending again ------------------------------------------------------------------------------------------


def list_deliveries(
    tx: Transaction, webhook_id: str, *, state: str | None = None, limit: int, after: str | None = None
) -> list[DeliveryView]:
    """Return an endpoint's deliveries, newest first, those older than the delivery ``after``."""
    statement = select(table).where(table.c.webhook_id == webhook_id)
    if state is not None:
        statement = statement.where(table.c.state == state)
    if after is not None:
        statement = statement.where(table.c.id < after)
    return [_view(row) for row in tx.execute(statement.order_by(table.c.id.desc()).limit(limit))]


def find(tx: Transaction, webhook_id: str, delivery_id: str) -> DeliveryView | None:
    """Return one of an endpoint's deliveries."""
    known = as_id(delivery_id)
    if known is None:
        return None
    row = tx.execute(select(table).where(table.c.id == known, table.c.webhook_id == webhook_id)).first()
    return None if row is None else _view(row)


def _view(row: Any) -> DeliveryView:  # noqa: ANN401 - a row of webhook_deliveries
    direct = [name for name in DeliveryView.__dataclass_fields__ if name != "payload"]
    return DeliveryView(**{name: getattr(row, name) for name in direct}, payload=json.loads(row.payload))


def resend(tx: Transaction, webhook_id: str, *, delivery_id: str | None = None) -> int | None:
    """Send one delivery again, whatever became of it, or (None) every dead one; return how many.

    None comes back where the endpoint is disabled: it would take none.
    """
    row = _lock(tx, webhook_id)
    if row is None or row.disabled_at is not None:
        return None
    which = table.c.state == "dead" if delivery_id is None else table.c.id == delivery_id
    anew = {"state": "pending", "tries": 0, "due_at": tx.now, "ended_at": None}
    again = update(table).where(table.c.webhook_id == webhook_id, which).values(**anew)
    return int(tx.execute(again).rowcount)

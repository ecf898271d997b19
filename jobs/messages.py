"""Messages by Celery that can never be accepted: nobody waits for the answer, so it is kept for whoever asks."""

from typing import Final

from sqlalchemy import delete, func, insert, select

from jobs.database import Transaction
from jobs.queries import as_id
from jobs.records import refused_messages

KEPT: Final = 1000
"""So many are kept; older ones are forgotten, and still counted."""
_LONGEST_REASON: Final = 2000


def record(tx: Transaction, fleet_id: str, reason: str) -> None:
    """Keep one refusal. ``fleet_id`` is the sender's, whatever it was; ``reason`` holds no secret."""
    known = as_id(fleet_id)
    row = {"fleet_id": known, "reason": _storable(reason), "at": tx.now}
    number = tx.execute(insert(refused_messages), row).inserted_primary_key[0]
    tx.execute(delete(refused_messages).where(refused_messages.c.id <= number - KEPT))


def reason_for(tx: Transaction, fleet_id: str) -> str | None:
    """Return why the last message for this fleet was refused, None: none was, or it is long ago."""
    known = as_id(fleet_id)
    if known is None:
        return None
    newest = refused_messages.c.id.desc()
    found = select(refused_messages.c.reason).where(refused_messages.c.fleet_id == known).order_by(newest)
    reason: str | None = tx.execute(found.limit(1)).scalar()
    return reason


def total(tx: Transaction) -> int:
    """Return how many messages were refused ever."""
    return tx.execute(select(func.max(refused_messages.c.id))).scalar() or 0


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\x00", "?")[:_LONGEST_REASON]

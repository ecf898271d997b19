"""Tokens that the API refuses while their account has others: they rest, and the others go on.

An account whose only token is refused pauses as a whole (:func:`jobs.admission.pause`). Of several tokens one may have
expired or been revoked: then one create now and then finds out whether it is accepted again.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, exists, func, or_, select, update

from jobs.admission import CREATE
from jobs.database import Transaction
from jobs.records import rate_windows, tokens

CODES: Final = frozenset({"unauthorized", "missing_scope"})
"""What is about the token, and not about its account."""
REST: Final = timedelta(seconds=60)
_SERVED: Final = timedelta(hours=1)
"""A token that is in the environment only counts as one of several while it was used so lately."""
_ID: Final = bindparam("token", type_=tokens.c.id.type)
_ACCEPTED: Final = (
    select(func.max(rate_windows.c.started_by, type_=rate_windows.c.started_by.type))
    .where(rate_windows.c.token_id == _ID, rate_windows.c.route == CREATE)
    .scalar_subquery()
)
_STATE: Final = select(tokens.c.probe_at, tokens.c.refused_at, _ACCEPTED).where(tokens.c.id == _ID)


def refuse(tx: Transaction, account: str, token: str, *, code: str, reason: str) -> bool:
    """Let a token rest, if its account has another one; False: it has none, so the account is to pause."""
    if code not in CODES or not _has_another(tx, account, token):
        return False
    values = {"probe_at": tx.now + REST, "refused_at": tx.now, "refused_reason": reason}
    tx.execute(update(tokens).where(tokens.c.id == token).values(**values))
    return True


def _has_another(tx: Transaction, account: str, token: str) -> bool:
    used = exists().where(
        rate_windows.c.token_id == tokens.c.id, rate_windows.c.granted_at > tx.now - _SERVED
    )
    others = select(tokens.c.id).where(
        tokens.c.account_id == account,
        tokens.c.id != token,
        tokens.c.probe_at.is_(None),
        or_(tokens.c.sealed.is_not(None), used),
    )
    return tx.execute(others.limit(1)).first() is not None


def rests_until(tx: Transaction, token: str) -> datetime | None:
    """Return until when nothing is sent with the token, None: it is sound. A moment that is over: one probe may go.

    Whoever sees that a create was accepted since it was refused finds it sound.
    """
    row = tx.execute(_STATE, {"token": token}).first()
    if row is None or row[0] is None or (row[2] is not None and row[2] > row[1]):
        return None
    probe_at: datetime = row[0]
    return probe_at


def take_probe(tx: Transaction, token: str) -> bool:
    """Take the right to probe; False: somebody else was quicker."""
    due = (tokens.c.id == token, tokens.c.probe_at <= tx.now)
    return bool(tx.execute(update(tokens).where(*due).values(probe_at=tx.now + REST)).rowcount)


def settle(tx: Transaction) -> None:
    """Forget the refusal of each token with which a create was accepted since."""
    accepted = exists().where(
        rate_windows.c.token_id == tokens.c.id,
        rate_windows.c.route == CREATE,
        rate_windows.c.started_by > tokens.c.refused_at,
    )
    sound = {"probe_at": None, "refused_at": None, "refused_reason": None}
    tx.execute(update(tokens).where(tokens.c.probe_at.is_not(None), accepted).values(**sound))


def refused(tx: Transaction) -> set[str]:
    """Return the tokens that rest."""
    return set(tx.execute(select(tokens.c.id).where(tokens.c.probe_at.is_not(None))).scalars())

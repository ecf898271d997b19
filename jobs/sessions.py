"""Who is logged in to the page: a random token in a cookie, of which only the hash is kept, and the key behind it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import delete, insert, select, update

from jobs import keys
from jobs.database import Database, Transaction
from jobs.keys import Principal
from jobs.records import sessions

LIFETIME: Final = timedelta(hours=12)
"""A session that is not used for so long has ended."""
LONGEST: Final = timedelta(days=7)
"""So long after the login it ends, however much it is used: a stolen cookie is not good for ever."""
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_BITS: Final = 256
_NONE_GIVEN: Final[Mapping[str, Principal]] = {}


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in. ``renewed``: from now on it lasts its whole lifetime again."""

    principal: Principal
    renewed: bool = False


class Sessions:
    """The sessions of one installation.

    Args:
        database: where the rows are.
        dice: randomness for tokens; the system's own.
        given: whom keys stand for that are in no table, by their hash.

    """

    def __init__(
        self, database: Database, *, dice: Random, given: Mapping[str, Principal] = _NONE_GIVEN
    ) -> None:
        self._database = database
        self._dice = dice
        self._given = given

    def open(self, key: str, key_id: str) -> str:
        """Log somebody in by a key that was found good; return the session's token: the only time that it is seen."""
        token = f"{self._dice.getrandbits(_BITS):0{_BITS // 4}x}"
        with self._database.write() as tx:
            tx.execute(delete(sessions).where(sessions.c.expires_at <= tx.now))
            row = {
                "digest": _digest(token),
                "key_id": key_id,
                "key_digest": keys.digest_of(key),
                "created_at": tx.now,
                "used_at": tx.now,
                "expires_at": tx.now + LIFETIME,
            }
            tx.execute(insert(sessions), row)
        return token

    def find(self, token: str, *, use: bool = True) -> Session | None:
        """Return whose session this is; None: there is none, or it or its key has ended.

        ``use``: whether this is a use that lengthens it, noted at most once a minute.
        """
        with self._database.read() as tx:
            row = tx.execute(select(sessions).where(sessions.c.digest == _digest(token))).first()
            principal = None if row is None or row.expires_at <= tx.now else self._holder(tx, row)
            fresh = row is not None and tx.now - row.used_at < USE_NOTED_EVERY
        if principal is None or fresh or not use:
            return None if principal is None else Session(principal)
        self._lengthen(row)
        return Session(principal, renewed=True)

    def close(self, token: str) -> None:
        """Log somebody out."""
        with self._database.write() as tx:
            tx.execute(delete(sessions).where(sessions.c.digest == _digest(token)))

    def _holder(self, tx: Transaction, row: Any) -> Principal | None:  # noqa: ANN401 - a row of sessions
        return self._given.get(row.key_digest) or keys.holder(tx, row.key_id, row.key_digest)

    def _lengthen(self, row: Any) -> None:  # noqa: ANN401 - a row of sessions
        with self._database.write() as tx:
            until = min(tx.now + LIFETIME, row.created_at + LONGEST)
            which = update(sessions).where(sessions.c.digest == row.digest, sessions.c.used_at <= tx.now)
            tx.execute(which.values(used_at=tx.now, expires_at=until))
            keys.note_use(tx, row.key_id)


def _digest(token: str) -> str:
    # A token of 256 random bits needs no slow hash: there is nothing to guess.
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()

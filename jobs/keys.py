"""API keys: shown once, kept as a hash, known by a visible prefix."""

import hashlib
import hmac
from dataclasses import dataclass
from random import Random
from typing import Final

from sqlalchemy import insert, select, update

from jobs.database import Database
from jobs.records import api_keys

_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_SECRET_LENGTH: Final = 40
SCOPES: Final = ("submit", "read", "operate", "admin")


@dataclass(frozen=True)
class Principal:
    """Who a key stands for, and what it may do."""

    key_id: str
    tenant: str
    scopes: frozenset[str]


def _draw(dice: Random, length: int) -> str:
    return "".join(dice.choice(_ALPHABET) for _ in range(length))


def _digest(key: str) -> str:
    # 200 bits from the system's dice need no slow hash: there is nothing to guess.
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(
    database: Database, *, tenant: str, name: str, dice: Random, scopes: tuple[str, ...] = SCOPES
) -> str:
    """Make a key and return it: the only time that it is seen."""
    prefix = f"nwk_{_draw(dice, 8)}"
    key = f"{prefix}_{_draw(dice, _SECRET_LENGTH)}"
    with database.write() as tx:
        row = {
            "id": prefix,
            "tenant_id": tenant,
            "name": name,
            "digest": _digest(key),
            "scopes": " ".join(scopes),
            "created_at": tx.now,
        }
        tx.execute(insert(api_keys), row)
    return key


def check(database: Database, key: str) -> Principal | None:
    """Return who ``key`` stands for; None: unknown, revoked or expired."""
    if not (key.isascii() and key.isprintable()):
        return None  # no key of ours, and nothing that every database takes
    prefix = key.rpartition("_")[0]
    with database.read() as tx:
        row = tx.execute(select(api_keys).where(api_keys.c.id == prefix)).first()
        now = tx.now
    if row is None or not hmac.compare_digest(row.digest, _digest(key)):
        return None
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return Principal(row.id, row.tenant_id, frozenset(row.scopes.split()))


def revoke(database: Database, key_id: str) -> bool:
    """Revoke a key by its prefix; False: there is no such key."""
    with database.write() as tx:
        which = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        return bool(tx.execute(which.values(revoked_at=tx.now)).rowcount)

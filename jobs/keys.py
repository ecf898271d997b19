"""API keys: shown once, kept as a hash, known by a visible prefix."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import and_, insert, or_, select, update

from jobs.database import Database, Transaction
from jobs.records import api_keys

_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_SECRET_LENGTH: Final = 40
SCOPES: Final = ("submit", "read", "operate", "admin")
"""submit: send fleets. read: look at one's own. operate: cancel, settle, change webhooks.
admin: look at the whole installation."""
USE_NOTED_EVERY: Final = timedelta(minutes=1)
"""A key in steady use is written down no more often than this."""


@dataclass(frozen=True)
class Principal:
    """Who a key stands for, and what it may do."""

    key_id: str
    tenant: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class KeyView:
    """A key as people see it: everything but its secret."""

    id: str
    """The visible prefix."""
    tenant: str
    name: str
    scopes: tuple[str, ...]
    state: str
    """``valid``, ``expired`` or ``revoked``."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """The last use, to the minute."""


def _draw(dice: Random, length: int) -> str:
    return "".join(dice.choice(_ALPHABET) for _ in range(length))


def digest_of(key: str) -> str:
    """Return the hash that stands for a key where it is kept."""
    # 200 bits from the system's dice need no slow hash: there is nothing to guess.
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def create_key(
    database: Database,
    *,
    tenant: str,
    name: str,
    dice: Random,
    scopes: Sequence[str] = SCOPES,
    lifetime: timedelta | None = None,
) -> str:
    """Make a key and return it: the only time that it is seen. ``lifetime``: None for ever."""
    prefix = f"nwk_{_draw(dice, 8)}"
    key = f"{prefix}_{_draw(dice, _SECRET_LENGTH)}"
    with database.write() as tx:
        row = {
            "id": prefix,
            "tenant_id": tenant,
            "name": name,
            "digest": digest_of(key),
            "scopes": " ".join(scope for scope in SCOPES if scope in scopes),
            "created_at": tx.now,
            "expires_at": None if lifetime is None else tx.now + lifetime,
        }
        tx.execute(insert(api_keys), row)
    return key


def key_id(key: str) -> str:
    """Return a key's visible prefix."""
    return key.rpartition("_")[0]


def check(database: Database, key: str) -> Principal | None:
    """Return who ``key`` stands for; None: unknown, revoked or expired. Its use is noted, at most once a minute."""
    if not (key.isascii() and key.isprintable()):
        return None  # no key of ours, and nothing that every database takes
    with database.read() as tx:
        row = tx.execute(select(api_keys).where(api_keys.c.id == key_id(key))).first()
        now = tx.now
    if row is None or not _opens(row, digest_of(key), now):
        return None
    if row.used_at is None or now - row.used_at >= USE_NOTED_EVERY:
        with database.write() as tx:
            note_use(tx, row.id)
    return _principal(row)


def holder(tx: Transaction, prefix: str, digest: str) -> Principal | None:
    """Return who the key with this prefix and this hash stands for; None: unknown, revoked or expired."""
    row = tx.execute(select(api_keys).where(api_keys.c.id == prefix)).first()
    return None if row is None or not _opens(row, digest, tx.now) else _principal(row)


def _opens(row: Any, digest: str, now: datetime) -> bool:  # noqa: ANN401 - a row of api_keys
    return hmac.compare_digest(row.digest, digest) and _state(row, now) == "valid"


def _principal(row: Any) -> Principal:  # noqa: ANN401 - a row of api_keys
    return Principal(row.id, row.tenant_id, frozenset(row.scopes.split()))


def note_use(tx: Transaction, prefix: str) -> None:
    """Note that a key was used, unless somebody did so within the last minute."""
    # Of many requests at once one writes, and none writes a moment that is older than what is there.
    unnoted = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at <= tx.now - USE_NOTED_EVERY)
    tx.execute(update(api_keys).where(api_keys.c.id == prefix, unnoted).values(used_at=tx.now))


def _state(row: Any, now: datetime) -> str:  # noqa: ANN401 - a row of api_keys
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "valid"


def list_keys(tx: Transaction, *, tenant: str | None = None) -> list[KeyView]:
    """Return the keys of a tenant, or of all, oldest first."""
    statement = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
    if tenant is not None:
        statement = statement.where(api_keys.c.tenant_id == tenant)
    return [_view(row, tx.now) for row in tx.execute(statement)]


def _view(row: Any, now: datetime) -> KeyView:  # noqa: ANN401 - a row of api_keys
    return KeyView(
        id=row.id,
        tenant=row.tenant_id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        state=_state(row, now),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
    )


def find_key(tx: Transaction, prefix: str) -> KeyView | None:
    """Return the key with this visible prefix."""
    row = tx.execute(select(api_keys).where(api_keys.c.id == prefix)).first()
    return None if row is None else _view(row, tx.now)


def any_valid(tx: Transaction) -> bool:
    """Whether there is a key that opens anything."""
    unexpired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > tx.now)
    valid = select(api_keys.c.id).where(and_(api_keys.c.revoked_at.is_(None), unexpired)).limit(1)
    return tx.execute(valid).first() is not None


def revoke(database: Database, prefix: str) -> bool:
    """Revoke a key by its prefix; False: there is no such key, or it was revoked before."""
    with database.write() as tx:
        which = update(api_keys).where(api_keys.c.id == prefix, api_keys.c.revoked_at.is_(None))
        return bool(tx.execute(which.values(revoked_at=tx.now)).rowcount)

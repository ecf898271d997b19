"""Linode accounts and their tokens. A token's secret is sealed before it comes here, and nothing here shows one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from jobs import admission
from jobs.admission import Limit
from jobs.database import Transaction
from jobs.records import accounts, rate_windows, tenant_accounts, tokens
from jobs.vault import Vault


@dataclass(frozen=True)
class TokenView:
    """A token as people see it."""

    id: str
    """Its fingerprint."""
    sealed: bool
    """Whether the database keeps it; else it is the one that the setting ``LINODE_TOKEN`` gave some worker."""
    created_at: datetime


@dataclass(frozen=True)
class AccountView:
    """An account, its tokens, and the tenants that were given it."""

    id: str
    euuid: str | None
    paused_code: str | None
    paused_reason: str | None
    tokens: tuple[TokenView, ...]
    tenants: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True)
class StoredToken:
    """A token of the database, still sealed."""

    id: str
    account_id: str
    sealed: bytes


def fingerprint(token: str) -> str:
    """Return a token's name in the database: it tells tokens apart and reveals none."""
    # Tokens are long and random, so that there is nothing to guess.
    return hashlib.sha256(b"nodewright token\0" + token.encode()).hexdigest()[:16]


def seal(vault: Vault, token: str) -> bytes:
    """Return a token as the table keeps it."""
    return vault.seal({"token": token})


def unseal(vault: Vault, sealed: bytes) -> str:
    """Return a token that :func:`seal` sealed.

    Raises:
        UnreadableSecretError: none of the keys fits.

    """
    return str(vault.open(sealed)["token"])


def exists(tx: Transaction, account: str) -> bool:
    """Whether there is an account of this name."""
    return tx.execute(select(accounts.c.id).where(accounts.c.id == account)).first() is not None


def known_as(tx: Transaction, euuid: str) -> str | None:
    """Return the name under which a Linode account is known, or None."""
    name: str | None = tx.execute(select(accounts.c.id).where(accounts.c.euuid == euuid)).scalar()
    return name


def owner_of(tx: Transaction, token: str) -> str | None:
    """Return the account that a token belongs to, or None where the token is not known."""
    name: str | None = tx.execute(select(tokens.c.account_id).where(tokens.c.id == token)).scalar()
    return name


def learn_euuid(tx: Transaction, account: str, euuid: str | None) -> None:
    """Remember which Linode account this is. What is known stays."""
    unknown = (accounts.c.id == account, accounts.c.euuid.is_(None))
    if euuid is not None:
        tx.execute(update(accounts).where(*unknown).values(euuid=euuid))


def add_token(tx: Transaction, account: str, token: str, sealed: bytes) -> None:
    """Add a token, and its account where that is new. A token that is known is sealed anew."""
    admission.register(tx, account_id=account, token_id=token, limits={})
    tx.execute(update(tokens).where(tokens.c.id == token).values(sealed=sealed))


def remove_token(tx: Transaction, token: str) -> bool:
    """Forget a token and its windows; False: there is none of this id. Creates under way with it end as they end."""
    # Taken first: a worker that is about to write windows for it comes before or after this, not between.
    tx.execute(select(tokens.c.id).where(tokens.c.id == token).with_for_update())
    tx.execute(delete(rate_windows).where(rate_windows.c.token_id == token))
    return bool(tx.execute(delete(tokens).where(tokens.c.id == token)).rowcount)


def stored_tokens(tx: Transaction, account: str | None = None) -> list[StoredToken]:
    """Return the tokens that the database keeps, of one account or of all."""
    statement = select(tokens.c.id, tokens.c.account_id, tokens.c.sealed).where(tokens.c.sealed.is_not(None))
    if account is not None:
        statement = statement.where(tokens.c.account_id == account)
    return [StoredToken(*row) for row in tx.execute(statement.order_by(tokens.c.account_id, tokens.c.id))]


def open_windows(tx: Transaction, token: StoredToken, limits: dict[str, Sequence[Limit]]) -> None:
    """Make sure that a token of the database has its windows. One that was removed meanwhile stays away."""
    still = select(tokens.c.id).where(tokens.c.id == token.id).with_for_update()
    if tx.execute(still).first() is not None:
        admission.register(tx, account_id=token.account_id, token_id=token.id, limits=limits)


def list_accounts(tx: Transaction) -> list[AccountView]:
    """Return every account."""
    return [_view(tx, row) for row in tx.execute(select(accounts).order_by(accounts.c.id)).all()]


def _view(tx: Transaction, row: Any) -> AccountView:  # noqa: ANN401 - a row of accounts
    columns = (tokens.c.id, tokens.c.sealed.is_not(None), tokens.c.created_at)
    own = select(*columns).where(tokens.c.account_id == row.id).order_by(tokens.c.created_at, tokens.c.id)
    users = select(tenant_accounts.c.tenant_id).where(tenant_accounts.c.account_id == row.id)
    return AccountView(
        id=row.id,
        euuid=row.euuid,
        paused_code=row.paused_code,
        paused_reason=row.paused_reason,
        tokens=tuple(TokenView(one[0], bool(one[1]), one[2]) for one in tx.execute(own)),
        tenants=tuple(tx.execute(users.order_by(tenant_accounts.c.tenant_id)).scalars()),
        created_at=row.created_at,
    )

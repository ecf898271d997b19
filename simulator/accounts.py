"""Tokens and the accounts behind them: labels and instances belong to accounts, rate limits to tokens."""

import hashlib
from dataclasses import dataclass

DEFAULT_TOKEN = "simulated-token"  # noqa: S105  # it opens nothing but this simulator
DEFAULT_ACCOUNT = "simulated"
READ_WRITE = "read_write"
EVERY_SCOPE = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class Token:
    """One credential. ``scopes`` are like ``linodes:read_write``; ``*`` is every scope."""

    value: str
    account: str = DEFAULT_ACCOUNT
    scopes: frozenset[str] = EVERY_SCOPE

    def allows(self, scope: str) -> bool:
        """Whether a call that needs ``scope`` is allowed; read_write includes read_only."""
        if self.scopes & {"*", scope}:
            return True
        return f"{scope.partition(':')[0]}:{READ_WRITE}" in self.scopes

    def shown_scopes(self) -> str:
        """The value of X-OAuth-Scopes."""
        return " ".join(sorted(self.scopes))


def euuid(account: str) -> str:
    """Return an account's own id, in the API's form."""
    digits = hashlib.sha256(account.encode()).hexdigest()[:32].upper()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}"


def parse_token(text: str) -> Token:
    """Read ``TOKEN[@ACCOUNT][:SCOPE,SCOPE]``, e.g. ``t1@acme:linodes:read_write,events:read_only``."""
    name, _, scopes = text.partition(":")
    value, _, account = name.partition("@")
    if not value:
        raise ValueError(f"token: expected TOKEN[@ACCOUNT][:SCOPE,SCOPE], got {text!r}")
    wanted = frozenset(filter(None, scopes.split(","))) or EVERY_SCOPE
    return Token(value, account or DEFAULT_ACCOUNT, wanted)

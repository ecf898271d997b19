"""The engines of one worker: one for each token that it can use, of whichever account.

The tokens are the one that the worker was started with (the setting ``LINODE_TOKEN``) and those that the database
keeps, sealed. Every worker serves all of them: a grant names the token that it is for, and that token's engine sends.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import accounts, admission, resting, transitions
from jobs.accounts import StoredToken, fingerprint
from jobs.admission import Limit
from jobs.database import Database, Transaction
from jobs.vault import UnreadableSecretError, Vault
from worker.engine import Engine

Make = Callable[[str, str, str], Engine]
"""Makes the engine of an account, a token's id and its secret."""


@dataclass(frozen=True)
class Own:
    """The token that the worker was started with, and the account that it is for."""

    account_id: str
    token: str


class Crew:
    """Knows the engine of each token, and learns of tokens that come and go.

    Args:
        database: where the tokens are.
        vault: opens them; None: only the worker's own is used.
        own: the worker's own token, or None.
        make: makes an engine.
        limits: the limits of each route, for windows that have no row yet.
        log: a structlog logger.

    """

    def __init__(
        self,
        database: Database,
        vault: Vault | None,
        own: Own | None,
        make: Make,
        *,
        limits: dict[str, Sequence[Limit]],
        log: Any,  # noqa: ANN401 - a structlog logger
    ) -> None:
        self._database = database
        self._vault = vault
        self._own = own
        self._make = make
        self._limits = limits
        self._log = log
        self._lock = threading.Lock()
        self._engines: dict[str, Engine] = {}
        self._unreadable: set[str] = set()
        self._refused: set[str] = set()

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Every engine, the own token's first."""
        return tuple(self._engines.values())

    @property
    def of_accounts(self) -> tuple[Engine, ...]:
        """One engine for each account, which does its chores: with a token that is not refused, if there is one."""
        best = sorted(self.engines, key=lambda one: one.identity.token_id in self._refused)
        return tuple({one.identity.account_id: one for one in reversed(best)}.values())

    def look(self) -> bool:
        """Read anew which tokens there are; return whether they are others."""
        with self._lock:
            with self._database.read() as tx:
                stored = [] if self._vault is None else accounts.stored_tokens(tx)
                self._refused = resting.refused(tx)
            if self._refused:
                with self._database.write() as tx:
                    resting.settle(tx)
            found = self._own_engine()
            found = found | {one.id: engine for one in stored if (engine := self._known(one)) is not None}
            changed = found.keys() != self._engines.keys()
            if changed:
                self._register(stored)
                # What goes is not closed: a create may be under way with it.
                self._engines = found
            return changed

    def create(self, job_id: str) -> str:
        """Carry a dispatched job through its create, by the engine of its grant; return what happened, in a word."""
        engine = self._engine_for(job_id)
        return "not mine" if engine is None else engine.create(job_id)

    def _engine_for(self, job_id: str) -> Engine | None:
        engines = self._engines
        if len(engines) == 1:
            return next(iter(engines.values()))  # it looks itself whether the grant is its own
        with self._database.read() as tx:
            token = transitions.token_of(tx, job_id)
        if token is not None and token not in engines and self.look():
            engines = self._engines
        return engines.get(token or "")

    def _own_engine(self) -> dict[str, Engine]:
        if self._own is None:
            return {}
        token = fingerprint(self._own.token)
        engine = self._engines.get(token) or self._make(self._own.account_id, token, self._own.token)
        return {token: engine}

    def _known(self, token: StoredToken) -> Engine | None:
        if token.id in self._engines:
            return self._engines[token.id]
        if self._own is not None and token.id == fingerprint(self._own.token):
            return None  # it is there already
        try:
            secret = "" if self._vault is None else accounts.unseal(self._vault, token.sealed)
        except UnreadableSecretError:
            self._complain(token)
            return None
        return self._make(token.account_id, token.id, secret)

    def _complain(self, token: StoredToken) -> None:
        if token.id not in self._unreadable:
            self._unreadable.add(token.id)
            words = "a token cannot be opened with NODEWRIGHT_ENCRYPTION_KEYS, so it is not used"
            self._log.warning(words, account=token.account_id, token=token.id)

    def _register(self, stored: Sequence[StoredToken]) -> None:
        with self._database.write() as tx:
            self._register_own(tx)
            for token in stored:
                accounts.open_windows(tx, token, self._limits)

    def _register_own(self, tx: Transaction) -> None:
        if self._own is not None:
            token = fingerprint(self._own.token)
            admission.register(tx, account_id=self._own.account_id, token_id=token, limits=self._limits)

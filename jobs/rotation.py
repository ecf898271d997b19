"""Sealing every secret of the database anew, so that an old encryption key can go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, select, update

from jobs.database import Database, Transaction
from jobs.records import fleets, tokens, webhooks
from jobs.vault import UnreadableSecretError, Vault

_CHUNK: Final = 200


@dataclass(frozen=True)
class Rotated:
    """How many secrets are sealed with the newest key now, and how many no key opens."""

    tokens: int
    fleets: int
    unreadable: int
    webhooks: int = 0


def rotate(database: Database, vault: Vault) -> Rotated:
    """Seal every token, the secrets of every fleet that still needs them, and endpoints' with the newest key.

    It can be run again, and beside service and workers: what is erased meanwhile stays erased.
    """
    seal = _Sealer(vault)
    done = {table.name: _rotate_table(database, table, seal) for table in (tokens, fleets, webhooks)}
    return Rotated(**done, unreadable=seal.unreadable)


class _Sealer:
    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.unreadable = 0

    def __call__(self, sealed: bytes) -> bytes | None:
        try:
            return self._vault.rotate(sealed)
        except UnreadableSecretError:
            self.unreadable += 1
            return None


def _rotate_table(database: Database, table: Table, seal: Callable[[bytes], bytes | None]) -> int:
    done, last = 0, ""
    while True:
        with database.write() as tx:
            rows = _some(tx, table, last)
            done += sum(_replace(tx, table, row, seal(row.sealed)) for row in rows)
        if not rows:
            return done
        last = rows[-1].id


def _some(tx: Transaction, table: Table, last: str) -> list[Any]:
    sealed = select(table.c.id, table.c.sealed).where(table.c.sealed.is_not(None)).order_by(table.c.id)
    return list(tx.execute((sealed.where(table.c.id > last) if last else sealed).limit(_CHUNK)))


def _replace(tx: Transaction, table: Table, row: Any, sealed: bytes | None) -> int:  # noqa: ANN401 - a row
    if sealed is None:
        return 0
    # Only what is still there as it was read: in between it may have been erased.
    same = (table.c.id == row.id, table.c.sealed == row.sealed)
    return int(tx.execute(update(table).where(*same).values(sealed=sealed)).rowcount)

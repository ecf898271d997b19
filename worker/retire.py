"""Retire: forgets fleets that ended long ago, after it has written them to the archive."""

import gzip
import json
import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from jobs import retirement
from jobs.chores import Claim
from jobs.database import Database, Transaction

_EVERY: Final = timedelta(hours=1)
_AGAIN: Final = timedelta(minutes=10)
_FLEETS_AT_ONCE: Final = 20
_MOST_BATCHES: Final = 100
"""So many transactions in one run; then other chores have their turn."""


class Retire:
    """Retires fleets whose last change is older than ``keep`` (None: none), and deletes retired ones.

    ``archive``: the folder that each is written to before; None: they are forgotten altogether.
    """

    name = "retire"
    lease = timedelta(minutes=10)

    def __init__(
        self,
        database: Database,
        keep: timedelta | None,
        archive: Path | None = None,
        *,
        log: Any = None,  # noqa: ANN401 - a structlog logger
    ) -> None:
        self._database = database
        self._keep = None if keep is None else max(keep, retirement.SHORTEST)
        self._archive = archive
        self._log: Any = structlog.get_logger("worker.retire") if log is None else log

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return now where fleets are to be forgotten at all, or one is being forgotten."""
        return tx.now if self._keep is not None or retirement.any_retired(tx) else None

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Do some of it; return when to go on."""
        busy = not self._forget() or self._retire_some()
        with self._database.read() as tx:
            return tx.now if busy else tx.now + _EVERY

    def retry(self, claim: Claim, now: datetime) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Return when to try again after it broke off, as when the archive's disk is full."""
        return now + _AGAIN

    def _forget(self) -> bool:
        """Delete what is retired, in short transactions; False: something is left."""
        for _ in range(_MOST_BATCHES):
            with self._database.write() as tx:
                if not retirement.forget_some(tx):
                    return True
        return False

    def _retire_some(self) -> bool:
        if self._keep is None:
            return False
        with self._database.read() as tx:
            found = retirement.candidates(tx, self._keep, limit=_FLEETS_AT_ONCE)
        retired = [self._retire(fleet_id, self._keep) for fleet_id in found]
        return any(retired)

    def _retire(self, fleet_id: str, keep: timedelta) -> bool:
        path = None if self._archive is None else write_archive(self._database, fleet_id, self._archive)
        with self._database.write() as tx:
            retired = retirement.retire(tx, fleet_id, keep)
        if not retired and path is not None:
            path.unlink()
        self._log.info(
            "a fleet is forgotten" if retired else "a fleet is kept", fleet=fleet_id, archive=str(path)
        )
        return retired


def write_archive(database: Database, fleet_id: str, folder: Path) -> Path:
    """Write a fleet to ``folder`` and return the file, which is there as a whole, and on the disk, or not at all.

    What is written before the fleet is retired is all of it: had anything changed since, it would not be retired.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{fleet_id}.jsonl.gz"
    part = folder / f".{fleet_id}.{os.getpid()}.part"
    try:
        with open(part, "wb", opener=_for_us_only) as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
                for document in retirement.archived(database, fleet_id):
                    packed.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
        _sync(folder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _for_us_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    """Put the folder's own list of files on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

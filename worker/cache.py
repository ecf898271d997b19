"""Catalogs in Redis, for readers: written by the one worker that refreshed them, lost without harm.

The database keeps the last good copy; a reader that finds nothing in Redis reads that. Each process remembers the value
it built, so that most reads cost one short look at the version.
"""

import json
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import redis

from jobs import house
from jobs.catalog import Catalog
from jobs.database import Database

_KEY: Final = "nodewright:catalog:{account}"
_VERSION: Final = "nodewright:catalog-version:{account}"
_TRUST_SECONDS: Final = 1.0
"""For so long a process takes its own copy to be current without asking."""


def connect(url: str) -> redis.Redis:
    """Return a client that gives up quickly: the cache is never worth waiting for."""
    return redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)


class CatalogCache:
    """The writer's and the readers' side of the cache."""

    def __init__(self, database: Database, client: redis.Redis, *, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._redis = client
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Catalog]] = {}

    def offer(self, account_id: str, catalog: Catalog, parts: dict[str, list[dict[str, Any]]]) -> None:
        """Put a fresh catalog where readers find it. Without Redis they read the database."""
        document = {"version": catalog.version, "fetched_at": catalog.fetched_at.isoformat(), "parts": parts}
        packed = zlib.compress(json.dumps(document, separators=(",", ":")).encode())
        self._known[account_id] = (self._monotonic(), catalog)
        try:
            pipe = self._redis.pipeline()
            pipe.set(_KEY.format(account=account_id), packed)
            pipe.set(_VERSION.format(account=account_id), catalog.version)
            pipe.execute()
        except redis.RedisError:
            return

    def __call__(self, account_id: str) -> Catalog | None:
        """Return the account's catalog, however old; None while there never was one."""
        known = self._known.get(account_id)
        now = self._monotonic()
        if known is not None and now - known[0] < _TRUST_SECONDS:
            return known[1]
        mine = known[1] if known else None
        catalog = self._from_redis(account_id, mine) or self._from_database(account_id, mine)
        if catalog is not None:
            self._known[account_id] = (now, catalog)
        return catalog

    def _from_redis(self, account_id: str, known: Catalog | None) -> Catalog | None:
        try:
            version: Any = self._redis.get(_VERSION.format(account=account_id))
            if version is not None and known is not None and version == known.version.encode():
                return known
            packed: Any = None if version is None else self._redis.get(_KEY.format(account=account_id))
        except redis.RedisError:
            return None
        return None if packed is None else _unpack(packed)

    def _from_database(self, account_id: str, known: Catalog | None) -> Catalog | None:
        with self._database.read() as tx:
            if known is not None and house.catalog_version(tx, account_id) == known.version:
                return known
            return house.load_catalog(tx, account_id)


def _unpack(packed: bytes) -> Catalog | None:
    try:
        document = json.loads(zlib.decompress(packed))
        fetched_at = datetime.fromisoformat(document["fetched_at"])
        return Catalog.from_rows(**document["parts"], version=document["version"], fetched_at=fetched_at)
    except (ValueError, KeyError, TypeError, zlib.error):
        # Another version of ours wrote it, or somebody else: the database has the truth.
        return None

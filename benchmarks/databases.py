"""Databases for measurements: SQLite in a folder, and a real PostgreSQL that is as durable as in production."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select, update

from jobs import admission, house
from jobs.admission import CREATE, Limit
from jobs.database import Database
from jobs.fleets import Guards
from jobs.records import accounts, installation
from jobs.schema import upgrade
from tests.support.postgres import PostgresServer

ACCOUNT = "default"
TENANT = "default"
TOKEN = "a-token"
DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
CATALOG: Mapping[str, list[dict[str, Any]]] = {
    "types": [
        {
            "id": "g6-nanode-1",
            "class": "nanode",
            "disk": 25600,
            "memory": 1024,
            "vcpus": 1,
            "price": {"hourly": 0.0075, "monthly": 5.0},
        }
    ],
    "regions": [{"id": "us-east", "capabilities": ["Linodes"], "status": "ok"}],
    "images": [{"id": "linode/debian12", "size": 1500, "capabilities": []}],
    "availability": [{"region": "us-east", "plan": "g6-nanode-1", "available": True}],
}
ROOMY = Guards(max_instances=10**8, max_hourly_microusd=10**15, max_count=10**6)


@contextmanager
def database(engine: str, folder: Path) -> Iterator[Database]:
    """Open a fresh database that is migrated and moved into. ``engine``: ``sqlite`` or ``postgresql``."""
    if engine == "sqlite":
        with _opened(f"sqlite:///{folder / 'jobs.db'}") as found:
            yield found
        return
    server = PostgresServer(DURABLE)
    try:
        with _opened(server.url(server.create())) as found:
            yield found
    finally:
        server.remove()


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    opened = Database(url)
    try:
        upgrade(opened, dice=Random(0))
        _move_in(opened)
        yield opened
    finally:
        opened.close()


def _move_in(opened: Database) -> None:
    """Register an account without a limit, open admission, and store a catalog."""
    with opened.write() as tx:
        admission.register(tx, account_id=ACCOUNT, token_id=TOKEN, limits={CREATE: (Limit(0, 1.0),)})
        epoch = tx.execute(select(installation.c.epoch)).scalar_one()
        tx.execute(update(accounts).where(accounts.c.id == ACCOUNT).values(epoch=epoch))
        house.store_catalogs(tx, ACCOUNT, CATALOG)

"""The schema's versions: migrations from the first day, applied by ``upgrade``."""

import threading
from pathlib import Path
from random import Random
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select

from jobs import house
from jobs.database import Database

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_MIGRATING: Final = threading.Lock()  # Alembic's context is one for the whole process
_LOCK_NUMBER: Final = 0x6E6F6465  # any number, as long as it is always the same


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def upgrade(database: Database, *, dice: Random) -> None:
    """Bring the database to the newest version and make sure that the installation has its rows.

    All of it is one transaction, and parts that start together take turns.
    """
    config = _config()
    with _MIGRATING, database.write() as tx:
        if not tx.on_sqlite:
            tx.execute(select(func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        config.attributes["connection"] = tx.connection
        command.upgrade(config, "head")
        house.settle_in(tx, dice=dice)


def is_current(database: Database) -> bool:
    """Whether the database is at the newest version."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    with database.engine.connect() as connection, connection.begin():
        return MigrationContext.configure(connection).get_current_revision() == newest

"""The schema's versions: migrations from the first day, applied by ``upgrade``."""

from pathlib import Path
from random import Random
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jobs import house
from jobs.database import Database

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def upgrade(database: Database, *, dice: Random) -> None:
    """Bring the database to the newest version and make sure that the installation has its rows."""
    config = _config()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, "head")
    with database.write() as tx:
        house.settle_in(tx, dice=dice)


def is_current(database: Database) -> bool:
    """Whether the database is at the newest version."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    with database.engine.connect() as connection, connection.begin():
        return MigrationContext.configure(connection).get_current_revision() == newest

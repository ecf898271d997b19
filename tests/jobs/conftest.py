import shutil
from random import Random

import pytest
from sqlalchemy import text

from jobs import house
from jobs.database import Database
from jobs.schema import upgrade
from jobs.tables import metadata
from tests.support.clock import FakeClock
from tests.support.postgres import running_postgres


def migrate(url):
    """Bring a database to the newest version, at the moment at which every test's clock starts."""
    database = Database(url, clock=FakeClock())
    upgrade(database, dice=Random(0))
    database.close()


def empty(url):
    """Delete every row, and settle in anew."""
    database = Database(url, clock=FakeClock())
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with database.write() as tx:
        tx.execute(text("SET LOCAL lock_timeout = '10s'"))
        tx.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        house.settle_in(tx, dice=Random(0))
    database.close()


@pytest.fixture
def clock():
    """The database's clock; a test moves it."""
    return FakeClock()


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL server for the whole run (under xdist: for each worker)."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres):
    """The address of a migrated PostgreSQL database, which tests use one after the other."""
    url = postgres.url(postgres.create())
    migrate(url)
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """A migrated file that others are copied from."""
    path = tmp_path_factory.mktemp("template") / "jobs.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path):
    """A fresh SQLite database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'jobs.db')}"


@pytest.fixture
def postgres_url(migrated_postgres):
    """A PostgreSQL database as it was after its migration: emptied, which is quicker than a new one."""
    empty(migrated_postgres)
    return migrated_postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request):
    """A fresh database on each engine in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(database_url, clock):
    """A fresh database on each engine in turn, opened, with the test's clock."""
    database = Database(database_url, clock=clock)
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres_url, clock):
    """A fresh PostgreSQL database, opened, with the test's clock."""
    database = Database(postgres_url, clock=clock)
    yield database
    database.close()


def pytest_collection_modifyitems(items):
    """Mark what needs PostgreSQL by itself, where no parameter says so."""
    for item in items:
        if {"postgres", "postgres_url", "postgres_database"} & set(item.fixturenames):
            item.add_marker(pytest.mark.postgres)

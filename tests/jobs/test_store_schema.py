import threading
from datetime import datetime, timedelta, timezone
from random import Random

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from jobs.database import Database, normalise_url
from jobs.records import accounts, chores, fleets, installation, jobs, rate_windows, tenants
from jobs.schema import is_current, upgrade
from jobs.states import State
from jobs.tables import metadata
from tests.support.clock import FakeClock
from tests.support.fleets import (
    add_fleet,
    add_job,
    job_columns,
    job_row,
    move_in,
    set_job,
)

RESULT_COLUMNS = [
    *(
        "id",
        "fleet_id",
        "fleet",
        "tenant",
        "account",
        "position",
        "label",
        "type",
        "region",
        "image",
        "state",
    ),
    *("linode_id", "ipv4", "ipv6", "got_type", "got_region", "attempts", "sends"),
    *("error_code", "error_reason", "error_field", "hourly_usd"),
    *("submitted_at", "dispatched_at", "sent_at", "created_at", "running_at", "ended_at"),
    *("seconds_waited", "seconds_creating", "seconds_booting", "spent_usd", "wasted_usd"),
    *("expires_at", "changed_at"),
]
"""What people query stays: a column that is taken away, or moved, breaks their queries."""


def empty_url(kind, request, tmp_path):
    """Return the address of a database without a schema."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server = request.getfixturevalue("postgres")
    name = server.create()
    request.addfinalizer(lambda: server.drop(name))
    return server.url(name)


each_engine = pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)


def test_migrations_make_the_tables_that_the_code_declares(database):
    """The migrated database and the declared tables differ in nothing."""
    assert is_current(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, metadata)
    if database.on_sqlite:  # whose descending columns Alembic cannot read
        assert {change[1].name for change in differences} == {"ix_jobs_ready"}
        with database.read() as tx:
            words = tx.execute(
                text("SELECT sql FROM sqlite_master WHERE name = 'ix_jobs_ready'")
            ).scalar_one()
        assert "(account_id, tenant_id, priority DESC, id)" in words
    else:
        assert differences == []


def test_indexes_keep_their_conditions(database):
    """Each partial index stands in the database with its condition, which Alembic does not compare."""
    declared = {
        index.name: index.dialect_options["sqlite"]["where"].text
        for table in metadata.sorted_tables
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    found = {
        index["name"]: index["dialect_options"][f"{database.engine.dialect.name}_where"]
        for table in metadata.sorted_tables
        for index in inspect(database.engine).get_indexes(table.name)
        if index.get("dialect_options", {}).get(f"{database.engine.dialect.name}_where") is not None
    }
    assert found.keys() == declared.keys()
    if database.on_sqlite:
        assert {name: str(where) for name, where in found.items()} == declared


@each_engine
def test_upgrading_from_nothing_and_again(kind, request, tmp_path):
    """A fresh database becomes current, with its installation and tenant; upgrading again changes nothing."""
    database = Database(empty_url(kind, request, tmp_path), clock=FakeClock())
    assert not is_current(database)
    upgrade(database, dice=Random(1))
    with database.read() as tx:
        house = tx.execute(select(installation)).one()
        assert len(tx.execute(select(tenants)).all()) == 1
    upgrade(database, dice=Random(2))
    with database.read() as tx:
        assert tx.execute(select(installation)).one() == house
    database.close()


@each_engine
def test_two_processes_upgrade_at_once(kind, request, tmp_path):
    """Several parts that start together on a fresh database all find it upgraded, once."""
    databases = [Database(empty_url(kind, request, tmp_path), clock=FakeClock())]
    databases += [Database(databases[0].url.render_as_string(), clock=FakeClock()) for _ in range(2)]
    barrier, errors = threading.Barrier(3), []

    def run(seed, database):
        barrier.wait()
        try:
            upgrade(database, dice=Random(seed))
        except Exception as error:  # noqa: BLE001 - the test judges it
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(databases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with databases[0].read() as tx:
        assert len(tx.execute(select(installation)).all()) == 1
    for database in databases:
        database.close()


# What a table refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (State.QUEUED, {"state": "asleep"}),
        (State.QUEUED, {"state": ""}),
        (State.QUEUED, {"version": 0}),
        (State.QUEUED, {"attempt": 0}),
        (State.QUEUED, {"ending": "explode"}),
        (State.BOOTING, {"linode_id": None}),
        (State.RUNNING, {"linode_id": None}),
        (State.DELETING, {"linode_id": None}),
        (State.CREATING, {"lease_until": None}),
        (State.FAILED, {"error_code": None}),
        (State.QUEUED, {"fleet_id": "00000000-0000-7000-8000-000000000000"}),
    ],
)
def test_a_job_that_cannot_be_is_refused(database, state, columns):
    """The table itself refuses rows that no transition makes, whoever writes them."""
    fleet = add_fleet(database)
    good = job_row(database, fleet, state)
    with pytest.raises(IntegrityError), database.write() as tx:
        tx.execute(insert(jobs), {**good, **columns})
    with database.write() as tx:
        tx.execute(insert(jobs), good)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (tenants, {"weight": 0}),
        (tenants, {"alive": -1}),
        (tenants, {"hourly_microusd": -1}),
        (rate_windows, {"allowed": -1}),
        (rate_windows, {"spent": -1}),
        (rate_windows, {"seconds": 0}),
        (fleets, {"count": 0}),
        (fleets, {"tenant_id": "nobody"}),
        (installation, {"row": 2}),
    ],
)
def test_other_rows_that_cannot_be_are_refused(database, table, columns):
    """Guards, windows, fleets and the installation have their own limits."""
    move_in(database)
    add_fleet(database)
    with pytest.raises(IntegrityError), database.write() as tx:
        tx.execute(update(table).values(**columns))


def test_a_label_belongs_to_one_open_job_of_an_account(database):
    """Two jobs that may still own an instance cannot share a label in one account; others can."""
    fleet = add_fleet(database)
    add_job(database, State.QUEUED, fleet_id=fleet, label="web")
    for state in set(State) - {State.REJECTED, State.CANCELLED, State.DELETED, State.FAILED}:
        with pytest.raises(IntegrityError):
            add_job(database, state, fleet_id=fleet, position=2, label="web")
    with pytest.raises(IntegrityError):
        add_job(database, State.FAILED, fleet_id=fleet, position=2, label="web", linode_id=9)
    ended = (State.REJECTED, State.CANCELLED, State.DELETED, State.FAILED)
    for position, state in enumerate(ended, start=2):
        add_job(database, state, fleet_id=fleet, position=position, label="web")
    add_job(database, State.QUEUED, fleet_id=fleet, position=9, label="web", account_id="another")


def test_an_instance_has_one_owner(database):
    """Two jobs of an account cannot own one instance."""
    fleet = add_fleet(database)
    add_job(database, State.RUNNING, fleet_id=fleet, linode_id=7)
    with pytest.raises(IntegrityError):
        add_job(database, State.BOOTING, fleet_id=fleet, position=2, linode_id=7)
    add_job(database, State.BOOTING, fleet_id=fleet, position=2, linode_id=7, account_id="another")


# What people query ---------------------------------------------------------------------------------------------------


def test_the_results_view(database, clock):
    """The view for people has its columns, its durations in seconds and its price in dollars, on both engines."""
    job = add_job(database, State.RUNNING)
    moments = {"submitted_at": 0, "sent_at": 1.5, "created_at": 4, "running_at": 44.25}
    set_job(database, job.id, **{name: clock.at(seconds) for name, seconds in moments.items()})
    with database.read() as tx:
        row = tx.execute(text("SELECT * FROM job_results")).one()
    assert list(row._mapping) == RESULT_COLUMNS
    durations = [float(row.seconds_waited), float(row.seconds_creating), float(row.seconds_booting)]
    assert durations == pytest.approx([1.5, 2.5, 40.25], abs=0.002)
    assert (row.fleet, float(row.hourly_usd), row.attempts) == ("made", 0.0075, 1)
    assert float(row.spent_usd) >= 0.0075


# The door ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///x.db", "sqlite+pysqlite"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg"),
    ],
)
def test_the_driver_is_ours(url, driver):
    """Whatever driver an address names, the project's own is used."""
    assert normalise_url(url).drivername == driver


@pytest.mark.parametrize("url", ["mysql://u:s3cret@h/d", "postgres:/s3cret", "s3cret", ""])
def test_other_addresses_are_refused_without_their_password(url):
    """An address of another kind is a ValueError that does not quote it."""
    with pytest.raises(ValueError, match="expected") as caught:
        normalise_url(url)
    assert "s3cret" not in str(caught.value)


def test_a_database_shows_no_password():
    """The repr of a database hides the password."""
    database = Database("postgresql://u:s3cret@h/d")
    assert "s3cret" not in repr(database)
    database.close()


def test_moments_are_aware_and_utc(database):
    """Any zone goes in, UTC comes out, to the microsecond, and a naive moment is refused."""
    job = add_job(database, State.QUEUED)
    zone = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=zone)
    set_job(database, job.id, run_after=moment)
    found = job_columns(database, job.id)["run_after"]
    assert (found, found.utcoffset()) == (moment, timedelta(0))
    with pytest.raises(StatementError, match="expected an aware datetime"):
        set_job(database, job.id, run_after=moment.replace(tzinfo=None))


def test_moments_compare_as_time(database, clock):
    """Moments compare in the database as time, also across their length as text."""
    job = add_job(database, State.QUEUED)
    for one, other, earlier in ((0.0, 0.5, True), (0.5, 0.0, False), (0.1, 0.25, True), (9, 10, True)):
        set_job(database, job.id, run_after=clock.at(one))
        with database.read() as tx:
            before = select(jobs.c.id).where(jobs.c.run_after < clock.at(other))
            assert (tx.execute(before).first() is not None) is earlier


def test_a_transaction_has_one_moment(database, clock):
    """The moment is read once in a transaction, however long it takes."""
    with database.write() as tx:
        first = tx.now
        clock.advance(5)
        assert tx.now == first
    with database.read() as tx:
        assert tx.now == clock.now


def test_the_databases_own_clock(database_url):
    """Without a clock from outside the database's own is asked; it moves."""
    database = Database(database_url)
    with database.read() as tx:
        first = tx.now
    with database.read() as tx:
        assert first < tx.now < first + timedelta(minutes=1)
        assert tx.now.utcoffset() == timedelta(0)
    database.close()


def test_a_failed_transaction_leaves_nothing(database):
    """An exception rolls everything back, and the next transaction works."""
    move_in(database)

    def break_off():
        with database.write() as tx:
            tx.execute(update(accounts).values(faults=9))
            tx.execute(update(tenants).values(weight=0))

    with pytest.raises(IntegrityError):
        break_off()
    with database.write() as tx:
        assert tx.execute(select(accounts.c.faults)).scalar_one() == 0
        assert tx.execute(select(chores)).all() == []


def test_writers_of_two_processes_take_turns(sqlite_url, clock):
    """On SQLite two processes that count up at the same time lose no count: a writer locks before it reads."""
    databases = [Database(sqlite_url, clock=clock) for _ in range(2)]
    move_in(databases[0])

    def count(database):
        for _ in range(25):
            with database.write() as tx:
                faults = tx.execute(select(accounts.c.faults)).scalar_one()
                tx.execute(update(accounts).values(faults=faults + 1))

    threads = [threading.Thread(target=count, args=(database,)) for database in databases * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with databases[0].read() as tx:
        assert tx.execute(select(accounts.c.faults)).scalar_one() == 100
    for database in databases:
        database.close()

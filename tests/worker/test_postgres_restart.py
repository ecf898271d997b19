from threading import Thread

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from jobs.database import Database
from tests.support.clock import FakeClock
from tests.support.postgres import running_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of these tests' own, because they restart it."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def clock():
    """How long connections lay idle; a test moves it."""
    return FakeClock()


@pytest.fixture
def database(server, clock):
    """That server's database, with three connections at most."""
    database = Database(server.url("postgres"), pool_size=3, monotonic=clock.monotonic)
    yield database
    database.close()


def ask(database):
    """Run a transaction; return what the server says."""
    with database.read() as tx:
        return tx.execute(text("SELECT pg_backend_pid()")).scalar_one()


def restart(server):
    """Restart the server as a crash would."""
    server.stop(kill=True)
    server.start()


def test_an_idle_connection_is_asked_first(server, database, clock):
    """After a restart whoever comes back from a pause notices nothing: the dead connection is replaced."""
    before = ask(database)
    restart(server)
    clock.advance(3)
    assert ask(database) != before


def test_one_transaction_in_steady_use_fails(server, database):
    """A connection in steady use is not asked: its one transaction fails as lost, and the next has a new connection."""
    ask(database)
    restart(server)
    with pytest.raises(OperationalError) as lost:
        ask(database)
    assert lost.value.connection_invalidated
    assert ask(database)


def test_steady_use_costs_no_question(server, database, clock):
    """Between two transactions nothing but their own statements goes to the server."""
    said = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    checked = ask(database)
    clock.advance(1)
    assert ask(database) == checked
    assert said == ["SELECT pg_backend_pid()"] * 2


def test_plans_know_the_values(database):
    """Statements are planned with their values, or none could use a partial index."""
    for _ in range(2):
        with database.read() as tx:
            assert tx.execute(text("SHOW plan_cache_mode")).scalar_one() == "force_custom_plan"


def test_no_more_connections_than_agreed(server, database):
    """A pool never opens more than it was told to; threads beyond that wait for their turn."""
    seen = []

    def work():
        for _ in range(20):
            with database.read() as tx:
                seen.append(
                    tx.execute(
                        text("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
                    ).scalar()
                )

    threads = [Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 240
    assert max(seen) <= 3


def test_errors_hold_no_parameters(database):
    """The text of a database's error quotes no parameter: it may be logged."""
    with pytest.raises(Exception, match="division by zero") as failed, database.read() as tx:
        tx.execute(text("SELECT 1 / :zero, CAST(:word AS text)"), {"zero": 0, "word": "s3cret"})
    assert "s3cret" not in str(failed.value)

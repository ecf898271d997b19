"""The role that may read results, on PostgreSQL, and nothing but them."""

import re
from pathlib import Path
from random import Random

import psycopg
import pytest
from psycopg import sql

from jobs.database import Database
from jobs.schema import upgrade
from jobs.tables import metadata

HOWTO = (Path(__file__).parents[2] / "docs/howto/results.md").read_text()
EVENTS = "SELECT id, job_id, at, event, state, actor, detail FROM job_events"


@pytest.fixture
def server(postgres):
    """An administrator's connection, and databases that go again with their roles."""
    names = []

    class Server:
        connection = psycopg.connect(postgres.url("postgres"), autocommit=True)

        def create(self):
            names.append(postgres.create())
            return names[-1]

        def url(self, name, user="postgres"):
            return postgres.url(name).replace("postgres@", f"{user}@", 1)

        def login(self, name, **more):
            words = sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name))
            self.connection.execute(words + sql.SQL(more.get("options", "")))

    made = Server()
    before = roles(made.connection)
    yield made
    for name in names:
        postgres.drop(name)
    for role in roles(made.connection) - before:
        made.connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    made.connection.close()


def roles(connection):
    """Return the names of all roles of the cluster."""
    return {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}


def migrate(url):
    """Bring a database to the newest version."""
    database = Database(url)
    upgrade(database, dice=Random(0))
    database.close()


def reads_nothing_but_results(url):
    """Try everything that a reader must and must not do."""
    with psycopg.connect(url, autocommit=True) as reader:
        reader.execute("SELECT * FROM job_results")
        reader.execute(EVENTS)
        for table in metadata.tables:
            if table != "job_events":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(table)))
        for change in (
            "DELETE FROM job_events",
            "UPDATE job_events SET actor = 'me'",
            "INSERT INTO job_events (job_id, at, event, state, actor) VALUES (gen_random_uuid(), now(), '', '', '')",
            "DELETE FROM job_results",
            "CREATE TABLE mine (id int)",
            "SELECT * FROM alembic_version",
        ):
            with pytest.raises(
                (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
            ):
                reader.execute(change)


def test_a_reader_reads_results_and_events_and_nothing_else(server):
    """A login with the role that the migration made sees `job_results` and `job_events`, and can change nothing."""
    name = server.create()
    migrate(server.url(name))
    server.login("ada", options=f" IN ROLE nodewright_read_{name}")
    reads_nothing_but_results(server.url(name, "ada"))


def test_installations_of_one_cluster_have_readers_of_their_own(server):
    """Two installations beside each other do not meet in a role: who reads one reads nothing of the other."""
    one, other = server.create(), server.create()
    migrate(server.url(one))
    migrate(server.url(other))
    server.login("ada", options=f" IN ROLE nodewright_read_{one}")
    with psycopg.connect(server.url(other, "ada"), autocommit=True) as reader:
        for question in ("SELECT * FROM job_results", EVENTS):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(question)


def test_a_role_that_is_there_already_is_used(server):
    """A database that was made anew under its old name finds the role of before, and goes on."""
    name = server.create()
    server.connection.execute(
        sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(f"nodewright_read_{name}"))
    )
    migrate(server.url(name))
    server.login("ada", options=f" IN ROLE nodewright_read_{name}")
    reads_nothing_but_results(server.url(name, "ada"))


def test_who_may_make_no_role_migrates_all_the_same(server):
    """Without the right to make roles the schema is complete; what the how-to says makes the role later."""
    name = server.create()
    server.login("plain")
    server.connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO plain").format(sql.Identifier(name)))
    migrate(server.url(name, "plain"))
    assert f"nodewright_read_{name}" not in roles(server.connection)

    words = re.search(r"```sql\n(CREATE ROLE nodewright_read_nodewright NOLOGIN;.*?)```", HOWTO, re.DOTALL)[1]
    with psycopg.connect(server.url(name), autocommit=True) as administrator:
        administrator.execute(words.replace("nodewright_read_nodewright", f"nodewright_read_{name}"))
    server.login("ada", options=f" IN ROLE nodewright_read_{name}")
    reads_nothing_but_results(server.url(name, "ada"))

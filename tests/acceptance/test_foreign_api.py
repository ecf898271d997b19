import json

import pytest

from tests.acceptance.stack import environment, kill_worker, run, submit, until, up
from tests.support.other_api import OtherApi

pytestmark = pytest.mark.stack
TOKEN = "a-token-of-another-api"


@pytest.fixture
def settings(tmp_path):
    """Makes the environment of a stack against an API."""

    def make(api, **more):
        limit = f"{api.limit}/{api.window:g}"
        return environment(
            tmp_path / "home",
            LINODE_TOKEN=TOKEN,
            LINODE_API_URL=api.url,
            NODEWRIGHT_CREATE_LIMIT=limit,
            **more,
        )

    return make


def refused(api):
    """Return how many creates were over the limit."""
    return sum(count for name, count in api.seen.items() if name.endswith(" 429"))


def test_an_api_that_is_not_ours(settings, tmp_path):
    """Against another implementation of the API forty are asked for and forty run, each bought once, none refused."""
    with OtherApi(token=TOKEN, limit=20, window=3.0, boot=1.5) as api:
        env = settings(api)
        with up(env, tmp_path / "up.log"):
            done, printed = submit(env, 40, "--wait")
        assert done.returncode == 0, done.stderr
        assert printed["fleet"]["states"] == {"running": 40}
        assert len({job["linode_id"] for job in printed["jobs"]}) == 40
        assert {job["linode_id"] for job in printed["jobs"]} == set(api.linodes)
        assert refused(api) == 0, api.seen
        assert set(api.bought.values()) == {1}


def test_a_workers_log(settings, tmp_path):
    """A worker logs one JSON object a line: each create with its job's id, and no library's chatter."""
    with OtherApi(token=TOKEN, limit=20, window=3.0, boot=0.5) as api, up(settings(api), tmp_path / "up.log"):
        done, printed = submit(settings(api), 3, "--wait")
        assert done.returncode == 0, done.stderr
    written = (tmp_path / "home" / "logs" / "worker-1.log").read_text().splitlines()
    # Celery's one line at its end goes past every logger.
    lines = [json.loads(line) for line in written if line and line != "worker: Warm shutdown (MainProcess)"]
    created = {line["job"] for line in lines if line["event"] == "create"}
    assert created == {job["id"] for job in printed["jobs"]}
    assert {line["event"] for line in lines} <= {
        "worker starts",
        "the worker serves",
        "create",
        "worker ends",
    } | {"a new epoch begins: admission waits for reconcile"}


def test_an_api_that_fails(settings, tmp_path):
    """Lost replies, late creates and a killed worker later, each job has one instance and nothing else is left."""
    with OtherApi(token=TOKEN, limit=20, window=2.0, boot=1.0, faults=0.3, late=(1.0, 2.0)) as api:
        env = settings(api, NODEWRIGHT_GRACE_SECONDS="4", NODEWRIGHT_LEASE_SECONDS="10")
        with up(env, tmp_path / "up.log", "--workers", "2") as process:
            done, printed = submit(env, 20)
            assert done.returncode == 0, done.stderr
            until(lambda: api.spent > 2, 20)
            assert kill_worker(process.pid, "worker-1")
            found = until(lambda: settled(env, printed["fleet"]["id"]), 60, tick=0.5)
        assert {job["state"] for job in found} == {"running"}
        assert {job["linode_id"] for job in found} == set(api.linodes)
        assert len(api.linodes) == 20
        assert api.spoiled, "nothing went wrong, so nothing was tested"


def settled(env, fleet):
    """Return the fleet's jobs once all of them run, else None."""
    found = json.loads(run(env, "jobs", "--fleet", fleet, "--json").stdout)["jobs"]
    return found if all(job["state"] == "running" for job in found) else None

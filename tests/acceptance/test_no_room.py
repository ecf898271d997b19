import json

import httpx
import pytest

from simulator import SimulatorOptions, background
from tests.acceptance.stack import environment, run, up

pytestmark = pytest.mark.stack
FLEET = """
name: web
count: 100
type: g6-nanode-1
region: [us-ord, us-east]
image: linode/debian12
"""
NO_ROOM = {"action": "no_capacity", "method": "POST", "route": "/linode/instances", "region": "us-ord"}
BAD_IMAGE = {
    "action": "no_capacity",
    "method": "POST",
    "route": "/linode/instances",
    "reason": "image is not valid",
    "label": "bad-*",
}
LIMIT = 50


@pytest.fixture
def api():
    """A simulated API that takes fifty creates in two seconds."""
    with background(SimulatorOptions(boot=0.5, create_limit=LIMIT, create_window=2)) as running:
        yield running


@pytest.fixture
def env(api, tmp_path):
    """The environment of a stack in front of it."""
    return environment(
        tmp_path / "home",
        LINODE_TOKEN="simulated-token",
        LINODE_API_URL=api.url,
        NODEWRIGHT_CREATE_LIMIT=f"{LIMIT}/2",
        NODEWRIGHT_MAX_INSTANCES="2000",
    )


def control(api, method, path, **more):
    """Ask the simulator itself."""
    url = f"{api.url.removesuffix('/v4')}/_control/{path}"
    return httpx.request(method, url, trust_env=False, **more).raise_for_status().json()


def test_a_hundred_instances_elsewhere(api, env, tmp_path):
    """A region without room: a hundred jobs with one alternative all run, in exactly a hundred instances, elsewhere."""
    control(api, "POST", "faults", json=[NO_ROOM])
    (tmp_path / "fleet.yaml").write_text(FLEET)
    with up(env, tmp_path / "up.log"):
        done = run(env, "submit", str(tmp_path / "fleet.yaml"), "--wait", "--json")
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    assert {(job["state"], job["region"], job["choice"], job["attempt"]) for job in jobs} == {
        ("running", "us-east", 1, 2)
    }
    audit = control(api, "GET", "audit")
    assert (len(jobs), audit["made"], audit["kept"]) == (100, 100, 100)


def test_one_bad_image_in_a_thousand_jobs(api, env, tmp_path):
    """With `stop_after: 5` a bad image costs five creates and at most one window more, of a thousand."""
    control(api, "POST", "faults", json=[BAD_IMAGE])
    policy = "on_failure: {stop_after: 5, same_cause: true}\n"
    fleet = (
        FLEET.replace("name: web", "name: bad").replace("count: 100", "count: 1000").strip() + "\n" + policy
    )
    (tmp_path / "fleet.yaml").write_text(fleet)
    with up(env, tmp_path / "up.log"):
        done = run(env, "submit", str(tmp_path / "fleet.yaml"), "--wait", "--json")
        shown = run(env, "show", "bad")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    codes = [job["error"]["code"] for job in found["jobs"]]
    assert len(codes) - codes.count("stopped_by_policy") <= 5 + LIMIT
    assert "5 jobs failed with" in found["fleet"]["stop_reason"]
    assert "Stopped at" in shown.stdout
    calls = control(api, "GET", "audit")["calls"]
    spent = sum(
        one["count"] for one in calls if one["method"] == "POST" and one["route"] == "/linode/instances"
    )
    assert 5 <= spent <= 5 + LIMIT

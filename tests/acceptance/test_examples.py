"""The example services run against a real local stack, whose API is the simulator."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nodewright import Client
from nodewright.client import NotFound
from simulator import SimulatorOptions, background
from tests.acceptance.stack import environment, until, up

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("examples")]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A local stack on a simulator; yields the environment of the examples, and a client."""
    home = tmp_path_factory.mktemp("examples")
    with background(SimulatorOptions(boot=0.5, create_limit=0)) as api:
        env = environment(home, LINODE_TOKEN="simulated-token", LINODE_API_URL=api.url, NODEWRIGHT_PORT="")
        with up(env, home / "up.log"):
            place = json.loads((home / "service.json").read_text())
            where = {"NODEWRIGHT_URL": place["url"], "NODEWRIGHT_API_KEY": place["api_key"]}
            with Client(place["url"], place["api_key"]) as client:
                yield {**env, **where, "BROKER_URL": broker(home)}, client


def broker(home):
    """Return the address of the stack's own broker."""
    conf = dict(line.split(" ", 1) for line in (home / "valkey/valkey.conf").read_text().splitlines())
    return f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"


def run(env, *command):
    """Run an example to its end; return what it printed."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_http_with_curl(stack):
    """The shell script plans, submits twice over as one fleet, follows the events and lists the instances."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    env, client = stack
    said = run(env, str(EXAMPLES / "http.sh"), "curl")
    assert '"verdict":"accept"' in said
    assert '"replayed":true' in said
    assert "event: end" in said
    assert said.count('"state":"running"') == 2
    assert [fleet.name for fleet in client.fleets()].count("curl") == 1


def test_python_client(stack):
    """The client's example ends with both instances running, and prints their addresses."""
    env, client = stack
    said = run(env, sys.executable, str(EXAMPLES / "python_client.py"), "python")
    assert "{'running': 2}" in said
    assert len(re.findall(r"python-000\d running \d+\.\d+", said)) == 2
    assert client.fleet("python").all_running


def test_celery_by_name(stack):
    """A task sent twice by name is one fleet, under the id that the sender chose."""
    env, client = stack
    fleet_id = run(env, sys.executable, str(EXAMPLES / "celery_by_name.py"), "celery").strip()

    def accepted():
        try:
            return client.fleet(fleet_id)
        except NotFound:
            return None

    assert until(accepted, 30).name == "celery"
    assert client.wait(fleet_id, timeout=60).all_running
    assert [fleet.name for fleet in client.fleets()].count("celery") == 1


def test_celery_example_imports_nothing_of_ours():
    """The sender needs Celery and nothing else."""
    text = (EXAMPLES / "celery_by_name.py").read_text()
    assert not re.search(r"^(from|import) (nodewright|jobs|worker|api_client)", text, re.MULTILINE)


def test_joined_transaction(stack):
    """The paid order has its fleet, which runs; the unpaid one has none."""
    env, client = stack
    said = run(env, sys.executable, str(EXAMPLES / "joined_transaction.py"), "joined")
    assert "not paid: no order, no fleet" in said
    assert client.wait("joined", timeout=60).all_running
    with pytest.raises(NotFound):
        client.fleet("joined-unpaid")

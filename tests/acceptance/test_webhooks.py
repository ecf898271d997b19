"""Webhooks of a real stack: nothing is lost when workers and service are killed, and the example receiver works."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from nodewright import Client
from nodewright.embedded import free_port
from simulator import SimulatorOptions, background
from tests.acceptance.stack import children, environment, kill_worker, run, submit, until, up
from tests.support.receiver import RESET, Receiver

EXAMPLE = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"
pytestmark = pytest.mark.stack


@pytest.fixture
def env(tmp_path):
    """The environment of a stack on a simulated API of its own."""
    with background(SimulatorOptions(boot=0.5, create_limit=20, create_window=2.0)) as api:
        yield environment(
            tmp_path / "home",
            LINODE_TOKEN="simulated-token",
            LINODE_API_URL=api.url,
            NODEWRIGHT_CREATE_LIMIT="20/2",
        )


def kill_service(pid):
    """Kill the service of a stack by SIGKILL; return whether it ran."""
    for child, words in children(pid).items():
        if "nodewright serve " in words:
            os.kill(child, signal.SIGKILL)
            return True
    return False


def home_client(env):
    """Return a client of the stack."""
    place = json.loads((Path(env["NODEWRIGHT_HOME"]) / "service.json").read_text())
    return Client(place["url"], place["api_key"])


def told(receiver):
    """Return what a receiver that drops repetitions keeps: fleet name → sequence → kind."""
    kept = defaultdict(dict)
    for message in {got.headers["webhook-id"]: json.loads(got.body) for got in receiver.got}.values():
        kept[message["data"]["fleet"]["name"]][message["data"]["sequence"]] = message["type"]
    return kept


@pytest.mark.xdist_group("webhooks")
def test_nothing_is_lost_over_kills(env, tmp_path):
    """Both workers and the service are killed while fleets are made and the receiver fails now and then: of each job
    and each fleet the receiver is told, each number is there, each message verifies.
    """
    with Receiver() as receiver, up(env, tmp_path / "up.log", "--workers", "2") as stack:
        with home_client(env) as client:
            made = client.add_webhook(receiver.url)
        receiver.script += [500, RESET, 200, 503, RESET]
        assert submit(env, 30, name="first")[0].returncode == 0
        until(lambda: len(receiver.got) > 7, 120)
        assert kill_worker(stack.pid, "worker-1")
        assert kill_worker(stack.pid, "worker-2")
        assert kill_service(stack.pid)
        until(lambda: run(env, "fleets").returncode == 0, 60)
        assert submit(env, 30, name="second")[0].returncode == 0
        until(lambda: all(len(told(receiver)[name]) >= 31 for name in ("first", "second")), 240, tick=0.5)
        for name in ("first", "second"):
            found = told(receiver)[name]
            assert sorted(found) == list(range(1, len(found) + 1))
            assert sorted(found.values()) == ["fleet.settled", *["job.running"] * 30]
        for got in receiver.got:
            Webhook(made.secret).verify(got.body, got.headers)
        until(lambda: run(env, "fleets").returncode == 0, 60)
        until(lambda: not any(one["pending"] for one in listed(env)), 180, tick=1)
        assert [(one["dead"], one["state"]) for one in listed(env)] == [(0, "enabled")]


def listed(env):
    """Return the endpoints as the command shows them."""
    return json.loads(run(env, "webhooks", "list", "--json").stdout)["webhooks"]


@pytest.mark.xdist_group("webhooks")
def test_the_example_receiver(env, tmp_path):
    """The example verifies what comes, drops what it has already, and puts a fleet's story in order; a stranger's
    message is answered 401.
    """
    port, said = free_port(), tmp_path / "receiver.log"
    with up(env, tmp_path / "up.log"), home_client(env) as client:
        made = client.add_webhook(f"http://127.0.0.1:{port}/")
        with said.open("wb") as log:
            environ = {**env, "WEBHOOK_SECRET": made.secret}
            process = subprocess.Popen([sys.executable, str(EXAMPLE), str(port)], env=environ, stdout=log)
        try:
            assert submit(env, 3, name="web")[0].returncode == 0
            until(lambda: "fleet job.running job.running job.running fleet.settled" in said.read_text(), 60)
            first = next(client.deliveries(made.webhook.id))
            client.resend(made.webhook.id, first.id)
            until(lambda: f"again {first.kind} {first.id}" in said.read_text(), 60)
            client.rotate_webhook(made.webhook.id)
            client.rotate_webhook(made.webhook.id)
            test = client.test_webhook(made.webhook.id)
            until(lambda: _tried(client, made.webhook.id, test.id), 60)
            assert _tried(client, made.webhook.id, test.id).status == 401
        finally:
            process.terminate()
            process.wait(10)
        assert test.id not in said.read_text()


def _tried(client, webhook_id, delivery_id):
    found = [one for one in client.deliveries(webhook_id) if one.id == delivery_id]
    return found[0] if found and found[0].tries else None

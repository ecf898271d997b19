import asyncio
import json
import os
import pty
import subprocess
import sys

import pytest

from jobs.requests import parse_request
from nodewright.client import AsyncClient, Client, NotFound, Refused
from tests.nodewright.conftest import SPEC


@pytest.fixture
def fleet(served):
    """A fleet of three that runs."""
    request = parse_request({"name": "web", "count": 3, **SPEC})
    made = served.deps.service.submit(request, tenant="default", actor="test").fleet
    served.give_instances()
    return made


@pytest.fixture
def client(served):
    """A client with every scope."""
    with Client(served.url, served.key) as made:
        yield made


def test_by_http(http, fleet):
    """A dry run lists what would go, with its cost and a confirmation; with that the answer is 202 and it goes."""
    shown = http.post("/v1/fleets/web/destroy", json={"dry_run": True})
    body = shown.json()
    assert (shown.status_code, body["instances"], body["unbought"], body["hourly_usd"]) == (200, 3, 0, 0.0225)
    assert [(one["label"], one["linode_id"]) for one in body["jobs"]] == [
        ("web-0001", 1),
        ("web-0002", 2),
        ("web-0003", 3),
    ]
    done = http.post(f"/v1/fleets/{fleet.id}/destroy", json={"confirm": body["confirm"]})
    assert (done.status_code, done.json()["deleting"], done.json()["refused"]) == (202, 3, [])
    assert done.json()["fleet"]["states"] == {"deleting": 3}


def test_both_clients(client, served, fleet):
    """The Python client does both steps, with and without `await`, and takes filters and job ids."""
    first, second, _ = list(client.jobs(fleet="web"))
    made = client.plan_destroy("web", jobs=[first.id])
    assert client.destroy("web", confirm=made.confirm, jobs=[first.id]).deleting == 1

    async def other():
        async with AsyncClient(served.url, served.key) as found:
            shown = await found.plan_destroy("web", label=second.label)
            return await found.destroy("web", confirm=shown.confirm, label=second.label)

    done = asyncio.run(other())
    assert (done.deleting, done.fleet.states) == (1, {"running": 1, "deleting": 2})


def test_an_old_confirmation(client, served, fleet):
    """Where what would go is no longer what was shown, nothing is done, and the answer says what to do."""
    made = client.plan_destroy("web")
    served.put_all("deleted")
    with pytest.raises(Refused, match="look again with a dry run") as caught:
        client.destroy("web", confirm=made.confirm)
    assert (caught.value.problem.status, caught.value.problem.code) == (409, "confirmation_outdated")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({}, "confirmation_needed", "dry_run"),
        ({"dry_run": True, "confirm": "x"}, "confirmation_needed", "one of the two"),
        ([], "invalid_request", "JSON object"),
        ({"dry_run": 1}, "invalid_request", "valid boolean"),
        ({"dry_run": True, "jobs": []}, "invalid_request", "at least 1 item"),
        ({"dry_run": True, "jobs": "x"}, "invalid_request", "valid list"),
        ({"dry_run": True, "jobs": [1]}, "invalid_request", "valid string"),
        ({"dry_run": True, "sate": "running"}, "invalid_request", "did you mean `state`?"),
        ({"dry_run": True, "state": "runing"}, "invalid_request", "did you mean `running`?"),
        ({"dry_run": True, "label": "\u0000"}, "invalid_request", "expected a text without"),
        ({"dry_run": True, "label": 7}, "invalid_request", "valid string"),
        ({"dry_run": True, "since": "soon"}, "invalid_request", "2026-03-01T12:00:00Z"),
        ({"dry_run": True, "since": "2026-02-31"}, "invalid_request", "no such moment"),
        ({"confirm": 7}, "invalid_request", "valid string"),
    ],
    ids=json.dumps,
)
def test_bad_bodies(http, fleet, body, code, words):
    """Each fault of a body is named with what would be right, and nothing is done."""
    answer = http.post("/v1/fleets/web/destroy", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert words in answer.json()["detail"]
    assert http.get("/v1/fleets/web").json()["fleet"]["states"] == {"running": 3}


def test_unknown_ones(client, fleet):
    """A fleet or a job that there is not is said to be none."""
    with pytest.raises(NotFound, match="no fleet"):
        client.plan_destroy("none")
    with pytest.raises(NotFound, match="no job"):
        client.plan_destroy("web", jobs=["0193cbc0-0000-7000-8000-000000000000"])


# The command ---------------------------------------------------------------------------------------------------------


def test_scripts_confirm_by_the_token(run, served, fleet):
    """A script calls the command twice; the second time with what the first one printed."""
    shown = run("destroy", "web", "--dry-run", "--json", env=served.env)
    token = json.loads(shown.stdout)["confirm"]
    done = run("destroy", "web", "--yes", "--confirm", token, env=served.env)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "3 instances of web being deleted, 0 jobs cancelled.",
    )
    again = run("destroy", "web", "--yes", "--confirm", "1-2", "--json", env=served.env)
    assert (again.exit_code, "confirmation_expired" in again.stderr) == (2, True)


def test_a_dry_run_says_what_would_go(run, served, fleet):
    """A dry run shows the list, the cost that would end, and how to do it."""
    done = run("destroy", "web", "--dry-run", "--state", "running", env=served.env)
    assert done.exit_code == 0
    assert "web-0003" in done.stdout
    assert "3 instances of fleet web would be deleted, $0.0225 an hour." in done.stdout
    assert "--yes --confirm" in done.stdout
    none = run("destroy", "web", "--dry-run", "--state", "queued", env=served.env)
    assert none.stdout == "Nothing of fleet web would go.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nobody can be asked"),
        (["--json"], "nobody can be asked"),
        (["--confirm", "x"], "nobody can be asked"),
        (["--yes"], "--yes: needs --confirm"),
        (["--dry-run", "--yes"], "--dry-run: does nothing"),
    ],
    ids=" ".join,
)
def test_no_destroy_by_accident(run, served, fleet, client, options, words):
    """Without a person to ask and without a confirmation nothing goes, and the command says how."""
    done = run("destroy", "web", *options, env=served.env)
    assert (done.exit_code, words in done.stderr) == (2, True)
    assert client.fleet("web").states == {"running": 3}


@pytest.mark.parametrize(
    ("typed", "code", "states"), [("web", 0, "deleting"), ("yes", 1, "running"), ("", 1, "running")]
)
def test_a_person_types_the_name(served, fleet, client, environment, typed, code, states):
    """On a terminal the fleet's name has to be typed; anything else leaves all as it is."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "nodewright", "destroy", "web"]
    with subprocess.Popen(
        command, env=environment(**served.env), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        os.write(ours, f"{typed}\n".encode())
        said = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert "Type the fleet's name (web)" in said
    assert client.fleet("web").states == {states: 3}

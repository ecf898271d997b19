import asyncio
import json
from random import Random

import pytest

from jobs import keys
from jobs.requests import parse_request
from nodewright.client import AsyncClient, Client, NotAllowed, NotFound
from tests.nodewright.conftest import SPEC


@pytest.fixture
def fleet(served):
    """A fleet of three that waits."""
    request = parse_request({"name": "web", "count": 3, **SPEC})
    return served.deps.service.submit(request, tenant="default", actor="test").fleet


@pytest.fixture
def client(served):
    """A client with every scope."""
    with Client(served.url, served.key) as made:
        yield made


WAYS = pytest.mark.parametrize(
    ("asked", "path", "scope"),
    [
        ({"fleet": "web"}, "/v1/fleets/web", "fleet web"),
        ({"account": "default"}, "/v1/accounts/default", "account default"),
        ({"everything": True}, "/v1", "everything everything"),
    ],
)


@WAYS
def test_pause_and_resume_by_http(http, fleet, asked, path, scope):
    """Each scope is paused and resumed by a POST, which says what it changed, what waits and what is in flight."""
    done = http.post(f"{path}/pause").json()
    assert f"{done['scope']} {done['name']}" == scope
    assert (done["changed"], done["settled"], done["waiting"], done["in_flight"]) == (True, True, 3, 0)
    assert done["held_at"]
    assert http.post(f"{path}/pause").json() == {**done, "changed": False}
    assert http.post(f"{path}/resume").json() == {**done, "held_at": None}
    assert http.post(f"{path}/resume").json()["changed"] is False


@WAYS
def test_both_clients(client, served, fleet, asked, path, scope):
    """The Python client pauses and resumes alike, with and without `await`."""
    assert client.pause(**asked).held_at is not None
    assert client.resume(**asked).held_at is None

    async def both():
        async with AsyncClient(served.url, served.key) as found:
            return [await found.pause(**asked), await found.resume(**asked)]

    assert [one.changed for one in asyncio.run(both())] == [True, True]


@pytest.mark.parametrize("asked", [{}, {"fleet": "web", "everything": True}, {"fleet": "a", "account": "b"}])
def test_one_scope_at_a_time(client, run, served, fleet, asked):
    """What is to be paused is said exactly once, by the client and by the command alike."""
    with pytest.raises(ValueError, match="exactly one"):
        client.pause(**asked)
    words = {"fleet": ["web"], "account": ["--account", "b"], "everything": ["--all"]}
    typed = [word for name in asked for word in words[name]]
    done = run("pause", *typed, env=served.env)
    assert (done.exit_code, "exactly one of them" in done.stderr) == (2, True)


def test_a_paused_scope_is_seen_everywhere(client, http, run, served, fleet):
    """Alarms, the fleet, its jobs, the lists and the watch say what is paused, and how it goes on."""
    client.pause("web")
    client.pause(account="default")
    client.pause(everything=True)
    told = {(alarm.code, alarm.remedy) for alarm in client.status().alarms if "paused" in alarm.code}
    assert told == {
        ("paused", "`nodewright resume --all`"),
        ("paused", "`nodewright resume --account default`"),
        ("fleet_paused", "`nodewright resume FLEET`"),
    }
    assert client.fleet("web").held_at
    assert {job.error.reason for job in client.jobs()} == {"everything is paused by a person"}
    client.resume(everything=True)
    assert {job.error.reason for job in client.jobs()} == {"account default is paused by a person"}
    client.resume(account="default")
    assert {(job.error.code, job.error.reason) for job in client.jobs()} == {
        ("paused", "the fleet is paused by a person")
    }
    assert "3 queued · paused" in run("fleets", env=served.env).stdout
    assert "resume web" in run("show", "web", env=served.env).stdout
    client.resume("web")
    assert not [alarm for alarm in client.status().alarms if "paused" in alarm.code]
    assert "paused" not in run("fleets", env=served.env).stdout


def test_the_commands(run, served, fleet):
    """The commands say what waits, what is in flight and how it goes on, and say so too when nothing changed."""
    done = run("pause", "web", env=served.env)
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (
        0,
        [
            "Paused fleet web: nothing more is sent.",
            "3 jobs wait; 0 creates in flight are finished and recorded.",
        ],
    )
    assert "was paused already, since 20" in run("pause", "web", env=served.env).stdout
    run("pause", "--account", "default", env=served.env)
    assert "It still waits: account default is paused too." in run("resume", "web", env=served.env).stdout
    assert "Fleet web was not paused." in run("resume", "web", env=served.env).stdout
    assert (
        "Resumed account default.\n3 jobs wait"
        in run("resume", "--account", "default", env=served.env).stdout
    )
    assert "Everything was not paused." in run("resume", "--all", env=served.env).stdout
    assert json.loads(run("pause", "--all", "--json", env=served.env).stdout)["scope"] == "everything"


def test_unknown_ones(client, run, served):
    """A fleet or an account that there is not is said to be none."""
    for asked in ({"fleet": "none"}, {"account": "none"}):
        with pytest.raises(NotFound, match="there is no"):
            client.pause(**asked)
    assert run("pause", "none", env=served.env).exit_code == 2


def test_who_may(served, fleet):
    """`operate` pauses a fleet; an account and everything are for `admin`."""
    made = keys.create_key(served.database, tenant="default", name="op", dice=Random(21), scopes=("operate",))
    with Client(served.url, made) as operator:
        assert operator.pause("web").changed
        for asked in ({"account": "default"}, {"everything": True}):
            with pytest.raises(NotAllowed, match="admin"):
                operator.pause(**asked)
            with pytest.raises(NotAllowed, match="admin"):
                operator.resume(**asked)

"""Retry, cancel by choice, scale and spend, by HTTP, by both clients and on the command line."""

import asyncio
import json

import pytest
from sqlalchemy import update

from jobs.records import jobs
from nodewright.client import AsyncClient, Client, NotFound, Refused
from tests.nodewright.conftest import SPEC

UNKNOWN = "018f0000-0000-7000-8000-000000000000"
PASSWORD = "Gl4di0lus+Kn1fe/7"


@pytest.fixture
def web(http, served, document):
    """A fleet of three that waits; returns the ids of its jobs, by position."""
    http.post("/v1/fleets", json=document())
    return [job["id"] for job in http.get("/v1/jobs?fleet=web").json()["jobs"]]


@pytest.fixture
def put(served):
    """Moves one job to a state, as a worker would in time."""

    def put(job_id, state, **columns):
        with served.database.write() as tx:
            error = {"error_code": "no_capacity", "error_reason": "sold out"} if state == "failed" else {}
            values = {"state": state, **error, **columns}
            tx.execute(update(jobs).where(jobs.c.id == job_id).values(**values))

    return put


@pytest.fixture
def client(served):
    """The Python client."""
    with Client(served.url, served.key) as made:
        yield made


# HTTP ----------------------------------------------------------------------------------------------------------------


def test_a_retry_by_http(http, web, put):
    """A retry answers how many wait again, whose instance goes first, and for which jobs nothing was done."""
    put(web[0], "failed")
    put(web[1], "failed", linode_id=7)
    said = http.post("/v1/fleets/web/retry", json={"dry_run": True}).json()
    assert (said["queued"], said["deleting"], said["dry_run"]) == (1, 1, True)
    said = http.post("/v1/fleets/web/retry", json={"jobs": web}).json()
    assert (said["queued"], said["deleting"], said["refused_count"]) == (1, 1, 1)
    (refused,) = said["refused"]
    assert (refused["job_id"], refused["code"], refused["state"]) == (web[2], "not_failed", "queued")
    assert said["fleet"]["states"] == {"queued": 2, "deleting": 1}
    assert http.post("/v1/fleets/web/retry").json()["queued"] == 0


def test_the_retry_of_one_job(http, web, put):
    """One failed job is retried by its id; one that did not fail is a conflict that names what would be right."""
    put(web[0], "failed")
    said = http.post(f"/v1/jobs/{web[0]}/retry").json()
    assert (said["queued"], said["job"]["state"], said["job"]["attempt"]) == (1, "queued", 2)
    assert [line["event"] for line in said["job"]["timeline"]][-1] == "retried"
    again = http.post(f"/v1/jobs/{web[0]}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "not_failed")
    assert "web-0001" in again.json()["detail"]


def test_the_cancel_of_one_job(http, web, put):
    """One waiting job is cancelled by its id, also again; one that runs is a conflict."""
    said = http.post(f"/v1/jobs/{web[0]}/cancel").json()
    assert (said["cancelled"], said["job"]["state"]) == (1, "cancelled")
    assert http.post(f"/v1/jobs/{web[0]}/cancel").json()["cancelled"] == 0
    put(web[1], "running", linode_id=7)
    answer = http.post(f"/v1/jobs/{web[1]}/cancel", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")


def test_a_cancel_is_narrowed(http, web):
    """The body of a cancel narrows it, with the filters of the job list."""
    assert http.post("/v1/fleets/web/cancel", json={"label": "web-0002"}).json()["cancelled"] == 1
    assert http.post("/v1/fleets/web/cancel", json={"jobs": [web[0].upper()]}).json()["cancelled"] == 1
    assert http.post("/v1/fleets/web/cancel", json={"since": "2999-01-01"}).json()["cancelled"] == 0
    assert http.post("/v1/fleets/web/cancel", json={"state": "queued"}).json()["cancelled"] == 1


def test_a_scale_by_http(http, web, served):
    """More are added at once; fewer need the confirmation of a dry run; a wish that is fulfilled changes nothing."""
    said = http.post("/v1/fleets/web/scale", json={"to": 5}).json()
    assert (said["was"], said["to"], said["labels"]) == (3, 5, ["web-0004", "web-0005"])
    assert http.post("/v1/fleets/web/scale", json={"to": 5}).json()["unchanged"] is True
    answer = http.post("/v1/fleets/web/scale", json={"to": 4})
    assert (answer.status_code, answer.json()["code"]) == (422, "confirmation_needed")
    answer = http.post("/v1/fleets/web/scale", json={"to": 4, "confirm": "0123"})
    assert (answer.status_code, answer.json()["code"]) == (409, "confirmation_outdated")
    plan = http.post("/v1/fleets/web/scale", json={"to": 4, "dry_run": True}).json()
    assert [(one["label"], one["action"]) for one in plan["leaving"]] == [("web-0005", "cancel")]
    done = http.post("/v1/fleets/web/scale", json={"to": 4, "confirm": plan["confirm"]}).json()
    assert done["fleet"]["states"] == {"queued": 4, "cancelled": 1}
    assert done["fleet"]["count"] == 4


def test_spend_by_http(http, web, put, served):
    """What runs costs by the hour begun; job, fleet and tenant say the same."""
    with served.database.read() as tx:
        now = tx.now
    put(web[0], "running", linode_id=1, created_at=now)
    put(web[1], "failed", linode_id=2, created_at=now)
    job = http.get(f"/v1/jobs/{web[1]}").json()["job"]
    assert (job["spent_usd"], job["wasted_usd"]) == (0.0075, 0.0075)
    fleet = http.get("/v1/fleets/web").json()["fleet"]
    sums = {"spent_usd": 0.015, "wasted_usd": 0.0075, "hourly_usd": 0.015}
    assert {name: fleet[name] for name in sums} == sums
    said = http.get("/v1/spend").json()
    assert said["tenants"] == [{"tenant": "default", "instances": 2, **sums}]
    assert [(one["name"], one["spent_usd"]) for one in said["fleets"]] == [("web", 0.015)]
    http.post("/v1/fleets", json={"name": "next", "count": 1, **SPEC})
    first = http.get("/v1/spend?limit=1").json()
    second = http.get("/v1/spend", params={"limit": 1, "after": first["next"]}).json()
    assert [page["fleets"][0]["name"] for page in (first, second)] == ["next", "web"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("path", "body", "field", "words"),
    [
        ("/v1/fleets/web/cancel", {"sate": "queued"}, "sate", "did you mean `state`?"),
        ("/v1/fleets/web/cancel", {"state": "quued"}, "state", "did you mean `queued`?"),
        ("/v1/fleets/web/cancel", {"jobs": []}, "jobs", "at least 1 item"),
        ("/v1/fleets/web/cancel", {"jobs": ["x"]}, "jobs[0]", "the id of a job"),
        ("/v1/fleets/web/cancel", {"jobs": "x"}, "jobs", "valid list"),
        ("/v1/fleets/web/cancel", {"since": "2026-13-45"}, "since", "no such moment"),
        ("/v1/fleets/web/cancel", [], "", "expected an object"),
        ("/v1/fleets/web/retry", {"deadline": "soon"}, "deadline", "write it like"),
        ("/v1/fleets/web/retry", {"deadline": "2020-01-01T00:00:00Z"}, "deadline", "has passed"),
        ("/v1/fleets/web/retry", {"secrets": [{"root_pas": "x"}]}, "secrets[0].root_pas", "`root_pass`"),
        ("/v1/fleets/web/scale", {}, "to", "is missing"),
        ("/v1/fleets/web/scale", {"to": 0}, "to", "greater than or equal to 1"),
        ("/v1/fleets/web/scale", {"to": "5"}, "to", "valid integer"),
        ("/v1/fleets/web/scale", {"to": 5, "group": "nope"}, "group", "choose 0"),
        ("/v1/fleets/web/scale", {"to": 5, "group": []}, "group", "valid"),
        ("/v1/fleets/web/scale", {"to": 60}, "to", "of 50"),
    ],
)
def test_wrong_bodies(http, web, path, body, field, words):
    """A wrong body is refused with the field and what would be right, and nothing is done."""
    answer = http.post(path, json=body)
    said = answer.json()
    assert (answer.status_code, said["errors"][0]["field"]) == (422, field), said
    assert words in said["detail"]
    assert http.get("/v1/fleets/web").json()["fleet"]["states"] == {"queued": 3}


@pytest.mark.parametrize("what", ["retry", "cancel", "scale"])
def test_what_is_not_there(http, web, what):
    """An unknown fleet or job is not found, and nothing is done for those that are known."""
    assert http.post(f"/v1/fleets/nope/{what}", json={"to": 3} if what == "scale" else {}).status_code == 404
    answer = http.post(f"/v1/fleets/web/{what}", json={"jobs": [web[0], UNKNOWN]})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert UNKNOWN in answer.json()["detail"]
    if what != "scale":
        assert http.post(f"/v1/jobs/{UNKNOWN}/{what}").status_code == 404
    assert http.get("/v1/fleets/web").json()["fleet"]["states"] == {"queued": 3}


def test_a_name_in_use(http, web, document):
    """A submit under the name of a fleet that is there is refused with what to do, unless a new one is wanted."""
    answer = http.post("/v1/fleets", json=document())
    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["code"], fault["pointer"]) == (422, "fleet_exists", "/name")
    assert "scale web --to 6" in fault["remedy"]
    new = document(on_existing="new", label_pattern="more-{index}")
    assert http.post("/v1/fleets", json=new).status_code == 202


# Python --------------------------------------------------------------------------------------------------------------


def test_the_client(client, web, put):
    """The client has each operation, with filters, ids and single jobs."""
    put(web[0], "failed")
    put(web[1], "failed")
    assert client.retry("web", error_code="vanished").queued == 0
    assert client.retry("web", jobs=[web[0]], deadline="none").queued == 1
    assert client.retry_job(web[1]).job.state == "queued"
    assert client.cancel_job(web[1]).cancelled == 1
    assert client.cancel("web", label="web-0003").cancelled == 1
    assert client.scale("web", 3).labels == ("web-0004", "web-0005")
    plan = client.scale("web", jobs=[web[0]], dry_run=True)
    assert client.scale("web", jobs=[web[0]], confirm=plan.confirm).to == 2
    assert client.spend().tenants[0].spent_usd == 0
    with pytest.raises(NotFound):
        client.cancel("web", jobs=[UNKNOWN])
    with pytest.raises(Refused) as caught:
        client.cancel("web", jobs=())
    assert caught.value.problem.faults[0].field == "jobs"


def test_the_async_client(served, web, put):
    """The asynchronous client has the same operations."""
    put(web[0], "failed")
    put(web[1], "failed")

    async def act():
        async with AsyncClient(served.url, served.key) as client:
            assert (await client.retry("web", jobs=[web[0]])).queued == 1
            assert (await client.retry_job(web[1])).queued == 1
            assert (await client.cancel_job(web[1])).cancelled == 1
            assert (await client.cancel("web", state="queued")).cancelled == 2
            assert (await client.scale("web", 1)).labels == ("web-0004",)
            assert (await client.spend()).fleets[0].name == "web"

    asyncio.run(act())


# The command line ----------------------------------------------------------------------------------------------------


def test_retry_on_the_command_line(served, run, web, put):
    """`retry` says what it does; where instances would be deleted nobody is taken by surprise."""
    put(web[0], "failed")
    done = run("retry", "web", env=served.env)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "Retrying 1 job of web.")
    put(web[0], "failed", linode_id=7)
    asked = run("retry", "web", env=served.env)
    assert asked.exit_code == 2
    assert "1 instance of web will be DELETED" in asked.stderr
    assert "--yes: needed" in asked.stderr
    dry = run("retry", "web", "--dry-run", env=served.env)
    assert (dry.exit_code, "Would retry 1 job" in dry.stdout) == (0, True)
    done = run("retry", "web", "--error", "no_capacity", "--yes", "--json", env=served.env)
    assert json.loads(done.stdout)["deleting"] == 1
    done = run("retry", "web", "--jobs", web[1], env=served.env)
    assert done.exit_code == 1
    assert "refused: web-0002: it is queued; only a failed job can be retried" in done.stderr
    assert "Nothing of web is retried." in done.stdout


def test_a_password_given_again_on_the_command_line(served, run, web, put):
    """A password is given again on standard input; one that nothing needs is refused by its place."""
    put(web[0], "failed")
    done = run("retry", "web", "--root-pass-stdin", env=served.env, stdin=f"{PASSWORD}\n")
    assert done.exit_code == 2
    assert "secrets[0].root_pass" in done.stderr or "secrets_refused" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout


def test_cancel_on_the_command_line(served, run, web, put):
    """`cancel` takes ids and filters, and exits with 1 where a named job cannot be cancelled."""
    done = run("cancel", "web", "--label", "web-0001", env=served.env)
    assert (done.exit_code, "Cancelled 1 jobs of web" in done.stdout) == (0, True)
    put(web[1], "running", linode_id=7)
    done = run("cancel", "web", "--jobs", f"{web[1]}, {web[2]}", env=served.env)
    assert done.exit_code == 1
    assert "refused: web-0002: it is running and owns instance 7" in done.stderr
    assert "1 cancelled" not in done.stderr
    assert run("cancel", "web", "--jobs", ",", env=served.env).exit_code == 2


def test_scale_on_the_command_line(served, run, web, put):
    """`scale` adds unasked where nobody can be asked, and takes away only with `--yes`, having listed what goes."""
    done = run("scale", "web", "--to", "4", env=served.env)
    assert (done.exit_code, "web: from 3 to 4 instances" in done.stdout) == (0, True)
    done = run("scale", "web", "--to", "4", env=served.env)
    assert (done.exit_code, "has 4 instances already; nothing was changed" in done.stdout) == (0, True)
    put(web[0], "running", linode_id=7)
    asked = run("scale", "web", "--jobs", web[0], env=served.env)
    assert asked.exit_code == 2
    assert "DELETED with its instance" in asked.stderr
    assert "--yes: needed" in asked.stderr
    dry = run("scale", "web", "--to", "1", "--dry-run", "--json", env=served.env)
    assert len(json.loads(dry.stdout)["leaving"]) == 3
    done = run("scale", "web", "--to", "1", "--yes", env=served.env)
    assert (done.exit_code, "web: from 4 to 1 instance" in done.stdout) == (0, True)
    assert run("scale", "web", env=served.env).exit_code == 2
    put(web[1], "failed")
    done = run("scale", "web", "--to", "1", env=served.env)
    assert "1 failed job is not counted" in done.stdout


def test_spend_on_the_command_line(served, run, web, put):
    """`fleets --spend`, and `show` of a fleet and of a job, say what was paid."""
    with served.database.read() as tx:
        now = tx.now
    put(web[0], "failed", linode_id=7, created_at=now)
    shown = run("fleets", "--spend", env=served.env)
    assert shown.exit_code == 0
    assert shown.stdout.split()[-5:] == ["fleets", "1", "$0.0075", "$0.0075", "$0.0075"]
    assert json.loads(run("fleets", "--spend", "--json", env=served.env).stdout)["fleets"][0]["name"] == "web"
    words = "$0.0075, $0.0075 of it for what failed; $0.0075 an hour"
    assert words in run("show", "web", env=served.env).stdout
    assert words in run("show", web[0], env=served.env).stdout


def test_submit_of_a_name_in_use_on_the_command_line(served, run, web):
    """`submit` of a name in use says how to go on, in terms of the command line."""
    options = ["--type", "g6-nanode-1", "--region", "us-east", "--label-pattern", "x-{index}"]
    done = run("submit", "--name", "web", *options, env=served.env)
    assert done.exit_code == 2
    assert "[fleet_exists]" in done.stderr
    assert "--on-existing new" in done.stderr
    assert run("submit", "--name", "web", *options, "--on-existing", "new", env=served.env).exit_code == 0

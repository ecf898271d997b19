import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("nodewright"))


@pytest.fixture
def uncertain(served, http, document):
    """The ids of three jobs whose creates stayed unknown."""
    http.post("/v1/fleets", json=document(count=3))
    served.put_all("uncertain", error_code="outcome_unknown")
    return [job["id"] for job in http.get("/v1/jobs?fleet=web").json()["jobs"]]


def test_adopt_and_absent(http, uncertain):
    """A person's word settles an uncertain job: it owns the instance, or its create is sent again."""
    first, second, _ = uncertain
    adopted = http.post(f"/v1/jobs/{first}/resolve", json={"adopt": 4711}).json()["job"]
    assert (adopted["state"], adopted["linode_id"]) == ("booting", 4711)
    line = adopted["timeline"][-1]
    assert line["detail"]["proof"] == "a person's word"
    assert line["actor"].startswith("key ")
    assert http.post(f"/v1/jobs/{second}/resolve", json={"absent": True}).json()["job"]["state"] == "queued"


def test_what_cannot_be_resolved(http, uncertain):
    """A settled job, an instance that another job owns, and a job that is not there are refused, changing nothing."""
    first, second, third = uncertain
    http.post(f"/v1/jobs/{first}/resolve", json={"adopt": 4711})
    answers = {
        (first, "not_uncertain", 409): {"absent": True},
        (second, "instance_owned", 409): {"adopt": 4711},
        ("019b76da-a800-7226-b63c-5ab791b7584a", "not_found", 404): {"absent": True},
    }
    for (job, code, status), body in answers.items():
        answer = http.post(f"/v1/jobs/{job}/resolve", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    states = [job["state"] for job in http.get("/v1/jobs?fleet=web").json()["jobs"]]
    assert states == ["booting", "uncertain", "uncertain"]
    assert third


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], 1, {"adopt": "1"}, {"adopt": 0}, {"adopt": True}, {"adopt": 2**63}, {"absent": False}),
        {"adopt": 1, "absent": True},
        {"absent": True, "force": True},
    ],
)
def test_bad_bodies(http, uncertain, body):
    """Anything but one of the two answers is refused with words that show both."""
    answer = http.post(f"/v1/jobs/{uncertain[0]}/resolve", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert '{"adopt": ID}' in answer.json()["detail"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "exactly one of them is needed"),
        (["--adopt", "1", "--absent"], "exactly one of them is needed"),
        (["--absent"], "--yes: needed where nobody can be asked"),
        (["--adopt", "x"], "got 'x'"),
        (["--adopt", "0"], "--adopt: expected the id of an instance"),
    ],
)
def test_bad_input(served, run, uncertain, arguments, words):
    """The command says what is missing, exits with 2 and changes nothing."""
    done = run("resolve", uncertain[0], *arguments, env=served.env)
    assert done.exit_code == 2
    assert words in done.stderr
    assert run("show", uncertain[0], env=served.env).stdout.startswith("web-0001 uncertain")


def test_not_there_and_not_uncertain(served, run, uncertain):
    """A job that is not there, and one that is not uncertain, are said so."""
    assert "there is no job 'nope'" in run("resolve", "nope", "--absent", env=served.env).stderr
    served.put_all("queued")
    done = run("resolve", uncertain[0], "--absent", "--yes", env=served.env)
    assert done.exit_code == 2
    assert "web-0001 is queued; only an uncertain job can be resolved" in done.stderr


def test_with_yes(served, run, uncertain):
    """With --yes nobody is asked, and the new state is told."""
    done = run("resolve", uncertain[0], "--adopt", "4711", "--yes", env=served.env)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("web-0001 is booting.")


@pytest.mark.parametrize(("answer", "code", "state"), [(b"y\n", 0, "booting"), (b"\n", 1, "uncertain")])
def test_on_a_terminal(served, http, uncertain, environment, answer, code, state):
    """On a terminal the job, its tag and what will follow are shown first, and only a yes does it."""
    ours, theirs = pty.openpty()
    env = environment(**{name: value for name, value in served.env.items() if value})
    command = [COMMAND, "resolve", uncertain[0], "--adopt", "4711"]
    with subprocess.Popen(
        command, env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.write(ours, answer)
        said = process.communicate(timeout=30)[1].decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert f"nw:{uncertain[0]}.1" in said
    assert "owns instance 4711" in said
    assert http.get(f"/v1/jobs/{uncertain[0]}").json()["job"]["state"] == state


def test_an_instance_that_will_go_is_said_so(served, http, run, uncertain):
    """Where a cancel was noted, adopting means deleting."""
    served.put_all("uncertain", ending="cancel")
    done = http.post(f"/v1/jobs/{uncertain[0]}/resolve", json={"adopt": 4711}).json()["job"]
    assert done["state"] == "deleting"
    assert run("resolve", uncertain[1], "--absent", "--yes", env=served.env).stdout.startswith(
        "web-0002 is cancelled."
    )

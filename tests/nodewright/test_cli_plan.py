import json
import os
import pty
import select
import subprocess
import sys

import pytest

SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")


def test_a_plan_fits_one_screen(served, http, run):
    """Cost, guards and what comes next stand on one screen of 80 columns, and nothing is stored."""
    done = run("plan", "--name", "web", "--count", "40", *SPEC, env=served.env)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) < 24
    assert "Plan for fleet web: 40 instances" in done.stdout
    assert "$0.30" in done.stdout
    assert "$200.00" in done.stdout
    assert "0 now, 40 then, of 50" in done.stdout
    assert "Nothing is stored yet. Send it: nodewright submit" in done.stdout
    assert http.get("/v1/fleets").json()["fleets"] == []


def test_a_plan_shows_what_is_refused(served, run, tmp_path):
    """What would be refused stands there with line and remedy; the exit code says how much of it would go on."""
    path = tmp_path / "fleet.yaml"
    groups = (
        "groups:\n- {type: g6-nanode-1, region: us-east}\n- {type: g6-nanode-1, region: us-eats, count: 2}\n"
    )
    path.write_text(f"name: web\n{groups}")
    refused = run("plan", str(path), env=served.env)
    assert refused.exit_code == 2
    assert "fleet.yaml:4: groups[1].region: there is no region 'us-eats'" in refused.stdout
    assert "Nothing would be stored" in refused.stdout
    some = run("plan", str(path), "--on-invalid", "skip", env=served.env)
    assert some.exit_code == 1
    assert "1 of 3 would go on" in some.stdout


def test_a_plan_as_json(served, run):
    """With --json the plan is what the service answered."""
    done = run("plan", "--name", "web", "--count", "2", *SPEC, "--json", env=served.env)
    plan = json.loads(done.stdout)["plan"]
    assert (plan["verdict"], plan["count"], plan["hourly_usd"]) == ("accept", 2, 0.015)


def test_a_document_of_wrong_shape_has_no_plan(served, run):
    """What is no document at all is refused as by submit, with exit code 2."""
    done = run("plan", "--name", "web", "--count", "0", *SPEC, env=served.env)
    assert done.exit_code == 2
    assert "--count: must be greater than or equal to 1" in done.stderr


def on_a_terminal(env, answer, *arguments):
    """Run a command on a terminal of its own and answer its question; return what it showed and its exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nodewright", *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env}, close_fds=True
    )
    os.close(theirs)
    shown, answered = b"", False
    while select.select([ours], [], [], 60)[0]:
        try:
            some = os.read(ours, 4096)
        except OSError:  # the other side was closed
            break
        shown += some
        if b"[y/N]" in shown and not answered:
            answered = True
            os.write(ours, answer)
        if not some:
            break
    os.close(ours)
    return shown.decode(), process.wait(60)


@pytest.mark.parametrize(
    ("answer", "more", "limit", "asked", "stored"),
    [
        (b"y\n", (), "0.2", True, True),
        (b"n\n", (), "0.2", True, False),
        (b"\n", (), "0.2", True, False),
        (b"", ("--yes",), "0.2", False, True),
        (b"", (), "0.3", False, True),
    ],
)
def test_submit_asks_above_a_spend(served, http, answer, more, limit, asked, stored):
    """On a terminal a fleet above the spend of the setting is shown as a plan, and only a yes sends it."""
    env = {**served.env, "NODEWRIGHT_CONFIRM_HOURLY_USD": limit}
    shown, code = on_a_terminal(env, answer, "submit", "--name", "web", "--count", "40", *SPEC, *more)
    assert ("Submit it for $0.30 an hour?" in shown) is asked
    assert (len(http.get("/v1/fleets").json()["fleets"]) == 1) is stored, shown
    assert code == (0 if stored else 1)


def test_submit_does_not_ask_in_a_pipe(served, run):
    """Where nobody sits at a terminal nobody is asked."""
    env = {**served.env, "NODEWRIGHT_CONFIRM_HOURLY_USD": "0"}
    assert run("submit", "--name", "web", "--count", "2", *SPEC, env=env).exit_code == 0

import csv
import json

import pytest

from jobs import keys
from nodewright import serving
from nodewright.failures import BadInput
from nodewright.settings import Settings

PLANS = ("g6-nanode-1", "g6-nanode-9")
SPEC = ["--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12"]


def test_submit_by_options(served, run):
    """A submit without --wait exits with 0 once accepted, and --json prints fleet and jobs."""
    done = run(
        "submit", "--name", "web", "--count", "2", *SPEC, "--tags", "a-b,c-d", "--json", env=served.env
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fleet"]["states"] == {"queued": 2}
    assert {"id", "name", "count", "states"} <= set(found["fleet"])
    first = found["jobs"][0]
    assert {"id", "label", "state", "linode_id", "ipv4", "ipv6", "error"} <= set(first)
    assert (first["label"], first["error"]) == ("web-0001", None)


def test_submit_by_file(served, run, tmp_path):
    """A fleet file may hold several groups, and names files beside it."""
    (tmp_path / "hello.sh").write_text("#!/bin/sh\n")
    (tmp_path / "fleet.yaml").write_text(
        "name: shop\n"
        "groups:\n"
        "  - {name: web, count: 2, type: g6-nanode-1, region: us-east, image: linode/debian12,\n"
        "     label_pattern: 'web-{index}'}\n"
        "  - {name: db, count: 1, type: g6-nanode-1, region: us-east, image: linode/debian12,\n"
        "     label_pattern: 'db-{index}', booted: false}\n"
    )
    done = run("submit", str(tmp_path / "fleet.yaml"), env=served.env)
    assert done.exit_code == 0, done.stderr
    assert "Accepted fleet shop" in done.stdout
    listed = json.loads(run("jobs", "--fleet", "shop", "--json", env=served.env).stdout)
    assert [job["label"] for job in listed["jobs"]] == ["web-1", "web-2", "db-1"]
    found = json.loads(run("jobs", "--search", "web-", "--sort", "label", "--json", env=served.env).stdout)
    assert [job["label"] for job in found["jobs"]] == ["web-1", "web-2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "web", "--count", "0", *SPEC], "--count: must be greater than or equal to 1, got 0"),
        (["--name", "web", "--count", "x", *SPEC], "got 'x'"),
        (["--name", "web", "--count", "51", *SPEC], "quota_exceeded"),
        (["--name", "web"], "--type: is required"),
        ([], "nothing to submit"),
        (["--name", "web", "--type", "g6-nanod-1", *SPEC[2:]], "g6-nanode-1"),
        (["--name", "web", *SPEC, "--authorized-keys-file", "/nowhere"], "'/nowhere' cannot be read"),
        (["/nowhere.yaml"], "'/nowhere.yaml' cannot be read"),
        (["fleet.yaml", "--count", "2"], "--count: cannot be combined with a fleet file"),
        (["--name", "web", *SPEC, "--root-pass-stdin"], "expected a password on standard input"),
    ],
)
def test_bad_input(served, run, arguments, words):
    """Bad input is named with its option and value on standard error, exits with 2, and nothing is stored."""
    done = run("submit", *arguments, env=served.env)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""
    assert run("fleets", "--json", env=served.env).stdout == '{\n  "fleets": []\n}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: web\ntype: g6-nanode-1\nregion: us-eats\nimage: linode/debian12\n", "fleet.yaml:3: region"),
        ("name: web\ncuont: 3\ntype: g6-nanode-1\nregion: us-east\n", "fleet.yaml:2: cuont: unknown key"),
        ("name: [web\n", "malformed YAML"),
        ("", "the file is empty"),
    ],
)
def test_wrong_files(served, run, tmp_path, text, words):
    """A fault in a fleet file is named with the file's line, whoever found it."""
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    done = run("submit", str(path), env=served.env)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_password_is_never_printed(served, run):
    """A password read from standard input shows up nowhere, also when the request is refused."""
    for count in ("1", "51"):
        arguments = ("submit", "--name", "web", "--count", count, *SPEC, "--root-pass-stdin")
        done = run(*arguments, env=served.env, stdin="S3cret-Horse-Battery\n")
        assert "S3cret" not in done.stdout + done.stderr


def test_wait_ends_with_0_when_all_run(served, run, document):
    """With --wait the exit code is 0 when every job runs, and the results are printed."""
    run("submit", "--name", "web", "--count", "2", *SPEC, "--idempotency-key", "k", env=served.env)
    served.give_instances()
    again = ("submit", "--name", "web", "--count", "2", *SPEC, "--idempotency-key", "k", "--wait")
    done = run(*again, env=served.env)
    assert done.exit_code == 0, done.stderr
    assert "web-0002   running" in done.stdout
    assert "web: 2 running" in done.stdout
    assert "\x1b" not in done.stdout


def test_wait_ends_with_1_otherwise(served, run):
    """With --wait the exit code is 1 when a job ended otherwise, and its error is in the JSON."""
    command = ("submit", "--name", "web", "--count", "1", *SPEC, "--idempotency-key", "k", "--json")
    run(*command, env=served.env)
    served.put_all("failed", error_code="no_capacity", error_reason="No capacity")
    done = run(*command, "--wait", env=served.env)
    assert done.exit_code == 1
    error = {"code": "no_capacity", "reason": "No capacity", "field": None}
    assert json.loads(done.stdout)["jobs"][0]["error"] == error


def test_wait_on_a_paused_account(served, run):
    """With --wait on a paused account the alarm is printed and the exit code is 1."""
    run("submit", "--name", "web", *SPEC, "--idempotency-key", "k", env=served.env)
    served.pause("account_limit", "Account Limit reached")
    done = run("submit", "--name", "web", *SPEC, "--idempotency-key", "k", "--wait", env=served.env)
    assert done.exit_code == 1
    assert "alarm: account default is paused: Account Limit reached (account_limit)" in done.stderr
    assert "what to do: ask Linode support" in done.stderr


def test_watch_cancel_and_show(served, run):
    """A cancelled fleet is watched to its end with exit code 1, and each job tells its story."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    assert "Cancelled 2 jobs of web" in run("cancel", "web", env=served.env).stdout
    assert run("watch", "web", env=served.env).exit_code == 1
    job = json.loads(run("jobs", "--json", env=served.env).stdout)["jobs"][0]
    shown = run("show", job["id"], env=served.env).stdout
    assert "cancelled" in shown
    assert "EVENT" in shown
    assert "web-0001" in run("show", "web", env=served.env).stdout


def test_on_invalid_skip(served, run, tmp_path):
    """With --on-invalid skip the wrong group's jobs are rejected, said so on standard error, and the rest goes on."""
    path = tmp_path / "fleet.yaml"
    groups = [
        f"  - {{count: 2, type: {plan}, region: us-east, label_pattern: '{plan}-{{index}}'}}"
        for plan in PLANS
    ]
    path.write_text("name: mixed\ngroups:\n" + "\n".join(groups) + "\n")
    assert run("submit", str(path), env=served.env).exit_code == 2
    done = run("submit", str(path), "--on-invalid", "skip", "--json", env=served.env)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["fleet"]["states"] == {"queued": 2, "rejected": 2}
    assert "fleet.yaml:4: groups[1].type: there is no type 'g6-nanode-9'" in done.stderr


def test_jobs_as_csv(served, run):
    """--csv prints every row with a heading."""
    run("submit", "--name", "web", "--count", "3", *SPEC, env=served.env)
    rows = list(csv.DictReader(run("jobs", "--csv", env=served.env).stdout.splitlines()))
    assert sorted(row["label"] for row in rows) == ["web-0001", "web-0002", "web-0003"]
    assert rows[0]["state"] == "queued"


@pytest.mark.parametrize(
    "command",
    [["fleets"], ["jobs"], ["show", "x"], ["watch", "x"], ["cancel", "x"], ["submit", "--name", "w", *SPEC]],
)
def test_service_not_reached(served, run, command, tmp_path):
    """Every command exits with 3 when the service is not reached, and says what to do."""
    nowhere = {**served.env, "NODEWRIGHT_URL": "", "NODEWRIGHT_HOME": str(tmp_path / "none")}
    done = run(*command, env=nowhere)
    assert done.exit_code == 3
    assert "nodewright up" in done.stderr


@pytest.mark.parametrize(
    "command", [["show", "x"], ["watch", "x"], ["cancel", "x"], ["jobs", "--fleet", "x"]]
)
def test_no_such_fleet(served, run, command):
    """A name that does not exist exits with 2."""
    done = run(*command, env=served.env)
    assert done.exit_code == 2
    assert "'x'" in done.stderr


def test_wrong_key(served, run):
    """A key that the service does not know exits with 2."""
    done = run("fleets", env={**served.env, "NODEWRIGHT_API_KEY": "nwk_wrong"})
    assert done.exit_code == 2
    assert "unknown, revoked or expired" in done.stderr


def test_no_catalog_is_retryable(bare_served, run):
    """While nothing can be validated a submit exits with 3."""
    bare_served.fail_catalog()
    done = run("submit", "--name", "web", *SPEC, env=bare_served.env)
    assert done.exit_code == 3
    assert "no catalog was read yet" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "up",
        "submit",
        "watch",
        "fleets",
        "jobs",
        "show",
        "inventory",
        "cancel",
        "resolve",
        "simulate",
        "serve",
        "worker",
        "migrate",
        "doctor",
    ],
)
def test_help(run, command):
    """Each command has a help page that fits 80 columns and cuts no option short."""
    done = run(command, "--help", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_wrong_settings_are_bad_input(run, tmp_path):
    """A wrong setting ends any command with 2 and one sentence."""
    done = run("migrate", env={"NODEWRIGHT_HOME": str(tmp_path), "NODEWRIGHT_PORT": "x"})
    assert done.exit_code == 2
    assert done.stderr == "error: NODEWRIGHT_PORT: expected a port from 1 to 65535, got 'x'\n"


def test_database_down(run, tmp_path):
    """A database that does not answer ends with 3 and a message without its password."""
    env = {"NODEWRIGHT_HOME": str(tmp_path), "NODEWRIGHT_DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:1/n"}
    done = run("migrate", env=env)
    assert done.exit_code == 3
    assert "cannot be reached" in done.stderr
    assert "s3cret" not in done.stderr


def test_migrate(run, tmp_path):
    """A database is brought to this version, and again without harm."""
    env = {"NODEWRIGHT_HOME": str(tmp_path / "home"), "NODEWRIGHT_DATABASE_URL": ""}
    for _ in range(2):
        assert "at this version" in run("migrate", env=env).stdout


def test_serve_refuses_other_machines_without_a_key(run, tmp_path):
    """Beyond loopback the service refuses to listen without an API key."""
    env = {"NODEWRIGHT_HOME": str(tmp_path), "NODEWRIGHT_API_KEY": "", "NODEWRIGHT_DATABASE_URL": ""}
    run("migrate", env=env)
    done = run("serve", "--host", "0.0.0.0", "--port", "18999", env=env)
    assert done.exit_code == 2
    assert "there is no API key; make one with `nodewright keys create`" in done.stderr


def test_a_key_in_the_table_counts(site):
    """A valid key that `keys create` made lets the service listen beyond loopback; a revoked one does not."""
    settings = Settings.load({})
    serving._refuse_without_key(settings, "0.0.0.0", site.database)
    keys.revoke(site.database, keys.key_id(site.key))
    with pytest.raises(BadInput, match="there is no API key"):
        serving._refuse_without_key(settings, "0.0.0.0", site.database)


def test_doctor(served, run):
    """The doctor looks at everything, says what is wrong with each, and exits with 1."""
    done = run("doctor", "--json", env=served.env)
    found = {one["what"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 1
    assert found["service"]["ok"]
    assert found["database"]["ok"]
    assert "LINODE_TOKEN" in found["token"]["message"]

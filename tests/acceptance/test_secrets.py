import base64
import json
import os
import re
import signal
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from sqlalchemy import create_engine, text

from simulator import SimulatorOptions, background
from tests.acceptance.stack import children, environment, run, until, up

pytestmark = pytest.mark.stack
TOKEN = "d1st1nct1ve-t0ken-0f-the-acc0unt"
STORED = "an0ther-acc0unts-t0ken-kept-sealed"
PASSWORD = "Gl4di0lus+Kn1fe/7"
USER_DATA = "#cloud-config\nchpasswd: {list: 'root:0rchid-Tr0wel'}\n"
FLEET = f"""
name: web
groups:
  - {{name: a, count: 12, type: g6-nanode-1, region: us-east, image: linode/ubuntu24.04,
     root_pass: {json.dumps(PASSWORD)}, user_data: {json.dumps(USER_DATA)}}}
  - {{name: b, count: 2, type: g6-nanode-1, region: us-east, image: linode/ubuntu24.04, reveal_root_pass: true}}
"""


GIVEN = {
    "token": TOKEN,
    "stored token": STORED,
    "password": PASSWORD,
    "user data": USER_DATA,
    "word": "0rchid-Tr0wel",
}


def spellings(secrets=GIVEN):
    """Return each secret as it might lie about: plain, as JSON, quoted for a URL, in base64 at each alignment."""
    found = {}
    for name, secret in secrets.items():
        found[name] = {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
            found[name].add(coded[(0, 2, 3)[shift] : len(coded) - 4])
    return {name: {one.encode() for one in words if len(one) > 8} for name, words in found.items()}


def leaks(places, secrets=GIVEN):
    """Return which secret is found where."""
    words = spellings(secrets)
    return [
        f"{name} in {place}"
        for place, content in places.items()
        for name, secrets in words.items()
        if any(secret in content for secret in secrets)
    ]


def files(folder):
    """Return the content of every file below a folder: database, write-ahead log, logs, keys."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dump(home):
    """Return everything that the stack's own Valkey holds."""
    lines = dict(
        line.split(" ", 1)
        for line in (home / "valkey" / "valkey.conf").read_text().splitlines()
        if " " in line
    )
    url = f"redis://:{lines['requirepass']}@127.0.0.1:{lines['port']}/0"
    held = b""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            if kind == b"list":
                held += b"\n".join(client.lrange(key, 0, -1))
            elif kind == b"hash":
                held += repr(client.hgetall(key)).encode()
            elif kind == b"zset":
                held += repr(client.zrange(key, 0, -1)).encode()
            elif kind == b"set":
                held += repr(client.smembers(key)).encode()
            else:
                held += client.get(key)
    return held


def argv(pid):
    """Return the command lines of a process and its children: every user of the machine can read them."""
    return " ".join([Path(f"/proc/{pid}/cmdline").read_text(), *children(pid).values()]).encode()


def columns(home):
    """Return every row of every table, as a person reads them."""
    engine = create_engine(f"sqlite:///{home / 'nodewright.db'}")
    with engine.connect() as connection:
        names = connection.execute(
            text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        ).scalars()
        rows = [repr(connection.execute(text(f'SELECT * FROM "{name}"')).all()) for name in names.all()]
    engine.dispose()
    return "\n".join(rows).encode()


def test_the_search_finds_what_is_there():
    """The search would find each secret in each of its spellings, or it proves nothing."""
    for name, words in spellings().items():
        for word in words:
            assert f"{name} in here" in leaks({"here": b"..." + word + b"..."})
    coded = base64.b64encode(b"x" + PASSWORD.encode() + b"yz")
    assert leaks({"coded": coded}) == ["password in coded"]


def test_no_secret_in_the_clear(tmp_path):
    """Database, write-ahead log, broker, logs, command lines and all that is printed hold no password, token, API key
    or user data: neither while messages wait in the broker, nor while it runs, nor at the end. A password that is made
    to be revealed is printed once, and so is an API key.
    """
    home = tmp_path / "home"
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    tokens = (TOKEN, f"{STORED}@second")
    options = SimulatorOptions(tokens=tokens, boot=0.5, create_limit=8, create_window=3)
    with background(options) as api:
        env = environment(
            home,
            LINODE_TOKEN=TOKEN,
            LINODE_API_URL=api.url,
            NODEWRIGHT_CREATE_LIMIT="8/3",
            NODEWRIGHT_LOG_LEVEL="debug",
        )
        log = tmp_path / "up.log"
        places = {}
        with up(env, log) as process:
            added = run(env, "accounts", "add", "second", stdin=STORED)
            assert added.returncode == 0, added.stderr
            mapped = ("tenants", "set", "default", "--account", "default", "--account", "second")
            assert run(env, *mapped).returncode == 0
            key = run(env, "keys", "create", "--name", "ci").stdout.strip()
            until(lambda: _is_served(home, "second"), 60)
            (worker,) = [pid for pid, words in children(process.pid).items() if " worker " in words]
            os.kill(worker, signal.SIGSTOP)
            sent = run(env, "submit", str(fleet), "--json")
            assert sent.returncode == 0, sent.stderr
            places["the broker while the worker stands still"] = until(lambda: dump(home), 10)
            places["command lines"] = argv(process.pid)
            os.kill(worker, signal.SIGCONT)
            name = json.loads(sent.stdout)["fleet"]["id"]
            for command in (["watch", name], ["jobs", "--fleet", name, "--json"], ["fleets", "--json"]):
                done = run(env, *command)
                places[" ".join(command)] = (done.stdout + done.stderr).encode()
            first = json.loads(places[f"jobs --fleet {name} --json"])["jobs"][0]["id"]
            for command in (
                ["show", first],
                ["show", first, "--json"],
                ["doctor"],
                ["accounts", "list", "--json"],
                ["accounts", "rotate"],
                ["keys", "list", "--json"],
                ["tenants", "list"],
                ["jobs", "--csv"],
            ):
                done = run(env, *command)
                places[" ".join(command)] = (done.stdout + done.stderr).encode()
            wrong = run(
                env, "submit", "--name", "weak", "--count", "1", "--root-pass-stdin", stdin=PASSWORD + "\n"
            )
            places["a refused submit"] = (wrong.stdout + wrong.stderr).encode()
            places["the broker at the end"] = dump(home)
            places["rows"] = columns(home)
            places |= {f"running: {path}": content for path, content in files(home).items()}
        shown = re.search(r"root password \(not shown again\): (\S+)", sent.stderr)[1]
        places["submit"] = (sent.stdout + sent.stderr).replace(shown, "").encode()
        places["accounts add"] = (added.stdout + added.stderr).encode()
        places["up"] = log.read_bytes()
        places |= files(home)
        made = api.world.audit.report(api.world.instances.values(), 0.0)
    assert json.loads(places[f"jobs --fleet {name} --json"])["jobs"][0]["state"] == "running"
    assert len(made["instances"]) == 14
    assert {one["account"] for one in made["instances"]} == {"simulated", "second"}
    assert leaks(places) == []
    assert leaks(places, {"made password": shown, "API key": key.rpartition("_")[2]}) == []


def _is_served(home, account):
    """Whether the worker has taken an account in: its catalog is read, and reconcile has been through."""
    words = """
        SELECT count(*) FROM accounts, installation
        WHERE accounts.id = :account AND accounts.epoch = installation.epoch
        AND accounts.id IN (SELECT account_id FROM catalogs)
    """
    engine = create_engine(f"sqlite:///{home / 'nodewright.db'}")
    with engine.connect() as connection:
        found = connection.execute(text(words), {"account": account}).scalar_one()
    engine.dispose()
    return found == 1

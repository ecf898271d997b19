import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from simulator import SimulatorOptions, background

pytestmark = pytest.mark.stack
COMMAND = (str(Path(sys.executable).with_name("nodewright")),)
SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")
TOKEN = "stack-test-s3cret-token"
READER = "stack-test-reader"


@contextmanager
def _started(*arguments, env, cwd, log):
    """A command in a session of its own, ended by SIGTERM unless it ended before."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=env,
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(40)


def _descendants(pid):
    """The processes below a process."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


PARTS = {"valkey": b"valkey-server", "service": b"\0serve\0", "worker-1": b"\0worker-1\0"}
"""The parts of a stack, and what only their command lines hold."""


def _pid_of(up, part):
    """The process of one part of a stack."""
    return next(
        pid for pid in _descendants(up.pid) if PARTS[part] in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def _kept(api):
    """How many instances exist, by the simulator's own account."""
    return httpx.get(f"{api.url.removesuffix('/v4')}/_control/audit", trust_env=False).json()["kept"]


def _kill(up, part, log, until):
    """Kill a part by SIGKILL, and wait until it is started again."""
    os.kill(_pid_of(up, part), signal.SIGKILL)
    until(lambda: f"{part} ended with code -9 and is started again" in log.read_text())


@pytest.fixture
def foreign(tmp_path):
    """A working folder with packages of the names of ours, which must never be imported."""
    for name in ("jobs", "worker", "api_client", "simulator", "nodewright"):
        (tmp_path / "foreign" / name).mkdir(parents=True)
        (tmp_path / "foreign" / name / "__init__.py").write_text("raise SystemExit('foreign')")
    return tmp_path / "foreign"


@pytest.fixture
def api():
    """A simulated API on which instances boot at once."""
    with background(
        SimulatorOptions(
            tokens=(TOKEN, f"{READER}:linodes:read_only"), boot=0.5, create_limit=20, create_window=3
        )
    ) as simulator:
        yield simulator


@pytest.fixture
def env(environment, api, tmp_path):
    """The environment of a stack against that API."""
    return environment(
        LINODE_TOKEN=TOKEN,
        LINODE_API_URL=api.url,
        NODEWRIGHT_HOME=str(tmp_path / "home"),
        NODEWRIGHT_CREATE_LIMIT="20/3",
    )


def _ready(log, until):
    until(lambda: "Ctrl-C stops it" in log.read_text(), seconds=40)


def _submit(env, count, *more):
    command = [*COMMAND, "submit", "--name", "web", "--count", str(count), *SPEC, *more, "--wait", "--json"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=90)


def test_up_in_a_foreign_folder(env, api, foreign, tmp_path, until, alive):
    """From a folder with foreign packages a fleet is created exactly once, a killed worker is replaced, and
    after SIGTERM no process, no announcement and no secret is left.
    """
    log = tmp_path / "up.log"
    with _started("up", env=env, cwd=foreign, log=log) as up:
        _ready(log, until)
        pids = _descendants(up.pid)
        done = _submit(env, 25)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert found["fleet"]["states"] == {"running": 25}
        assert len({job["linode_id"] for job in found["jobs"]}) == 25
        _kill(up, "worker-1", log, until)
        pids += _descendants(up.pid)
    assert up.returncode == 0
    assert not [pid for pid in pids if alive(pid)]
    assert not (tmp_path / "home" / "service.json").exists()
    assert api.world.audit.traffic()["refused"] == 0
    for path in [log, *(tmp_path / "home").rglob("*")]:
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_children_end_when_up_is_killed(env, tmp_path, until, alive):
    """When `up` itself is killed by SIGKILL, every part of its stack ends by itself."""
    log = tmp_path / "up.log"
    with _started("up", env=env, cwd=tmp_path, log=log) as up:
        _ready(log, until)
        pids = _descendants(up.pid)
        assert len(pids) >= 3
        up.kill()
        until(lambda: not [pid for pid in pids if alive(pid)], seconds=30)


def test_whatever_part_is_killed(env, api, tmp_path, until):
    """Broker, service and worker are killed in turn while a fleet runs: each is started again, the client that
    follows sees it through, and every job ends with exactly one instance.
    """
    log = tmp_path / "up.log"
    quick = {**env, "NODEWRIGHT_LEASE_SECONDS": "10", "NODEWRIGHT_GRACE_SECONDS": "2"}
    api.world.settings.latency = 0.2
    with _started("up", env=quick, cwd=tmp_path, log=log) as up:
        _ready(log, until)
        with subprocess.Popen(
            [*COMMAND, "submit", "--name", "web", "--count", "50", *SPEC, "--wait", "--json"],
            env=quick,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as submit:
            until(lambda: _kept(api) > 5)
            for part in PARTS:
                _kill(up, part, log, until)
            output, errors = submit.communicate(timeout=120)
    assert submit.returncode == 0, errors
    found = json.loads(output)
    assert found["fleet"]["states"] == {"running": 50}
    assert len({job["linode_id"] for job in found["jobs"]}) == 50
    assert _kept(api) == 50


def test_a_paused_account(env, api, tmp_path, until):
    """At the account's limit a waiting submit prints the alarm and exits with 1; a watch stays, tells also of the
    token that is refused next, and sees the fleet go on by itself once both are over.
    """
    log, seen = tmp_path / "up.log", tmp_path / "watch.log"
    api.world.settings.instance_limit = 3
    with _started("up", env=env, cwd=tmp_path, log=log):
        _ready(log, until)
        done = _submit(env, 5)
        assert done.returncode == 1, done.stderr
        assert "(account_limit)\nwhat to do: ask Linode support" in done.stderr
        states = json.loads(done.stdout)["fleet"]["states"]
        assert states.keys() <= {"queued", "booting", "running"}
        token = api.world.tokens[TOKEN]
        api.world.revoke(TOKEN)
        with _started("watch", "web", env=env, cwd=tmp_path, log=seen) as watch:
            until(lambda: "(unauthorized)" in seen.read_text(), seconds=40)
            api.world.settings.instance_limit = None
            api.world.tokens[TOKEN] = token
            assert watch.wait(60) == 0
    assert "alarm: account default is paused: Account Limit reached" in seen.read_text()
    assert "over: account_limit" in seen.read_text()
    assert "web: 5 running" in seen.read_text()


def test_two_homes_side_by_side(env, tmp_path, until):
    """Two stacks with homes of their own take ports of their own; one home takes one stack."""
    first, second, third = (tmp_path / f"up{number}.log" for number in range(3))
    other = {**env, "NODEWRIGHT_HOME": str(tmp_path / "other")}
    with (
        _started("up", env=env, cwd=tmp_path, log=first),
        _started("up", env=other, cwd=tmp_path, log=second),
    ):
        _ready(first, until)
        _ready(second, until)
        with _started("up", env=env, cwd=tmp_path, log=third) as again:
            assert again.wait(30) == 2
    urls = {log.read_text().partition("up at ")[2].split()[0] for log in (first, second)}
    assert len(urls) == 2
    assert "already has a running stack" in third.read_text()


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "words"),
    [
        ({"LINODE_TOKEN": "wrong"}, (), 2, "unauthorized"),
        ({"LINODE_TOKEN": ""}, (), 2, "LINODE_TOKEN: no token is set"),
        ({}, ("--port", "{taken}"), 2, "choose another port"),
        ({"NODEWRIGHT_DATABASE_URL": "postgresql://u:pw@127.0.0.1:1/n"}, (), 3, "cannot be reached"),
        ({"NODEWRIGHT_REDIS_URL": "redis://127.0.0.1:1/0"}, (), 3, "the broker does not answer"),
        ({"NODEWRIGHT_BROKER_URL": "amqp://127.0.0.1:1/"}, (), 3, "the broker does not answer"),
        ({"LINODE_TOKEN": READER}, (), 2, "lacks the scope linodes:read_write (it has: linodes:read_only)"),
    ],
)
def test_up_refuses_what_cannot_work(env, tmp_path, changes, arguments, code, words):
    """What is wrong at the start is one clear message and an exit code, with nothing left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        filled = [one.format(taken=taken.getsockname()[1]) for one in arguments]
        done = subprocess.run(
            [*COMMAND, "up", *filled],
            env={**env, **changes},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, words in done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_up_without_an_api(env, tmp_path, until):
    """When the API is away the stack comes up all the same, says so, and a submit is told to come again."""
    log = tmp_path / "up.log"
    away = {**env, "LINODE_API_URL": "http://127.0.0.1:1/v4"}
    with _started("up", env=away, cwd=tmp_path, log=log):
        _ready(log, until)
        done = _submit(away, 1)
    assert done.returncode == 3, done.stderr
    assert "no catalog was read yet" in done.stderr
    assert "cannot be reached" in log.read_text()


def test_demo(environment, tmp_path):
    """The demo ends well, with an audit of what was bought."""
    done = subprocess.run(
        [*COMMAND, "demo", "--count", "25"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("asked 25 · running 25 · bought twice 0 · refused calls 0\n")
    assert "… 15 more" in done.stdout


@pytest.mark.parametrize("moment", ["Simulated", "The stack is up", "booting"])
def test_demo_leaves_nothing_behind(environment, tmp_path, until, alive, moment):
    """Ctrl-C, whenever it comes, leaves no process and no folder behind."""
    log = tmp_path / "demo.log"
    env = environment(TMPDIR=str(tmp_path))
    with _started("demo", env=env, cwd=tmp_path, log=log) as demo:
        until(lambda: moment in log.read_text(), seconds=40)
        pids = _descendants(demo.pid)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 130
    assert not [pid for pid in pids if alive(pid)]
    assert not list(tmp_path.glob("nodewright-demo-*"))

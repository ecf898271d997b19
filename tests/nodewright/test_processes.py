import os
import signal
import subprocess
import sys
import threading

import pytest
import redis

from nodewright.embedded import EmbeddedValkey
from nodewright.processes import Part, PartFailed, Supervisor, restart_delay

SLEEPER = (sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()",
)


@pytest.fixture
def part(tmp_path):
    """Makes a part of these arguments."""
    return lambda *argv: Part("part", tuple(argv), dict(os.environ), tmp_path / "part.log")


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.25), (1, 0.5), (3, 2.0), (9, 15.0), (10_000, 15.0)])
def test_restart_delay(failures, seconds):
    """The delay doubles with each death in a row, up to a quarter of a minute."""
    assert restart_delay(failures) == seconds


def test_a_part_that_dies_is_started_again(part, until):
    """A killed part runs again soon, as another process, and it is told."""
    told = []
    with Supervisor(told.append) as supervisor:
        first = supervisor.start(part(*SLEEPER)).pid
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pids.get("part") not in {None, first})
    assert told == ["part ended with code -9 and is started again"]


def test_nothing_is_left_behind(part, until, alive):
    """Leaving the supervisor ends the part, and starts no other."""
    with Supervisor() as supervisor:
        pid = supervisor.start(part(*SLEEPER)).pid
        assert alive(pid)
    assert not alive(pid)
    assert supervisor.pids == {}


def test_a_program_that_does_not_exist(part):
    """A part whose program is not there fails at once, with its name."""
    with Supervisor() as supervisor, pytest.raises(PartFailed, match="part cannot be started"):
        supervisor.start(part("/nowhere/at/all"))


def test_a_part_that_ends_at_once_shows_its_log(part, until):
    """A part that does not stay up is reported with the end of its log."""
    with Supervisor() as supervisor:
        keeper = supervisor.start(part(sys.executable, "-c", "raise SystemExit('no such luck')"))
        until(lambda: keeper.exit_code is not None)
        with pytest.raises(PartFailed, match="no such luck"):
            supervisor.check()


def test_hurry_kills_a_stubborn_part(part, until, alive):
    """Asked to hurry, the supervisor does not wait for a part that ignores SIGTERM."""
    hurry = threading.Event()
    hurry.set()
    supervisor = Supervisor()
    made = part(*STUBBORN)
    pid = supervisor.start(made).pid
    until(lambda: made.log.read_text() == "up\n")
    supervisor.stop(hurry)
    assert not alive(pid)


@pytest.mark.valkey
def test_the_embedded_valkey_dies_with_its_parent(tmp_path, until, alive):
    """When the process that started it is killed, the embedded Valkey ends too."""
    code = (
        "import os, pathlib, signal\n"
        "from nodewright.embedded import EmbeddedValkey\n"
        "from nodewright.processes import Supervisor\n"
        "supervisor = Supervisor()\n"
        f"EmbeddedValkey.planned(pathlib.Path({str(tmp_path)!r})).start(supervisor, dict(os.environ))\n"
        "print(supervisor.pids['valkey'], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until(lambda: not alive(pid))


@pytest.mark.valkey
def test_the_embedded_valkey_wants_its_password(tmp_path):
    """The embedded Valkey answers on loopback to who knows its password, and to nobody else."""
    valkey = EmbeddedValkey.planned(tmp_path / "a folder")
    with Supervisor() as supervisor:
        valkey.start(supervisor, dict(os.environ))
        with redis.Redis(port=valkey.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    assert valkey.password not in repr(valkey)

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.leash import postmaster

pytestmark = [pytest.mark.stack, pytest.mark.postgres]
ROOT = Path(__file__).parents[2]


def _running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(parent):
    """The processes that a process started, with their command lines."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
    return found


def _until(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, inspect.getsource(condition)
        time.sleep(0.05)
    return found


def _all_there(run):
    children = _children(run.pid)
    parts = [line for line in children.values() if "--with-parent" in line]
    leashed = not any("leash.py" in line[3] for line in parts)  # they have become what they are to be
    return children if len(parts) >= 4 and leashed else None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_the_run(how):
    """However a run ends, even frozen processes and PostgreSQL end with it, and no folder stays."""
    command = [sys.executable, "-m", "tests.chaos", "--small", "--instances", "20", "--minutes", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        children = _until(lambda: _all_there(run))
        worker = next(number for number, line in children.items() if "worker-1" in line)
        os.kill(worker, signal.SIGSTOP)
        (janitor,) = [line for line in children.values() if "--janitor" in line]
        folders = [Path(name) for name in janitor[janitor.index("--janitor") + 1 :] if name]
        server = postmaster(folders[0])
        run.send_signal(how)
        run.wait(30)
    assert server is not None
    _until(lambda: [number for number in [*children, server] if _running(number)] == [])
    _until(lambda: [folder for folder in folders if folder.exists()] == [])

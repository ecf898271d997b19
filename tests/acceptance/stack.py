"""What the acceptance tests share: a whole stack as processes of its own, in a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

COMMAND = (sys.executable, "-P", "-m", "nodewright")
SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")


def environment(home, **settings):
    """Return the real environment with exactly these settings of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NODEWRIGHT_", "LINODE_"))}
    return {**kept, "NODEWRIGHT_HOME": str(home), **settings}


def until(condition, seconds, tick=0.1):
    """Wait for the first true value of a condition, and fail when none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(tick)
    raise AssertionError(f"not within {seconds} s")


@contextmanager
def up(env, log, *arguments, seconds=60):
    """Run `nodewright up` until the end of the block, and stop it in good order."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "up", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: "Ctrl-C stops it" in log.read_text() or process.poll() is not None, seconds)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(60)


def run(env, *arguments, stdin="", seconds=300):
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def submit(env, count, *more, name="web", seconds=300):
    """Submit a fleet; return the finished process and what it printed as JSON."""
    done = run(env, "submit", "--name", name, "--count", str(count), *SPEC, *more, "--json", seconds=seconds)
    return done, json.loads(done.stdout or "null")


def children(pid):
    """Return the direct children of a process: pid → its command line."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                words = (stat.parent / "cmdline").read_bytes().decode().split("\0")
                found[int(stat.parent.name)] = " ".join(words)
        except OSError:
            continue
    return found


def kill_worker(pid, name):
    """Kill one worker of a stack by SIGKILL; return whether it ran."""
    for child, words in children(pid).items():
        if f"worker --name {name} " in f"{words} ":
            os.kill(child, signal.SIGKILL)
            return True
    return False

"""``nodewright watch`` as a process, on a terminal and in a pipe."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager

import pytest

SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")


class Terminal:
    """One end of a terminal of its own, and what the process on the other end has shown so far."""

    def __init__(self, ours):
        self.ours = ours
        self.shown = ""

    def resize(self, columns, rows):
        """Give it another size."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, words):
        """Read until it has shown these words; return what it has shown since the last time."""
        since = ""
        while words not in since:
            assert select.select([self.ours], [], [], 30)[0], f"{words!r} was never shown: {since!r}"
            since += os.read(self.ours, 65536).decode(errors="replace")
        self.shown += since
        return since

    def rest(self):
        """Read what is left until the other end is closed."""
        try:
            while some := os.read(self.ours, 65536):
                self.shown += some.decode(errors="replace")
        except OSError:  # the other side was closed
            pass
        return self.shown


@contextmanager
def on_a_terminal(*arguments, env, columns=80, rows=30):
    """Run a command on a terminal of its own."""
    ours, theirs = pty.openpty()
    terminal = Terminal(ours)
    terminal.resize(columns, rows)
    real = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    env = {name: value for name, value in env.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "nodewright", *arguments]
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which a background job ignores, and its children
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**real, "TERM": "xterm", **env}
    )
    os.close(theirs)
    try:
        yield terminal, process
    finally:
        process.kill()
        process.wait(30)
        os.close(ours)


def test_ctrl_c_leaves_the_last_picture(served, run):
    """Ctrl-C ends the watching with 130: the last picture stays as a whole, and the cursor comes back."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    with on_a_terminal("watch", "web", env=served.env) as (terminal, process):
        terminal.until("elapsed")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        last = terminal.rest().rpartition("web  2 instances")[2]
    assert "queued" in last
    assert "elapsed" in last
    assert last.index("elapsed") < last.index("\x1b[?25h") < last.index("Stopped watching")


def test_a_picture_follows_its_terminal(served, run):
    """A terminal that gets another size is wiped, and the picture is drawn anew for it."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    with on_a_terminal("watch", "web", env=served.env) as (terminal, _):
        wide = terminal.until("elapsed")
        terminal.resize(40, 20)
        narrow = terminal.until("\x1b[2J") + terminal.until("elapsed")
    assert max(map(len, wide.splitlines())) > 60
    drawn = narrow.rpartition("web  2 instances")[2]
    assert 0 < max(line.count("░") for line in drawn.splitlines()) < 40


@pytest.mark.parametrize("arguments", [("web", "db"), ()])
def test_several_fleets(served, run, arguments):
    """Several fleets, or all that are at work, are followed until the last of them has ended."""
    for name in ("web", "db"):
        run("submit", "--name", name, "--count", "2", *SPEC, env=served.env)
    with on_a_terminal("watch", *arguments, env=served.env) as (terminal, process):
        terminal.until("2 at work")
        run("cancel", "web", env=served.env)
        terminal.until("1 at work")
        run("cancel", "db", env=served.env)
        assert process.wait(30) == 1
        assert "0 of 4 instances running · 0 at work" in terminal.rest()


def test_nothing_is_at_work(served, run):
    """With no name and nothing at work there is nothing to follow."""
    done = run("watch", env=served.env)
    assert (done.exit_code, done.stdout) == (0, "Nothing is at work.\n")


def test_what_failed_and_what_to_do(served, run):
    """The end of a watched fleet says what failed and what to do, in a pipe too, and exits with 1."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    served.put_all("failed", error_code="no_capacity", error_reason="No capacity")
    done = run("watch", "web", env=served.env)
    assert done.exit_code == 1
    assert "ended otherwise: 2 no_capacity: No capacity (web-0001, web-0002)" in done.stdout
    assert "what to do: Choose another region" in done.stdout


def test_json_lines(served, run):
    """With --json each line is an object, and the last one has the fleet's jobs."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    served.give_instances()
    done = run("watch", "web", "--json", env=served.env)
    (last,) = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 0
    assert last["settled"]
    assert last["fleet"]["states"] == {"running": 2}
    assert [job["label"] for job in last["jobs"]] == ["web-0001", "web-0002"]
    assert {"at", "outlook", "failures", "alarms"} < set(last)


def test_no_unicode(served, run):
    """On a terminal without Unicode the picture is plain ASCII, and nothing fails."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    env = {**served.env, "PYTHONIOENCODING": "ascii"}
    with on_a_terminal("watch", "web", env=env) as (terminal, process):
        terminal.until("elapsed")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        shown = terminal.rest()
    assert shown.isascii()
    assert "......" in shown

"""The parts of a stack as child processes: started, started again when they die, and never left behind.

A part lives no longer than its parent, however the parent dies: its standard input is a pipe that nobody writes to,
and its end means that the parent is gone (:func:`live_with_parent`; programs of others: :mod:`nodewright.tether`).
Each part has its own session, so that a Ctrl-C at the terminal reaches the parent only, which then stops its parts in
good order.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from nodewright.failures import Failure

STOP_SECONDS: Final = 20.0
"""How long a part may take to stop by itself."""
STEADY_SECONDS: Final = 30.0
"""A part that lived so long did not die of its start."""
LONGEST_RESTART_DELAY: Final = 15.0
_LOG_TAIL: Final = 4000


@dataclass(frozen=True)
class Part:
    """One process of the stack: how it is started, and where its output goes."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    descriptors: tuple[int, ...] = ()
    """File descriptors that it inherits."""


class PartFailed(Failure):
    """A part cannot run; the message names it, how it ended, and the end of its log."""


def own_command(*arguments: str) -> tuple[str, ...]:
    """Return the argv of one of our own commands as a part.

    ``-P`` keeps the working folder off the import path: it may hold a foreign ``jobs`` or ``worker`` package.
    """
    return (sys.executable, "-P", "-m", "nodewright", *arguments, "--with-parent")


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before a part that died ``failures`` times in a row is started again."""
    return float(min(LONGEST_RESTART_DELAY, 0.25 * 2 ** min(failures, 10)))


def live_with_parent(descriptor: int = 0) -> None:
    """End this process by SIGTERM once ``descriptor`` ends, and by force if that takes too long."""
    threading.Thread(target=_watch_parent, args=(descriptor,), name="parent-watch", daemon=True).start()


def _watch_parent(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(descriptor, 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


class Keeper:
    """Keeps one part running until it is told to stop."""

    def __init__(self, part: Part, on_restart: Callable[[str], None]) -> None:
        self.part = part
        self._on_restart = on_restart
        self._stopping = threading.Event()
        self._spawned = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        self.exit_code: int | None = None
        # Linux ends a tethered child when the thread that started it ends: so this thread starts them all.
        self._thread = threading.Thread(target=self._keep, name=f"keep-{part.name}", daemon=True)

    def start(self) -> None:
        """Start the part.

        Raises:
            PartFailed: its program cannot be started at all.

        """
        self._thread.start()
        self._spawned.wait()
        if self._error is not None:
            raise PartFailed(f"{self.part.name} cannot be started ({self._error.strerror})") from self._error

    @property
    def pid(self) -> int | None:
        """The present process, or None between two."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def check(self) -> None:
        """Raise :class:`PartFailed` if the part ended in the last moment, and was not told to."""
        if self.exit_code is not None and not self._stopping.is_set():
            raise PartFailed(f"{self.part.name} ended with code {self.exit_code}:\n{tail(self.part.log)}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and start no other process."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came."""
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _keep(self) -> None:
        failures = 0
        while (process := self._spawn()) is not None:
            born = time.monotonic()
            self.exit_code = self._end(process)
            failures = 0 if time.monotonic() - born > STEADY_SECONDS else failures + 1
            if self._stopping.wait(restart_delay(failures)):
                return
            self._on_restart(f"{self.part.name} ended with code {self.exit_code} and is started again")

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                self._process = _popen(self.part)
            except OSError as error:
                self._error = error
                return None
            finally:
                self._spawned.set()
            self.exit_code = None
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        return code


def _popen(part: Part) -> subprocess.Popen[bytes]:
    with part.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own commands
            part.argv,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=part.environment,
            pass_fds=part.descriptors,
            start_new_session=True,
        )


class Supervisor:
    """The parts of one stack. Leaving its ``with`` block stops them all, the last started first."""

    def __init__(self, on_restart: Callable[[str], None] = lambda _: None) -> None:
        self._on_restart = on_restart
        self._keepers: list[Keeper] = []

    def start(self, part: Part) -> Keeper:
        """Start a part and keep it running."""
        keeper = Keeper(part, self._on_restart)
        self._keepers.append(keeper)
        keeper.start()
        return keeper

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by the name of their part."""
        return {one.part.name: one.pid for one in self._keepers if one.pid is not None}

    def check(self) -> None:
        """Raise :class:`PartFailed` if a part is down."""
        for keeper in self._keepers:
            keeper.check()

    def stop(self, hurry: threading.Event | None = None) -> None:
        """Stop every part, by force where one takes too long or ``hurry`` is set.

        The first part is what the others lean on (the broker, the simulator), so it goes last.
        """
        leaning, base = self._keepers[1:], self._keepers[:1]
        for keepers in (leaning, base):
            for keeper in keepers:
                keeper.ask_to_stop()
            _await(keepers, hurry or threading.Event())
        self._keepers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _await(keepers: list[Keeper], hurry: threading.Event) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    for keeper in keepers:
        while not keeper.wait(0.1):
            if hurry.is_set() or time.monotonic() > deadline:
                keeper.kill()


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _LOG_TAIL, 0))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-12:])

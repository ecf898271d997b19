"""The rig: the real processes of one installation, each of which can be killed, frozen and started again.

The chaos run is what systemd is in production: it starts again what it killed. It ends only what it started. All
processes are started by one thread, the main one, because Linux ties a leashed child to the thread that made it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg
import redis
from psycopg.rows import dict_row
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.vault import new_key
from nodewright.embedded import EmbeddedValkey, free_port
from nodewright.home import write_private
from nodewright.processes import own_command, tail
from tests.chaos.leash import postmaster
from tests.support.postgres import PostgresServer

LEASH: Final = Path(__file__).with_name("leash.py")
TOKEN: Final = "chaos-t0ken-that-must-not-be-found"
API_KEY: Final = "chaos-key-of-the-service-0123456789"
DATABASE: Final = "chaos"
WORKERS: Final = ("worker-1", "worker-2")
START_SECONDS: Final = 60.0


@dataclass
class Process:
    """One process: its life is in our hands."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    running: "subprocess.Popen[bytes] | None" = None
    frozen: bool = False
    unasked: list[int] = field(default_factory=list)
    """Exit codes of the ends that nobody asked for."""

    def start(self) -> None:
        """Start it; it dies with this process."""
        leash = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()))
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [*leash, *self.argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs (or is frozen)."""
        return self.running is not None and self.running.poll() is None

    def kill(self) -> bool:
        """SIGKILL it; False: it did not run."""
        process, self.running, self.frozen = self.running, None, False
        if process is None:
            return False
        alive = process.poll() is None
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        return alive

    def freeze(self) -> None:
        """Stop it in its tracks, as a paused virtual machine, but not before its leash holds."""
        if self.running is not None and self.alive:
            line = Path(f"/proc/{self.running.pid}/cmdline")
            while str(LEASH).encode() in line.read_bytes():
                time.sleep(0.001)
            self.running.send_signal(signal.SIGSTOP)
            self.frozen = True

    def thaw(self) -> None:
        """Let it go on, unaware that time has passed."""
        if self.running is not None and self.frozen:
            self.running.send_signal(signal.SIGCONT)
        self.frozen = False

    def revive(self) -> bool:
        """Start it again if it ended without being asked; True: it did."""
        if self.running is None or self.alive:
            return False
        self.unasked.append(self.running.returncode)
        self.kill()
        self.start()
        return True


class Rig:
    """Everything that runs, by name: ``simulator``, ``valkey``, ``postgres``, ``service``, the workers."""

    def __init__(
        self, held: contextlib.ExitStack, *, simulator: tuple[str, ...], settings: dict[str, str]
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nw-chaos-"))
        held.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.postgres = PostgresServer({"max_connections": "500"})
        held.callback(self.postgres.remove)
        self._janitor(held)
        self.postgres.create(DATABASE)
        self.valkey = EmbeddedValkey.planned(self.folder / "valkey")
        self.ports = {"simulator": free_port(), "service": free_port()}
        self.environment = {**_bare_environment(), **self._settings(), **settings}
        self.processes = {one.name: one for one in self._processes(simulator)}
        held.callback(self._stop)

    def _janitor(self, held: contextlib.ExitStack) -> None:
        argv = [
            sys.executable,
            "-I",
            "-S",
            str(LEASH),
            "--janitor",
            str(self.postgres.folder),
            str(self.folder),
        ]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
        held.callback(process.communicate)

    def _settings(self) -> dict[str, str]:
        return {
            "LINODE_TOKEN": TOKEN,
            "LINODE_API_URL": f"{self.url('simulator')}/v4",
            "NODEWRIGHT_DATABASE_URL": self.database_url,
            "NODEWRIGHT_REDIS_URL": self.valkey.url,
            "NODEWRIGHT_HOME": str(self.folder / "home"),
            "NODEWRIGHT_ENCRYPTION_KEYS": new_key(),
            "NODEWRIGHT_API_KEY": API_KEY,
            "NODEWRIGHT_URL": self.url("service"),
            "NODEWRIGHT_MAX_INSTANCES": "100000",
            "NODEWRIGHT_MAX_HOURLY_USD": "100000",
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _processes(self, simulator: tuple[str, ...]) -> Iterator[Process]:
        port = str(self.ports["simulator"])
        yield self._process(
            "simulator", own_command("simulate", "--port", port, "--token", TOKEN, *simulator)
        )
        yield self._process("valkey", self._valkey_command())
        yield self._process("service", own_command("serve", "--port", str(self.ports["service"])))
        for name in WORKERS:
            yield self._process(name, own_command("worker", "--name", name))

    def _process(self, name: str, argv: tuple[str, ...]) -> Process:
        return Process(name, argv, self.environment, self._log(name))

    def _log(self, name: str) -> Path:
        """Our own processes' logs lie apart: no secret may be in them. The simulator tells everybody its token."""
        folder = self.logs / ("theirs" if name == "simulator" else "ours")
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _valkey_command(self) -> tuple[str, ...]:
        self.valkey.folder.mkdir(mode=0o700)
        write_private(self.valkey.folder / "valkey.conf", self.valkey._configuration())
        return self.valkey._part({}).argv[-2:]

    # Starting and ending ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, and wait until the service accepts fleets."""
        for name in ("simulator", "valkey"):
            self.processes[name].start()
        self.await_answer("the simulator", lambda: self.get("simulator", "/_control/health"))
        subprocess.run(
            own_command("migrate")[:-1], env=self.environment, check=True, stdout=subprocess.DEVNULL
        )
        for name in ("service", *WORKERS):
            self.processes[name].start()
        self.await_answer("the service", lambda: self.get("service", "/readyz"))
        self.await_answer("the catalog", lambda: self.query("SELECT 1 FROM catalogs LIMIT 1") or None)

    def _stop(self) -> None:
        for process in self.processes.values():
            process.kill()

    def await_answer(self, name: str, ask: Callable[[], Any]) -> Any:
        """Return the first answer that is not None."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError, psycopg.Error):
                found = ask()
                if found is not None:
                    return found
            time.sleep(0.05)
        raise RuntimeError(
            f"no answer from {name}:\n" + "\n".join(tail(log) for log in self.logs.rglob("*.log"))
        )

    # PostgreSQL ------------------------------------------------------------------------------------------------------

    @property
    def database_url(self) -> str:
        """The installation's database."""
        return self.postgres.url(DATABASE)

    def stop_postgres(self, how: str) -> bool:
        """End PostgreSQL at once: as its own ``immediate`` mode does, or by a SIGKILL; False: it did not run."""
        number = postmaster(self.postgres.folder)
        if number is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGQUIT if how == "immediate" else signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while postmaster(self.postgres.folder) is not None:
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not end")
            time.sleep(0.01)
        return True

    def start_postgres(self) -> None:
        """Start PostgreSQL again; the processes of a killed one may take a moment to be gone."""
        if postmaster(self.postgres.folder) is not None:
            return
        for _ in range(100):
            try:
                self.postgres.start()
            except RuntimeError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"PostgreSQL does not start:\n{tail(self.postgres.folder / 'log')}")

    def query(self, words: str, *values: Any) -> list[dict[str, Any]]:
        """Ask the database, by plain SQL."""
        with psycopg.connect(self.database_url, connect_timeout=5, row_factory=dict_row) as connection:
            found = connection.execute(words, values).fetchall()
        return [{name: _plain(value) for name, value in row.items()} for row in found]

    # Asking ----------------------------------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """Where the simulator or the service listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def get(self, name: str, path: str) -> Any:
        """GET; None where the answer is no success."""
        answer = httpx.get(self.url(name) + path, timeout=10, trust_env=False)
        return answer.json() if answer.is_success else None

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Pull a lever of the simulator."""
        url = f"{self.url('simulator')}/_control/{path}"
        answer = httpx.request(method, url, json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def redis(self) -> "redis.Redis":
        """Return a client of the broker that waits for nothing: the broker may be frozen."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis.from_url(self.valkey.url, socket_timeout=1, socket_connect_timeout=1, retry=once)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _bare_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("NODEWRIGHT_", "LINODE_"))
    }

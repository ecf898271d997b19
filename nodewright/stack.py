"""The whole of Nodewright on one machine, as one thing: broker, workers and service, each its own process."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import httpx
import redis
from kombu.connection import Connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from nodewright.embedded import EmbeddedValkey
from nodewright.failures import Failure, NotReached
from nodewright.home import Home, ServiceAddress
from nodewright.pausing import Pause
from nodewright.processes import Part, Supervisor, own_command, tail
from nodewright.serving import reserve, url_of
from nodewright.settings import LOOPBACK
from nodewright.wiring import Wiring, migrate

CATALOG_SECONDS: Final = 20.0
"""How long the first catalog read may take before the service opens without it."""
SERVICE_SECONDS: Final = 30.0
_POLL: Final = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True)
class StackPlan:
    """How a stack is to be."""

    workers: int = 1
    port: int | None = None
    """None: the default one, or the next that is free."""
    extra: dict[str, str] = field(default_factory=dict, repr=False)
    """Settings of the children that differ from this process's."""


class Stack:
    """One running stack; leaving its ``with`` block stops every part, and nothing stays behind."""

    def __init__(self, wiring: Wiring, plan: StackPlan, pause: Pause, *, say: Say) -> None:
        self._wiring = wiring
        self._plan = plan
        self._pause = pause
        self._say = say
        self._home: Home = wiring.home
        self._supervisor = Supervisor(on_restart=say)
        self._held = ExitStack()
        self._socket: socket.socket | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by the name of their part."""
        return self._supervisor.pids

    def __enter__(self) -> Self:
        self._home.make()
        self._held.enter_context(self._home.held())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._supervisor.stop(self._pause.hurry)
        finally:
            self._held.close()

    def start(self) -> ServiceAddress:
        """Start every part, in order; return where the service is once it answers.

        Raises:
            BadInput: the port that was asked for is taken.
            NotReached: the database or the given Redis does not answer.
            Failure: a part does not come up.
            Interrupted: somebody asked for the end.

        """
        bound = self._held.enter_context(reserve(self._wiring.settings.host, self._plan.port))
        environment = self._environment(self._broker_urls())
        self._prepare_database()
        for number in range(1, self._plan.workers + 1):
            self._start(f"worker-{number}", environment, "worker", "--name", f"worker-{number}")
        self._await_catalog()
        bound.set_inheritable(True)
        self._start(
            "service", environment, "serve", "--fd", str(bound.fileno()), descriptors=(bound.fileno(),)
        )
        return self._await_service(url_of(bound))

    def run(self) -> None:
        """Keep the stack running until somebody asks for the end."""
        self._pause.stopped.wait()

    def _start(
        self, name: str, environment: dict[str, str], *command: str, descriptors: tuple[int, ...] = ()
    ) -> None:
        log = self._home.logs / f"{name}.log"
        self._supervisor.start(Part(name, own_command(*command), environment, log, descriptors))

    def _environment(self, urls: dict[str, str]) -> dict[str, str]:
        changes = {
            **self._plan.extra,
            **urls,
            "NODEWRIGHT_HOME": str(self._home.folder),
            "NODEWRIGHT_DATABASE_URL": self._wiring.database_url,
            "NODEWRIGHT_ENCRYPTION_KEYS": ",".join(self._wiring.encryption_keys()),
            **self._reach(),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return self._wiring.settings.environment(**changes)

    def _reach(self) -> dict[str, str]:
        """Let webhooks reach this machine, unless somebody said otherwise, or others may ask for them."""
        settings = self._wiring.settings
        if settings.webhook_allow_private is not None or settings.host not in LOOPBACK:
            return {}
        return {"NODEWRIGHT_WEBHOOK_ALLOW_PRIVATE": "loopback"}

    def _broker_urls(self) -> dict[str, str]:
        """Return where Redis and broker are; without one given, an embedded Valkey is started."""
        settings = self._wiring.settings
        if settings.broker_url is not None:
            _check_broker(settings.broker_url.get_secret_value())
        if settings.redis_url is not None:
            _check_redis(settings.redis_url.get_secret_value())
            return {}
        valkey = EmbeddedValkey.planned(self._home.folder / "valkey")
        valkey.start(self._supervisor, settings.environment())
        broker = settings.broker_url.get_secret_value() if settings.broker_url else valkey.url
        return {"NODEWRIGHT_REDIS_URL": valkey.url, "NODEWRIGHT_BROKER_URL": broker}

    def _prepare_database(self) -> None:
        self._pause.check()
        with self._wiring.database() as database:
            migrate(database)

    def _await_catalog(self) -> None:
        """Wait until the first catalog read is done or has failed: then submits get a real answer at once."""
        with self._wiring.database() as database:
            service = self._wiring.service(database, notify=lambda: None)
            for _ in range(round(CATALOG_SECONDS / _POLL)):
                state = service.catalog_state()
                if state != "none":
                    break
                self._supervisor.check()
                self._pause(_POLL)
        if state in {"none", "failed"}:
            self._say(f"no catalog yet: {self._wiring.settings.api_url} was not reached; submits wait for it")

    def _await_service(self, url: str) -> ServiceAddress:
        with httpx.Client(base_url=url, timeout=2, trust_env=False) as client:
            for _ in range(round(SERVICE_SECONDS / _POLL)):
                self._supervisor.check()
                found = self._home.service()
                if found is not None and found.url == url and _ready(client):
                    return found
                self._pause(_POLL)
        raise Failure(
            f"the service does not answer at {url}; its log:\n{tail(self._home.logs / 'service.log')}"
        )


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _check_broker(url: str) -> None:
    try:
        with Connection(url, connect_timeout=5) as connection:  # type: ignore[no-untyped-call]
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)
    except (OSError, ValueError, KeyError, ImportError, KombuError) as error:
        words = str(error) or type(error).__name__
        raise NotReached(f"NODEWRIGHT_BROKER_URL: the broker does not answer ({words})") from None


def _check_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except ValueError as error:
        raise NotReached(f"NODEWRIGHT_REDIS_URL: {error}") from None
    except RedisError as error:
        raise NotReached(f"NODEWRIGHT_REDIS_URL: the broker does not answer ({error})") from error

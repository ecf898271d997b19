"""What the service is given when it is built; routes ask for it by the type ``Deps``."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from jobs.hooks import Hooks
from jobs.keys import Principal
from jobs.service import Service
from jobs.sessions import Sessions
from nodewright.logs import FilteringBoundLogger, no_logger
from nodewright.service.guards import LOGINS_AT_ONCE, LOGINS_PER_SECOND, STREAM_SECONDS, RateLimiter, Streams


def _unlimited() -> RateLimiter:
    return RateLimiter(0, monotonic=time.monotonic)


def _logins() -> RateLimiter:
    return RateLimiter(LOGINS_PER_SECOND, burst=LOGINS_AT_ONCE, monotonic=time.monotonic)


@dataclass(frozen=True)
class ServiceDeps:
    """The collaborators of the HTTP service."""

    service: Service
    authenticate: Callable[[str], Principal | None]
    """Returns whose key this is."""
    sessions: Sessions
    """Who is logged in to the page."""
    hooks: Hooks
    """The tenants' endpoints."""
    ready: Callable[[], str | None]
    """Returns why the service cannot answer now, or None."""
    tenant: str = "default"
    """Whose fleets the page shows to a reader without a key."""
    log: FilteringBoundLogger = field(default_factory=no_logger)
    local: bool = False
    """Whether it listens on loopback only, for the stack's own user: the page then needs no key."""
    limiter: RateLimiter = field(default_factory=_unlimited)
    """How often one key may ask."""
    logins: RateLimiter = field(default_factory=_logins)
    """How often one address may give a wrong key."""
    streams: Streams = field(default_factory=Streams)
    """The event streams that are open."""
    stream_seconds: float = STREAM_SECONDS
    """How long an event stream lasts at most."""
    closing: Callable[[], bool] = lambda: False
    """Whether the service is about to end: streams then end too."""


def _given(request: Request) -> ServiceDeps:
    deps: ServiceDeps = request.app.state.deps
    return deps


Deps = Annotated[ServiceDeps, Depends(_given)]

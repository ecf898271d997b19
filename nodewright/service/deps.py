"""What the service is given when it is built; routes ask for it by the type ``Deps``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from jobs.keys import Principal
from jobs.service import Service
from nodewright.logs import FilteringBoundLogger, no_logger


@dataclass(frozen=True)
class ServiceDeps:
    """The collaborators of the HTTP service."""

    service: Service
    authenticate: Callable[[str], Principal | None]
    """Returns whose key this is."""
    ready: Callable[[], str | None]
    """Returns why the service cannot answer now, or None."""
    tenant: str = "default"
    """Whose fleets the page shows to a reader without a key."""
    log: FilteringBoundLogger = field(default_factory=no_logger)
    local: bool = False
    """Whether it listens on loopback only, for the stack's own user: the page then needs no key."""


def _given(request: Request) -> ServiceDeps:
    deps: ServiceDeps = request.app.state.deps
    return deps


Deps = Annotated[ServiceDeps, Depends(_given)]

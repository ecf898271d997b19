"""What a worker is told: frozen values, handed over by whoever starts it. Nothing here reads the environment."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from jobs.admission import CREATE, Limit
from jobs.fleets import Guards
from jobs.reach import Reach
from jobs.transitions import RECONCILE_SOON

LIST_INSTANCES: Final = "GET /linode/instances"
GET_INSTANCE: Final = "GET /linode/instances/{id}"
DELETE_INSTANCE: Final = "DELETE /linode/instances/{id}"
LIST_IMAGES: Final = "GET /images"
LIST_TYPES: Final = "GET /linode/types"
LIST_REGIONS: Final = "GET /regions"
LIST_AVAILABILITY: Final = "GET /regions/availability"

READ_LIMITS: Final[Mapping[str, Sequence[Limit]]] = {
    LIST_INSTANCES: (Limit(200, 60.0),),
    LIST_TYPES: (Limit(200, 60.0),),
    LIST_REGIONS: (Limit(200, 60.0),),
    LIST_AVAILABILITY: (Limit(200, 60.0),),
    LIST_IMAGES: (Limit(20, 60.0),),
    GET_INSTANCE: (Limit(1600, 60.0),),
    DELETE_INSTANCE: (Limit(1600, 60.0),),
}
"""The documented limits, until the replies' headers say otherwise."""


@dataclass(frozen=True)
class Pace:
    """The engine's durations. Each has its reason in docs/explanation."""

    lease: timedelta = timedelta(seconds=60)
    """A worker owns a create for so long: more than all timeouts of one send together."""
    stale_send: timedelta = timedelta(seconds=3)
    """A create that would leave later than this after its intent's commit is not sent."""
    grace: timedelta = timedelta(seconds=60)
    """An instance that is not listed so long after the last unknown send is taken to be absent."""
    reconcile: timedelta = timedelta(minutes=5)
    reconcile_soon: timedelta = RECONCILE_SOON
    """How often reconcile looks while something unknown happened lately."""
    boot_timeout: timedelta = timedelta(minutes=15)
    catalog: timedelta = timedelta(minutes=15)
    heartbeat: timedelta = timedelta(seconds=10)
    tick: timedelta = timedelta(seconds=1)
    tries: int = 10
    """Unknown sends of one attempt before the job is parked."""


def default_name() -> str:
    """Return a name for this worker: host and process."""
    return f"worker@{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class WorkerConfig:
    """Everything a worker process needs."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    token: str = field(repr=False)
    """The token of the account ``account_id``; empty: only those that the database keeps are used."""
    encryption_keys: Sequence[str] = field(repr=False, default=())
    api_url: str = "https://api.linode.com/v4"
    threads: int = 32
    create_limits: Sequence[Limit] = (Limit(20, 15.0),)
    guards: Guards = field(default_factory=Guards)
    account_id: str = "default"
    keep: timedelta | None = None
    """Fleets that ended longer ago are forgotten; None: none is."""
    archive: Path | None = None
    """The folder that they are written to before."""
    name: str = field(default_factory=default_name)
    pace: Pace = Pace()
    reach: Reach = Reach.PUBLIC
    """How far inwards webhooks may be sent."""

    @property
    def limits(self) -> dict[str, Sequence[Limit]]:
        """The limits of every route that the worker calls."""
        return {CREATE: self.create_limits, **READ_LIMITS}

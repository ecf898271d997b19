"""What the acceptance runs of a living fleet share: real processes on PostgreSQL, a fleet, and the API's own books."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from nodewright.client import Client
from tests.chaos.rig import API_KEY, Rig

CREATE_LIMIT: Final = (60, 5)
SIMULATOR: Final = (
    *("--create-limit", str(CREATE_LIMIT[0]), "--create-window", str(CREATE_LIMIT[1])),
    *("--boot", "2", "--boot-spread", "0.5", "--latency", "0.5"),
)
SETTINGS: Final = {"NODEWRIGHT_CREATE_LIMIT": "{}/{}".format(*CREATE_LIMIT), "NODEWRIGHT_THREADS": "24"}
SPEC: Final = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
Say = Callable[[str], None]


@contextlib.contextmanager
def running() -> Iterator[tuple[Rig, Client]]:
    """Start service, two workers, broker, PostgreSQL and the simulated API; end them afterwards."""
    with contextlib.ExitStack() as held:
        rig = Rig(held, simulator=SIMULATOR, settings=SETTINGS)
        rig.start()
        yield rig, held.enter_context(Client(rig.url("service"), API_KEY))


def until(rig: Rig, condition: Callable[[], Any], seconds: float, *, tick: float = 0.05) -> Any:
    """Return the first true value of a condition; start again meanwhile what ended by itself.

    Raises:
        AssertionError: none came in time.

    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        for process in rig.processes.values():
            process.revive()
        time.sleep(tick)
    raise AssertionError(f"not within {seconds:g} s; the jobs are {states(rig)}")


def states(rig: Rig) -> dict[str, int]:
    """Return how many jobs are in which state."""
    rows = rig.query("SELECT state, count(*) AS many FROM jobs GROUP BY state")
    return {row["state"]: row["many"] for row in rows}


def kept(rig: Rig) -> list[dict[str, Any]]:
    """Return the instances that the API has."""
    books = rig.control("GET", "audit")
    return [one for one in books["instances"] if one["deleted"] is None]

"""The stage: the real processes of one installation, and the calls that go wrong on purpose."""

import contextlib

from nodewright.client import Client
from tests.chaos.rig import API_KEY, Rig

SPEC = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
CREATES = {"method": "POST", "route": "/linode/instances"}
QUICK = (
    *("--create-limit", "20", "--create-window", "2"),
    *("--boot", "1", "--boot-spread", "0.5", "--latency", "0.2"),
)
REAL = (
    *("--create-limit", "20", "--create-window", "15"),
    *("--boot", "30", "--boot-spread", "10", "--latency", "1.5"),
)
"""How the API has been measured: what takes a minute there takes half of it here."""


@contextlib.contextmanager
def staged(simulator=QUICK, create_limit="20/2", **settings):
    """Start service, workers, broker, PostgreSQL and the simulated API, each a process; end them afterwards."""
    with contextlib.ExitStack() as held:
        rig = Rig(held, simulator=simulator, settings={"NODEWRIGHT_CREATE_LIMIT": create_limit, **settings})
        rig.start()
        yield rig, held.enter_context(Client(rig.url("service"), API_KEY))


def spoil(rig, label, action="no_capacity", **more):
    """Let the creates with a label go wrong; return the rules' ids."""
    return rig.control("POST", "faults", [{"action": action, "label": label, **CREATES, **more}])


def mend(rig):
    """Let everything go well from now on."""
    rig.control("DELETE", "faults")


def three_of_two_hundred(rig, client, *, boot_timeout="2m"):
    """Submit a fleet of 200 in which three will fail, each for a reason of its own; return it."""
    spoil(rig, "web-0042")
    spoil(rig, "web-0117", reason="This region is not open to your account yet")
    spoil(rig, "web-0163", action="boot_stuck")
    document = {"name": "web", "count": 200, "boot_timeout": boot_timeout, **SPEC}
    return client.submit(document).fleet

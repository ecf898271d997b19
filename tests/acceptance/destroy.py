"""A fleet is destroyed while the API fails and workers are killed: nothing of it is left, nothing else is touched.

``python -m tests.acceptance.destroy`` does it with 200 instances and prints what came of it.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from nodewright.client import Client
from tests.acceptance.live import SPEC, Say, kept, running, states, until
from tests.chaos.rig import Rig

FAULTS: Final[tuple[dict[str, Any], ...]] = tuple(
    {"method": method, "route": route, **fault}
    for method, route, faults in (
        (
            "DELETE",
            "/linode/instances/*",
            (
                {"action": "reset_after", "probability": 0.08},
                {"action": "reset_before", "probability": 0.05},
                {"action": "server_error", "probability": 0.08},
                {"action": "gateway_timeout", "applied": "later", "after": 3, "probability": 0.05},
                {"action": "throttle", "after": 1, "probability": 0.01},
            ),
        ),
        (
            "GET",
            "/linode/instances/*",
            (
                {"action": "server_error", "probability": 0.08},
                {"action": "reset_after", "probability": 0.05},
                {"action": "truncate", "probability": 0.05},
            ),
        ),
        (
            "GET",
            "/linode/instances",
            (
                {"action": "server_error", "probability": 0.2},
                {"action": "list_lag", "after": 5, "probability": 0.2},
            ),
        ),
    )
    for fault in faults
)
PATIENCE: Final = 420.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to. ``left``: instances of ours that the API still has; ``touched``: others that it lost."""

    instances: int
    left: int
    touched: int
    kills: int
    faults: int
    seconds: float
    calls: dict[str, int]
    states: dict[str, int]
    events_after_kill: int
    """Jobs that were deleted after the last kill."""

    @property
    def good(self) -> bool:
        """Whether everything that was to go went, and nothing else."""
        return self.left == 0 and self.touched == 0 and self.states == {"deleted": self.instances}


def run(instances: int, kills: int, *, faults: bool = True, say: Say = print) -> Outcome:
    """Make a fleet, and destroy it."""
    with running() as (rig, client):
        client.submit({"name": "big", "count": instances, **SPEC})
        until(rig, lambda: states(rig) == {"running": instances}, PATIENCE, tick=0.5)
        strangers = _strangers(rig, instances)
        say(f"{instances} run, and {len(strangers)} that are not ours")
        if faults:
            rig.control("POST", "faults", list(FAULTS))
        before, began = _calls(rig), time.monotonic()
        _destroy(client, say)
        killed = _kill_in_turn(rig, instances, kills, say)
        at = rig.query("SELECT clock_timestamp() AS now")[0]["now"]
        until(rig, lambda: states(rig) == {"deleted": instances}, PATIENCE, tick=0.2)
        seconds = time.monotonic() - began
        return _judge(rig, strangers, before, instances, killed, seconds, at)


def _strangers(rig: Rig, instances: int) -> set[int]:
    """Let others make two instances: one looks like ours by its label, one carries another job's tag."""
    ours = f"nodewright:{rig.query('SELECT id FROM installation')[0]['id']}"
    other = "nw:01890000-0000-7000-8000-000000000001.1"
    looks = rig.control("POST", "foreign", {"label": f"big-{instances + 1:04d}"})
    tagged = rig.control("POST", "foreign", {"label": "big-0000", "tags": [ours, other]})
    return {looks["id"], tagged["id"]}


def _destroy(client: Client, say: Say) -> None:
    shown = client.plan_destroy("big")
    done = client.destroy("big", confirm=shown.confirm)
    say(f"destroy of {shown.instances}, {shown.hourly_usd} USD an hour: {done.deleting} are being deleted")


def _kill_in_turn(rig: Rig, instances: int, kills: int, say: Say) -> int:
    """Kill whichever worker is deleting, each time once some more instances are gone; start it again."""
    for number in range(kills):
        gone = round(instances * (number + 0.5) / (kills + 0.5) * 0.8)
        until(rig, lambda gone=gone: _gone(rig) >= gone and _remover(rig), PATIENCE, tick=0.01)
        name = _remover(rig)
        if name is None:
            continue
        process = rig.processes[name]
        process.kill()
        process.start()
        say(f"killed {name} with {_gone(rig)} of {instances} gone")
    return kills


def _remover(rig: Rig) -> str | None:
    rows = rig.query("SELECT owner FROM chores WHERE name LIKE 'removal:%%' AND lease_until > now()")
    return rows[0]["owner"] if rows else None


def _gone(rig: Rig) -> int:
    return instances_of(rig) - len(kept(rig))


def instances_of(rig: Rig) -> int:
    """Return how many instances there ever were."""
    return len(rig.control("GET", "audit")["instances"])


def _calls(rig: Rig) -> dict[str, int]:
    counted: dict[str, int] = {}
    for one in rig.control("GET", "traffic")["calls"]:
        name = f"{one['method']} {one['route']}"
        counted[name] = counted.get(name, 0) + one["count"]
    return counted


def _judge(
    rig: Rig,
    strangers: set[int],
    before: dict[str, int],
    instances: int,
    kills: int,
    seconds: float,
    at: Any,
) -> Outcome:
    present = {one["id"] for one in kept(rig)}
    calls = {name: many - before.get(name, 0) for name, many in _calls(rig).items()}
    fired = sum(rule["fired"] for rule in rig.control("GET", "faults")["faults"])
    later = rig.query("SELECT count(*) AS many FROM job_events WHERE event = 'gone' AND at > %s", at)
    return Outcome(
        instances=instances,
        left=len(present - strangers),
        touched=len(strangers - present),
        kills=kills,
        faults=fired,
        seconds=seconds,
        calls={name: many for name, many in calls.items() if "instances" in name and many},
        states=states(rig),
        events_after_kill=later[0]["many"],
    )


def main() -> int:
    """Do it in full, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--no-faults", action="store_true")
    asked = parser.parse_args()
    done = run(asked.instances, asked.kills, faults=not asked.no_faults)
    say: Say = print
    say(
        f"\ninstances {done.instances} · left {done.left} · foreign touched {done.touched} · "
        f"kills {done.kills} · faults {done.faults} · deleted after the last kill {done.events_after_kill} · "
        f"{done.seconds:.1f} s"
    )
    for name, many in done.calls.items():
        say(f"  {many:5} {name}")
    return 0 if done.good else 1


if __name__ == "__main__":
    sys.exit(main())

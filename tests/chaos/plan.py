"""What happens in one storm: a pure function of the seed. Seconds count from the storm's begin."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

FREEZE_SECONDS: Final = 68.0
"""Longer than the lease of a create as shipped (60 s), and than every timeout."""
FLEET_SIZE: Final = 20
CANCELLED_SIZE: Final = 12
KILLS_PER_MINUTE: Final = {
    "service": 14.0,
    "valkey": 13.0,
    "postgres": 8.0,
    "worker-1": 11.0,
    "worker-2": 11.0,
}
MACHINE: Final = ("worker-1", "worker-2", "service", "valkey", "postgres")

CREATE: Final = {"method": "POST", "route": "/linode/instances"}
_LATE: Final = {**CREATE, "action": "gateway_timeout", "applied": "later"}
_GENERAL: Final[tuple[dict[str, Any], ...]] = (
    {"action": "reset_before", "probability": 0.0609},
    {"action": "reset_after", "probability": 0.087},
    {"action": "request_timeout", "probability": 0.0348},
    {"action": "request_timeout", "applied": "yes", "probability": 0.0435},
    {"action": "request_timeout", "applied": "later", "after": 3, "probability": 0.0261},
    {"action": "server_error", "probability": 0.0348},
    {"action": "server_error", "applied": "yes", "probability": 0.0435},
    {"action": "bad_gateway", "applied": "yes", "probability": 0.0348},
    {"action": "bad_gateway_html", "probability": 0.0261},
    {"action": "maintenance", "probability": 0.0261},
    {"action": "gateway_timeout", "probability": 0.0261},
    {"action": "gateway_timeout", "applied": "yes", "probability": 0.0609},
    {"action": "gateway_timeout", "applied": "later", "after": 5, "probability": 0.0348},
    {"action": "truncate", "probability": 0.0696},
    {"action": "busy", "applied": "yes", "probability": 0.0348},
    {"action": "slow", "delay": 6, "probability": 0.036},
    {"action": "hang", "probability": 0.0096},
    {"action": "hang", "applied": "yes", "probability": 0.0096},
    {"action": "throttle", "after": 1, "probability": 0.018},
    {"action": "throttle_bare", "probability": 0.015},
    {"action": "throttle_html", "probability": 0.015},
    {"action": "list_lag", "after": 8, "probability": 0.036},
)
_OF_LISTS: Final[tuple[dict[str, Any], ...]] = (
    {"action": "reset_before", "probability": 0.045},
    {"action": "reset_after", "probability": 0.045},
    {"action": "server_error", "probability": 0.045},
    {"action": "truncate", "probability": 0.045},
    {"action": "bad_gateway_html", "probability": 0.03},
    {"action": "request_timeout", "probability": 0.03},
    {"action": "slow", "delay": 3, "probability": 0.03},
    {"action": "hang", "probability": 0.006},
    {"action": "throttle", "after": 1, "probability": 0.01},
)
_OF_DELETES: Final[tuple[dict[str, Any], ...]] = (
    {"action": "reset_after", "probability": 0.15},
    {"action": "server_error", "probability": 0.1},
    {"action": "gateway_timeout", "applied": "later", "after": 3, "probability": 0.1},
)


@dataclass(frozen=True, order=True)
class Action:
    """One thing that the storm does, and when."""

    at: float
    kind: str
    """``kill``, ``freeze``, ``flush``, ``outage``, ``submit``, ``peek``."""
    targets: tuple[str, ...] = ()
    lasts: float = 0.0
    """How long until the restart, the thaw, or the end of the outage."""
    how: str = ""
    fleet: "FleetPlan | None" = field(default=None, compare=False)


@dataclass(frozen=True)
class FleetPlan:
    """One fleet to be submitted."""

    key: str
    document: dict[str, Any]
    secrets: tuple[str, ...] = ()
    cancel_after: float | None = None
    by_cli: bool = False
    kill_service_after: float | None = None

    @property
    def count(self) -> int:
        """How many instances it asks for."""
        return int(self.document["count"])


@dataclass(frozen=True)
class Plan:
    """One storm."""

    seed: int
    seconds: float
    actions: tuple[Action, ...]
    faults: tuple[dict[str, Any], ...]
    latest: float
    """When the last create may be applied late, long after its reply."""

    @property
    def fleets(self) -> list[FleetPlan]:
        """Every fleet that is submitted."""
        return [action.fleet for action in self.actions if action.fleet is not None]


def make_plan(seed: int, *, instances: int, minutes: float) -> Plan:
    """Return the storm of this seed."""
    dice, seconds = Random(f"chaos {seed}"), minutes * 60
    freezes = list(_freezes(seconds))
    actions = [
        *freezes,
        *_kills(dice, seconds, freezes),
        *_machines(dice, seconds, freezes),
        *_others(dice, seconds),
        *_submits(dice, seconds, instances),
    ]
    late = {**_LATE, "label": "cancel-*", "after": 80, "lasts": seconds * 0.55, "probability": 0.25}
    return Plan(
        seed,
        seconds,
        tuple(sorted(actions, key=lambda one: one.at)),
        tuple(_faults(late)),
        seconds * 0.55 + 80,
    )


def _freezes(seconds: float) -> Iterator[Action]:
    """Each worker once past its lease, one after the other, and others for a few seconds."""
    long = min(FREEZE_SECONDS, seconds * 0.4)
    yield Action(seconds * 0.08, "freeze", ("worker-1",), long)
    yield Action(seconds * 0.52, "freeze", ("worker-2",), long)
    for share, target in (
        (0.05, "valkey"),
        (0.2, "service"),
        (0.45, "valkey"),
        (0.7, "service"),
        (0.93, "valkey"),
    ):
        yield Action(seconds * share, "freeze", (target,), 2.5)


def _frozen(freezes: list[Action], target: str, at: float) -> bool:
    return any(target in one.targets and one.at - 2 <= at <= one.at + one.lasts + 6 for one in freezes)


def _kills(dice: Random, seconds: float, freezes: list[Action]) -> Iterator[Action]:
    for target, often in KILLS_PER_MINUTE.items():
        free = [at for at in _moments(seconds) if not _frozen(freezes, target, at)]
        wanted = round(often * seconds / 60) if free else 0
        step = len(free) / max(wanted, 1)
        for number in range(wanted):
            at = free[min(int((number + dice.random()) * step), len(free) - 1)]
            how = dice.choice(("immediate", "immediate", "SIGKILL")) if target == "postgres" else "SIGKILL"
            yield Action(at, "kill", (target,), dice.uniform(0.05, 0.9), how)


def _moments(seconds: float) -> list[float]:
    return [number / 10 for number in range(20, int(seconds * 10))]


def _machines(dice: Random, seconds: float, freezes: list[Action]) -> Iterator[Action]:
    """The whole machine at once, and two parts at once."""
    for share in (0.03, 0.46, 0.97):
        yield Action(seconds * share, "kill", MACHINE, dice.uniform(0.5, 1.5), "immediate")
    for share in (0.43, 0.48, 0.5, 0.9, 0.95):
        at = seconds * share
        yield Action(at, "kill", ("worker-1", "worker-2"), dice.uniform(0.1, 1.0), "SIGKILL")


def _others(dice: Random, seconds: float) -> Iterator[Action]:
    for number in range(round(seconds / 12)):
        yield Action(number * 12 + dice.uniform(3, 12), "flush")
    for number in range(round(seconds / 15)):
        yield Action(number * 15 + dice.uniform(0, 15), "peek")
    for share, how in ((0.15, "503"), (0.4, "reset"), (0.62, "refuse"), (0.85, "reset")):
        yield Action(seconds * share, "outage", (), dice.uniform(4, 8), how)


def _submits(dice: Random, seconds: float, instances: int) -> Iterator[Action]:
    number, left = 0, instances
    while left > 0:
        number += 1
        count, left = min(FLEET_SIZE, left), left - FLEET_SIZE
        at = seconds * 0.85 * (number - 1) * FLEET_SIZE / instances + dice.uniform(0, 2)
        yield Action(at, "submit", fleet=_fleet(dice, number, count))
    for more in range(1, 7):
        key = f"chaos-cancel-{more}-{dice.getrandbits(32):08x}"
        plan = FleetPlan(key, _document(f"cancel-{more}", CANCELLED_SIZE), cancel_after=dice.uniform(0.8, 5))
        yield Action(seconds * 0.075 * more, "submit", fleet=plan)


def _fleet(dice: Random, number: int, count: int) -> FleetPlan:
    secrets = (
        f"Chaos-{dice.getrandbits(64):016x}-Pass!",
        f"#cloud-config\n# secret {dice.getrandbits(64):016x}\n",
    )
    given = {"root_pass": secrets[0], "user_data": secrets[1]} if number % 3 == 0 else {}
    by_cli = number % 7 == 1  # the command takes the password by standard input, user data only by a file
    if by_cli:
        given.pop("user_data", None)
    return FleetPlan(
        key=f"chaos-{number}-{dice.getrandbits(32):08x}",
        document={**_document(f"fleet-{number}", count), **given},
        secrets=secrets[: len(given)],
        by_cli=by_cli,
        kill_service_after=dice.uniform(0.0, 0.08) if number % 4 == 2 else None,
    )


def _document(name: str, count: int) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "type": "g6-nanode-1",
        "region": "us-east",
        "image": "linode/ubuntu24.04",
    }


def _faults(late: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield late
    for fault in _GENERAL:
        yield {**CREATE, **fault}
    for route in ("/linode/instances", "/linode/types", "/regions", "/images"):
        for fault in _OF_LISTS:
            yield {"method": "GET", "route": route, **fault}
    for fault in _OF_DELETES:
        yield {"method": "DELETE", "route": "/linode/instances/{id}", **fault}
    for action in ("server_error", "reset_before"):
        yield {"method": "GET", "route": "/linode/instances/{id}", "action": action, "probability": 0.08}

"""Instances and events as functions of time: nothing ticks, a status is read off a timeline.

Times here are *life* seconds: wall seconds scaled by the simulator's speed (``LifeClock``).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

Timeline = tuple[tuple[float, str], ...]
"""Moments (life seconds) and the status from then on, in order."""

BOOTING_AT = 0.5
"""Share of the time to running that is ``provisioning`` (a guess; recorded is the whole only, 45-105 s)."""

SETTLED = frozenset({"running", "offline", "stopped"})
"""Statuses in which a second operation is taken; in others the API says ``Linode busy.``."""


@dataclass(slots=True)
class LifeClock:
    """Wall time → life time, with a speed that can change without anything jumping."""

    speed: float = 1.0
    wall: float = 0.0
    life: float = 0.0

    def at(self, now: float) -> float:
        """Life seconds at wall time ``now``."""
        return self.life + (now - self.wall) * self.speed

    def change(self, speed: float, now: float) -> None:
        """Go on at another speed from ``now``."""
        self.life, self.wall, self.speed = self.at(now), now, speed


def status_at(timeline: Timeline, life: float) -> str:
    """The status at a moment of life."""
    current = timeline[0][1]
    for moment, status in timeline:
        if moment > life:
            break
        current = status
    return current


def iso(wall: float) -> str:
    """A date as the API writes it: UTC, whole seconds, no zone."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S")


BootFate = Literal["running", "offline", "stuck"]
"""How a first boot ends: well, in offline (the boot event failed), or never (it stays in provisioning)."""


def first_boot(life: float, seconds: float, *, boots: bool, fate: BootFate) -> Timeline:
    """The timeline of a new instance; without an image or with ``booted: false`` it ends offline."""
    begin = (life, "provisioning")
    if fate == "stuck":
        return (begin,)
    if not boots:
        return (begin, (life + seconds * BOOTING_AT, "offline"))
    return (begin, (life + seconds * BOOTING_AT, "booting"), (life + seconds, fate))


@dataclass(slots=True)
class Instance:
    """One Linode. ``shown`` is what the API shows but the status; replaced, never changed in place."""

    ident: int
    account: str
    token: str
    shown: dict[str, Any]
    timeline: Timeline
    created: float
    """Wall time at which the create was applied."""
    listed_from: float = 0.0
    """Wall time from which lists show it (list lag)."""
    gone_at: float | None = None
    """Life time at which a delete takes it away."""
    deleted: float | None = None
    """Wall time at which a delete was accepted."""
    foreign: bool = False

    def __deepcopy__(self, memo: object) -> Self:
        return copy.copy(self)

    def change(self, **values: Any) -> None:  # noqa: ANN401 - JSON
        """Show other values from now on."""
        self.shown = {**self.shown, **values}

    def status(self, life: float) -> str:
        """The status at a moment of life."""
        return status_at(self.timeline, life)

    def rendered(self, life: float) -> dict[str, Any]:
        """The object as the API shows it."""
        return {**self.shown, "status": status_at(self.timeline, life)}


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of /account/events: scheduled → started → finished or failed, read off a timeline."""

    ident: int
    account: str
    action: str
    created: float
    timeline: Timeline
    entity: Mapping[str, Any] = field(default_factory=dict)
    username: str = "simulated"

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def rendered(self, life: float) -> dict[str, Any]:
        """The object as the API shows it at a moment of life."""
        status = status_at(self.timeline, life)
        return {
            "id": self.ident,
            "action": self.action,
            "created": iso(self.created),
            "duration": round(max(0.0, min(life, self.timeline[-1][0]) - self.timeline[0][0]), 3),
            "entity": self.entity,
            "secondary_entity": None,
            "message": "The boot failed." if status == "failed" else "",
            "percent_complete": _percent(self.timeline, life),
            "rate": None,
            "read": False,
            "seen": False,
            "status": status,
            "time_remaining": None,
            "username": self.username,
        }


def job_timeline(begin: float, start: float, end: float | None, *, failed: bool = False) -> Timeline:
    """An event's course; without an end it never finishes."""
    course: Sequence[tuple[float, str]] = [(begin, "scheduled"), (start, "started")]
    if end is None:
        return tuple(course)
    return (*course, (end, "failed" if failed else "finished"))


def _percent(timeline: Timeline, life: float) -> int:
    status = status_at(timeline, life)
    if status in ("scheduled", "started") and len(timeline) > 2:  # noqa: PLR2004 - it has an end
        start, end = timeline[1][0], timeline[-1][0]
        done = (life - start) / (end - start) if end > start else 0.0
        return max(0, min(99, int(done * 100)))
    return 100 if status in ("finished", "failed") else 0

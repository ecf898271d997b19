"""A schedule: everything that decides how one run goes, as a value that prints as one replayable line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

UNKNOWN_ACTIONS = (
    "reset_before",
    "reset_after",
    "hang",
    "request_timeout",
    "server_error",
    "bad_gateway",
    "bad_gateway_html",
    "maintenance",
    "gateway_timeout",
    "busy",
)
"""Replies after which nobody knows: each with the create not applied, applied, and applied later."""
DEFINITE_ACTIONS = (
    "throttle",
    "throttle_bare",
    "throttle_html",
    "unauthorized",
    "forbidden",
    "account_limit",
    "plan_limit",
    "vcpu_limit",
    "no_capacity",
    "refuse",
    "not_found",
)
"""Replies that say no, and mean it."""
APPLIED_ACTIONS = ("truncate", "slow", "no_headers", "absurd_headers", "list_lag")
"""Replies to a create that was applied."""


@dataclass(frozen=True)
class Reply:
    """What the API does with the next create: an action, and whether it applies the create all the same.

    Each is used once, in their order: one that was used lets the next create see the one after it.
    """

    action: str = ""
    applied: str = ""
    after: float = 3.0

    def rule(self) -> dict[str, Any]:
        """Return it in the simulator's grammar."""
        rule: dict[str, Any] = {
            "action": self.action,
            "method": "POST",
            "route": "/linode/instances",
            "count": 1,
        }
        if self.applied:
            rule |= {"applied": self.applied, "after": self.after}
        if self.action == "slow":
            rule["delay"] = 60.0
        if self.action == "list_lag":
            rule["after"] = self.after
        return rule

    def __str__(self) -> str:
        return "ok" if not self.action else f"{self.action}{'/' + self.applied if self.applied else ''}"


OUTCOMES: tuple[Reply, ...] = (
    Reply(),
    *(Reply(action, applied) for action in UNKNOWN_ACTIONS for applied in ("no", "yes", "later")),
    Reply("gateway_timeout", "later", after=90.0),
    Reply("request_timeout", "later", after=200.0),
    *(Reply(action) for action in DEFINITE_ACTIONS),
    *(Reply(action) for action in APPLIED_ACTIONS),
    Reply("label_taken", "no"),
    Reply("label_taken", "yes"),
)
"""Every outcome of the create that the explorer crosses with every boundary."""


@dataclass(frozen=True)
class Schedule:
    """One run.

    crashes: at which effect the process dies, counted from the run's start; later ones count on after recovery.
    freeze: at which effect the process is frozen until another one has recovered, then goes on.
    cancel: before which effect a cancel arrives.
    step: at which effect the wall clock jumps, and by how many seconds.
    """

    replies: tuple[Reply, ...] = ()
    crashes: tuple[int, ...] = ()
    freeze: int | None = None
    cancel: int | None = None
    step: tuple[int, float] | None = None
    world: str = ""
    """A twist of the world: ``stranger``, ``vanish``, ``stuck``, ``delete_faults``, ``bad_catalog``, …"""
    extra: tuple[dict[str, Any], ...] = field(default=())

    def line(self) -> str:
        """Return the schedule as one line that :func:`parse` reads."""
        values = {key: value for key, value in asdict(self).items() if value not in (None, (), "", [])}
        return json.dumps(values, separators=(",", ":"), sort_keys=True)


def parse(line: str) -> Schedule:
    """Return the schedule that :meth:`Schedule.line` wrote."""
    values = json.loads(line)
    values["replies"] = tuple(Reply(**reply) for reply in values.get("replies", ()))
    values["crashes"] = tuple(values.get("crashes", ()))
    values["extra"] = tuple(values.get("extra", ()))
    if values.get("step"):
        values["step"] = tuple(values["step"])
    return Schedule(**values)

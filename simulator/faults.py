"""Scripted faults: rules that say which call goes wrong, how, and whether it was applied all the same.

A rule is a mapping (from a YAML or JSON file, or POST /_control/faults); ``README.md`` is its reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from simulator.draws import draw

Applied = Literal["no", "yes", "later"]
"""Whether the call took effect behind the fault: not at all, at once, or ``after`` seconds later."""

ACTIONS: Mapping[str, Applied] = {
    "throttle": "no",
    "throttle_bare": "no",
    "throttle_html": "no",
    "bad_gateway": "no",
    "bad_gateway_html": "no",
    "request_timeout": "no",
    "server_error": "no",
    "maintenance": "no",
    "gateway_timeout": "no",
    "busy": "no",
    "unauthorized": "no",
    "forbidden": "no",
    "account_limit": "no",
    "plan_limit": "no",
    "vcpu_limit": "no",
    "no_capacity": "no",
    "label_taken": "no",
    "not_found": "no",
    "reset_before": "no",
    "refuse": "no",
    "reset_after": "yes",
    "hang": "no",
    "truncate": "yes",
    "slow": "yes",
    "no_headers": "yes",
    "absurd_headers": "yes",
    "list_lag": "yes",
    "boot_stuck": "yes",
    "boot_offline": "yes",
    "down": "no",
}
"""Every action, and whether the call is applied where the rule does not say."""

UNCOUNTED = frozenset(
    [
        "throttle",
        "throttle_bare",
        "throttle_html",
        "bad_gateway",
        "bad_gateway_html",
        "maintenance",
        "reset_before",
        "refuse",
        "down",
    ]
)
"""Actions that happen before the API proper (unless applied): they spend nothing of a rate limit."""

SERVED = frozenset(
    ["truncate", "slow", "no_headers", "absurd_headers", "list_lag", "boot_stuck", "boot_offline"]
)
"""Actions that change how a served call looks: it is always applied."""

Down = Literal["reset", "refuse", "503"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule can look at."""

    method: str
    route: str
    path: str
    label: str | None
    token: str | None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It fires when everything that it names fits, at most ``count`` times."""

    action: str
    method: str = "*"
    route: str = "*"
    label: str | None = None
    token: str | None = None
    nth: tuple[int, ...] = ()
    every: int = 0
    probability: float = 1.0
    count: int | None = None
    start: float = 0.0
    lasts: float | None = None
    applied: Applied = "no"
    after: float = 2.0
    delay: float = 0.0
    how: Down = "reset"
    reason: str | None = None
    region: str | None = None

    def shown(self) -> dict[str, Any]:
        """The rule as a mapping."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}


class FaultError(ValueError):
    """A rule that cannot be read: says which key, what was expected and what was found."""


def parse_rule(values: object, *, now: float) -> Rule:
    """Read one rule; ``start`` counts seconds from ``now``."""
    if not isinstance(values, dict):
        raise FaultError(f"fault: expected a mapping, got {values!r}")
    action = values.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise FaultError(f"action: expected one of {', '.join(ACTIONS)}, got {action!r}")
    read: dict[str, Any] = {"applied": ACTIONS[action], **values}
    read["nth"] = _numbers(read.get("nth", ()))
    read["start"] = now + _number(read, "start", 0.0)
    _check(read)
    return Rule(**read)


_NUMBERS = ("probability", "after", "delay", "start")
_OPTIONAL_NUMBERS = ("lasts", "count")
_TEXTS = ("method", "route", "label", "token", "reason", "region")


def _number(values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FaultError(f"{key}: expected a number, not negative, got {value!r}")
    return float(value)


def _numbers(value: Any) -> tuple[int, ...]:  # noqa: ANN401  # JSON is any
    many = (value,) if isinstance(value, int) else value
    if not isinstance(many, list | tuple) or not all(isinstance(one, int) for one in many):
        raise FaultError(f"nth: expected a number or a list of numbers, got {value!r}")
    return tuple(many)


def _check(values: dict[str, Any]) -> None:
    known = {spec.name for spec in fields(Rule)}
    if unknown := sorted(set(values) - known):
        raise FaultError(f"{unknown[0]}: unknown key, expected one of {', '.join(sorted(known))}")
    for key in _NUMBERS:
        _number(values, key, 0.0)
    for key in _OPTIONAL_NUMBERS:
        if values.get(key) is not None:
            _number(values, key, 0.0)
    for key in _TEXTS:
        if not isinstance(values.get(key, ""), str | None):
            raise FaultError(f"{key}: expected text, got {values[key]!r}")
    _check_choice(values, "applied", get_args(Applied))
    _check_choice(values, "how", get_args(Down))
    if values["action"] in SERVED and values["applied"] != "yes":
        raise FaultError(f"applied: expected yes, as {values['action']} needs it, got {values['applied']!r}")
    if not isinstance(values.get("every", 0), int):
        raise FaultError(f"every: expected a whole number, got {values['every']!r}")


def _check_choice(values: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> None:
    if values.get(key, choices[0]) not in choices:
        raise FaultError(f"{key}: expected one of {', '.join(choices)}, got {values[key]!r}")


@dataclass(slots=True)
class Counted:
    """A rule with what it has seen: calls that matched it, and calls that it spoiled."""

    number: int
    rule: Rule
    seen: int = 0
    fired: int = 0


@dataclass(slots=True)
class Faults:
    """The rules in force, in order: the first that fires decides."""

    seed: int = 0
    rules: list[Counted] = field(default_factory=list)
    added: int = 0

    def add(self, rule: Rule) -> int:
        """Put a rule at the end; returns its number."""
        self.added += 1
        self.rules.append(Counted(self.added, rule))
        return self.added

    def remove(self, number: int | None = None) -> None:
        """Take away one rule, or all."""
        self.rules = [counted for counted in self.rules if number not in (None, counted.number)]

    def outage(self, call: Call, now: float) -> Rule | None:
        """The ``down`` rule that keeps this call from arriving at all, if any."""
        return self._first(call, now, down=True) if self.rules else None

    def pick(self, call: Call, now: float) -> Rule | None:
        """The rule that spoils this call, if any; asked once the call has passed credentials and limits."""
        return self._first(call, now, down=False) if self.rules else None

    def _first(self, call: Call, now: float, *, down: bool) -> Rule | None:
        for counted in self.rules:
            rule = counted.rule
            if (rule.action == "down") is down and _matches(rule, call, now) and self._fires(counted):
                return rule
        return None

    def _fires(self, counted: Counted) -> bool:
        rule = counted.rule
        counted.seen += 1
        if rule.count is not None and counted.fired >= rule.count:
            return False
        if rule.nth and counted.seen not in rule.nth:
            return False
        if rule.every and counted.seen % rule.every:
            return False
        if rule.probability < 1 and draw(self.seed, counted.number, counted.seen) >= rule.probability:
            return False
        counted.fired += 1
        return True


def _matches(rule: Rule, call: Call, now: float) -> bool:
    if now < rule.start or (rule.lasts is not None and now >= rule.start + rule.lasts):
        return False
    return (
        (rule.method in ("*", call.method))
        and (rule.route in ("*", call.route) or fnmatchcase(call.path, rule.route))
        and (rule.label is None or fnmatchcase(call.label or "", rule.label))
        and rule.token in (None, call.token)
        and rule.region in (None, call.region)
    )

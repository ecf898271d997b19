"""What was really made, whatever callers were told: the other half of any test of exactly-once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from simulator.lifecycle import Instance

HTTP_TOO_MANY = "429"


@dataclass(slots=True)
class Audit:
    """Counts of calls by (method, route, what the caller got), and every create that arrived."""

    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    arrivals: list[tuple[float, str, str | None, str | None]] = field(default_factory=list)
    """Creates as they came: wall time, what the caller got, label, token."""
    late: list[tuple[float, str]] = field(default_factory=list)
    """Calls applied after their reply: wall time, and what they came to."""

    def count(self, method: str, route: str, got: str) -> None:
        """One call more."""
        self.calls[method, route, got] += 1

    def report(self, instances: Iterable[Instance], life: float) -> dict[str, Any]:
        """Everything as JSON; ``per_label`` and ``per_tag`` count instances ever made, deleted ones too."""
        made = list(instances)
        return {
            "instances": [_instance(one, life) for one in made],
            "made": len(made),
            "kept": sum(one.deleted is None for one in made),
            "deleted": sum(one.deleted is not None for one in made),
            "per_label": _per(one.shown["label"] for one in made),
            "per_tag": _per(tag for one in made for tag in one.shown["tags"]),
            "kept_per_label": _per(one.shown["label"] for one in made if one.deleted is None),
            "kept_per_tag": _per(tag for one in made if one.deleted is None for tag in one.shown["tags"]),
            **self.traffic(),
        }

    def traffic(self) -> dict[str, Any]:
        """The calls only: cheap to ask for while a run is under way."""
        calls = [
            {"method": method, "route": route, "status": got, "count": count}
            for (method, route, got), count in sorted(self.calls.items())
        ]
        return {
            "calls": calls,
            "requests": self.calls.total(),
            "refused": sum(count for (_, _, got), count in self.calls.items() if got == HTTP_TOO_MANY),
            "creates": [
                {"at": at, "status": got, "label": label, "token": token}
                for at, got, label, token in self.arrivals
            ],
            "applied_late": [{"at": at, "result": result} for at, result in self.late],
        }


def _per(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _instance(one: Instance, life: float) -> dict[str, Any]:
    return {
        "id": one.ident,
        "label": one.shown["label"],
        "tags": one.shown["tags"],
        "type": one.shown["type"],
        "region": one.shown["region"],
        "image": one.shown["image"],
        "status": one.status(life) if one.deleted is None else "deleted",
        "created": one.created,
        "deleted": one.deleted,
        "account": one.account,
        "token": one.token,
        "foreign": one.foreign,
    }

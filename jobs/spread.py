"""How jobs are spread over a tenant's accounts: so that all of them are through at the same time.

An account takes as many creates a second as the windows of its tokens allow. Each job goes where it would be sent
soonest, behind what waits there already.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.windows import Window, usable

NO_LIMIT = 1e6
"""Creates a second of a token without a limit: more than anybody asks for."""


@dataclass(frozen=True)
class Lane:
    """One account's way to the API: creates a second, and how many jobs wait for it."""

    rate: float
    waiting: int = 0


def rate_of(tokens: Iterable[Sequence[Window]]) -> float:
    """Return the creates a second of an account: of all tokens together, each as its tightest bucket allows."""
    return sum(min((_rate(bucket) for bucket in buckets), default=NO_LIMIT) for buckets in tokens)


def _rate(bucket: Window) -> float:
    return usable(bucket) / bucket.seconds if bucket.allowed else NO_LIMIT


def assign(groups: Iterable[tuple[int, Sequence[str]]], lanes: Mapping[str, Lane]) -> list[str]:
    """Return the account of each job, in order. ``groups``: how many jobs, and the accounts that they may go to.

    >>> assign([(3, ["a", "b"])], {"a": Lane(2.0), "b": Lane(1.0)})
    ['a', 'a', 'b']
    """
    loads = {name: float(lane.waiting) for name, lane in lanes.items()}
    chosen = []
    for count, accounts in groups:
        for _ in range(count):
            name = min(accounts, key=lambda one: ((loads[one] + 1) / max(lanes[one].rate, 1e-6), one))
            loads[name] += 1
            chosen.append(name)
    return chosen

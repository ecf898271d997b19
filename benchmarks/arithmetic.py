"""From the simulator's own account of a run to figures. Pure: moments are seconds, and come as arguments."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Buckets = Sequence[tuple[int, float]]


def floor_seconds(count: int, buckets: Buckets, *, latency: float, boot: float) -> float:
    """Return how long ``count`` instances take at least, until the last one runs."""
    return last_opening(count, buckets) + latency + boot


def last_opening(count: int, buckets: Buckets) -> float:
    """Return when the last of ``count`` creates can be received, from the first one on."""
    windows = [Window(limit, seconds) for limit, seconds in buckets]
    now = 0.0
    for _ in range(count):
        now = max([now, *(one.free_at(now) for one in windows)])
        for one in windows:
            one.take(now)
    return now


@dataclass
class Window:
    """A fixed window as the server keeps it: it begins with the first call after the last one's end."""

    limit: int
    seconds: float
    start: float | None = None
    used: int = 0

    def free_at(self, now: float) -> float:
        """Return when the next call passes, if no other comes before."""
        if self.start is None or now >= self.start + self.seconds or self.used < self.limit:
            return now
        return self.start + self.seconds

    def take(self, now: float) -> bool:
        """Count a call that was let through; True: it opened a new window."""
        opened = self.start is None or now >= self.start + self.seconds
        if opened:
            self.start, self.used = now, 0
        self.used += 1
        return opened


@dataclass
class Share:
    """One window of the server's: when it opened, and whose creates were let through in it."""

    start: float
    ours: int = 0
    theirs: int = 0
    refused: int = 0


def shares(creates: Sequence[dict[str, Any]], limit: int, seconds: float, *, prefix: str) -> list[Share]:
    """Return the server's windows, drawn again from the creates that it let through.

    ``prefix``: our labels begin so; the other creates are a stranger's. Refused ones are ours only.
    """
    window, found = Window(limit, seconds), list[Share]()
    for create in creates:
        ours = str(create["label"]).startswith(prefix)
        if create["status"] == "429":
            if found and ours:
                found[-1].refused += 1
            continue
        if window.take(create["at"]):
            found.append(Share(create["at"]))
        found[-1].ours += ours
        found[-1].theirs += not ours
    return found


def taken_share(found: Sequence[Share], limit: int) -> float:
    """Return which share of what the stranger left became ours, in all windows but the last, which need not be full."""
    whole = found[:-1]
    left = sum(limit - one.theirs for one in whole)
    return sum(one.ours for one in whole) / left if left else 1.0


@dataclass(frozen=True)
class Account:
    """What a run came to, by the simulator's audit. ``calls``: every call, reads and catalogs too."""

    made: int
    kept: int
    twice: int
    posts: int
    refused: int
    refused_creates: int
    calls: int
    routes: Counter[str] = field(default_factory=Counter)


def account(audit: dict[str, Any], *, stranger: str = "stranger-") -> Account:
    """Read an audit. ``twice``: instances beyond the first that the same thing was asked for by.

    Instances whose label begins with ``stranger`` are nobody's here: they are neither made nor kept.
    """
    routes = Counter[str]()
    for one in audit["calls"]:
        routes[f"{one['method']} {one['route']}"] += one["count"]
    made = [one for one in audit["instances"] if not one["label"].startswith(stranger)]
    per_job = Counter(_job(one) for one in made)
    return Account(
        made=len(made),
        kept=sum(one["deleted"] is None for one in made),
        twice=sum(count - 1 for count in per_job.values()),
        posts=len(audit["creates"]),
        refused=audit["refused"],
        refused_creates=sum(one["status"] == "429" for one in audit["creates"]),
        calls=audit["requests"],
        routes=routes,
    )


def _job(instance: dict[str, Any]) -> str:
    """Return what an instance was asked for by: our job's tag, else its label."""
    tags = [tag.removeprefix("nw:").partition(".")[0] for tag in instance["tags"] if tag.startswith("nw:")]
    return tags[0] if tags else str(instance["label"])

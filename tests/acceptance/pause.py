"""A burst is paused, at each scope in turn: after the answer nothing is sent; resumed, all of it is made, once.

``python -m tests.acceptance.pause`` does it with 200 instances and prints what came of it.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nodewright.client import Client
from tests.acceptance.live import CREATE_LIMIT, SPEC, Say, kept, running, states, until
from tests.chaos.rig import Rig

SCOPES: Final[tuple[Mapping[str, Any], ...]] = (
    {"fleet": "burst"},
    {"account": "default"},
    {"everything": True},
)
WATCHED: Final = CREATE_LIMIT[1] + 2.0
"""Seconds for which a pause is watched: longer than a window, so that the next one would have been spent."""
_IN_MID_CREATE: Final = "SELECT count(*) AS many FROM jobs WHERE state = 'creating'"
PATIENCE: Final = 300.0


@dataclass(frozen=True)
class Pause:
    """One pause. ``under_way``: creates under way when it was asked for; ``after``: sends after its answer."""

    scope: str
    under_way: int
    seconds: float
    waiting: int
    in_flight: int
    settled: bool
    after: int


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    instances: int
    kept: int
    pauses: tuple[Pause, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was sent after an answer, something could have been, and all were made once."""
        held = all(one.settled and one.after == 0 and one.waiting and one.under_way for one in self.pauses)
        return held and self.kept == self.instances


def run(instances: int, *, scopes: Sequence[Mapping[str, Any]] = SCOPES, say: Say = print) -> Outcome:
    """Submit a burst, and pause it on its way, by each of the scopes."""
    with running() as (rig, client):
        client.submit({"name": "burst", "count": instances, **SPEC})
        pauses = tuple(_pause(rig, client, asked, say) for asked in scopes)
        until(rig, lambda: states(rig) == {"running": instances}, PATIENCE, tick=0.2)
        return Outcome(instances, len(kept(rig)), pauses)


def _pause(rig: Rig, client: Client, asked: Mapping[str, Any], say: Say) -> Pause:
    under_way = until(rig, lambda: _under_way(rig), PATIENCE, tick=0.005)
    began = time.time()
    done = client.pause(**asked)
    answered = time.time()
    time.sleep(WATCHED)
    sent = [one["at"] for one in rig.control("GET", "audit")["creates"]]
    found = Pause(
        done.scope,
        under_way,
        answered - began,
        done.waiting,
        done.in_flight,
        done.settled,
        sum(at > answered for at in sent),
    )
    say(
        f"{found}, sent in all {len(sent)}, between question and answer {sum(began < at <= answered for at in sent)}"
    )
    client.resume(**asked)
    return found


def _under_way(rig: Rig) -> int:
    """Return how many creates are under way once there are several."""
    many = int(rig.query(_IN_MID_CREATE)[0]["many"])
    return many if many >= 5 else 0


def main() -> int:
    """Do it in full, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=250)
    asked = parser.parse_args()
    done = run(asked.instances)
    say: Say = print
    say(
        f"\nasked {done.instances} · kept {done.kept} · sends after an answer {sum(p.after for p in done.pauses)}"
    )
    return 0 if done.good else 1


if __name__ == "__main__":
    sys.exit(main())

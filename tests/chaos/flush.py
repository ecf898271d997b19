"""What an emptied broker costs: the same fleet with and without a FLUSHALL while 1,000 of its jobs wait."""

import argparse
import contextlib
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from nodewright.client import Client
from tests.chaos.audit import compare
from tests.chaos.rig import API_KEY, Rig
from worker.app import WAKE_UPS

SIMULATOR: Final = ("--create-limit", "0", "--boot", "1", "--latency", "0.2")
SETTINGS: Final = {"NODEWRIGHT_CREATE_LIMIT": "0", "NODEWRIGHT_THREADS": "32"}
MORE: Final = 200
"""The fleet is larger than the number that must wait, because some are already under way when the broker is emptied."""
PATIENCE_SECONDS: Final = 180.0
say: Final = partial(print, flush=True)
_STATES: Final = """
    SELECT count(*) FILTER (WHERE state IN ('queued', 'dispatched')) AS waiting,
           count(*) FILTER (WHERE state = 'dispatched') AS dispatched,
           count(*) FILTER (WHERE state = 'running') AS running
    FROM jobs WHERE fleet_id = %s
"""
_DURATION: Final = """
    SELECT extract(epoch FROM max(running_at) - min(submitted_at))::float AS seconds FROM jobs WHERE fleet_id = %s
"""
_ROWS: Final = """
    SELECT results.*, jobs.parked_at IS NOT NULL AS parked
    FROM job_results results JOIN jobs ON jobs.id = results.id
"""


@dataclass(frozen=True)
class Lap:
    """One fleet: how long it took, and what was waiting when the broker was emptied."""

    seconds: float
    running: int
    waiting: int = 0
    dispatched: int = 0
    messages: int = 0


def _submit(rig: Rig, name: str, count: int) -> str:
    document = {"name": name, "count": count, "type": "g6-nanode-1", "region": "us-east"}
    with Client(rig.url("service"), API_KEY) as client:
        return client.submit({**document, "image": "linode/ubuntu24.04"}).fleet.id


def lap(rig: Rig, name: str, count: int, *, flush: bool) -> Lap:
    """Submit one fleet, empty the broker as soon as wake-ups are under way, and wait until all run."""
    fleet = _submit(rig, name, count)
    began = time.monotonic()
    seen = {"waiting": 0, "dispatched": 0}
    messages = 0
    while flush and time.monotonic() - began < PATIENCE_SECONDS:
        seen = rig.query(_STATES, fleet)[0]
        if seen["dispatched"]:
            with rig.redis() as client:
                messages = client.llen(WAKE_UPS)
                client.flushall()
            break
    running = _await(rig, fleet, count, began)
    seconds = rig.query(_DURATION, fleet)[0]["seconds"] or PATIENCE_SECONDS
    return Lap(seconds, running, seen["waiting"], seen["dispatched"], messages)


def _await(rig: Rig, fleet: str, count: int, began: float) -> int:
    while True:
        running = rig.query(_STATES, fleet)[0]["running"]
        if running == count or time.monotonic() - began > PATIENCE_SECONDS:
            return int(running)
        time.sleep(0.2)


def main() -> int:
    """Measure laps by turns; exit 1 if a job did not come to run, or an instance was bought twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=1000, help="how many jobs wait when the broker is emptied"
    )
    parser.add_argument("--laps", type=int, default=3, help="fleets with, and as many without")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    with contextlib.ExitStack() as held:
        rig = Rig(held, simulator=SIMULATOR, settings=SETTINGS)
        rig.start()
        lap(rig, "warm", 50, flush=False)
        return _measure(rig, options.jobs, options.laps)


def _measure(rig: Rig, jobs: int, laps: int) -> int:
    count, faults = jobs + MORE, []
    laps_of: dict[bool, list[Lap]] = {False: [], True: []}
    for number in range(2 * laps):
        flush = number % 2 == 1
        done = lap(rig, f"lap-{number}", count, flush=flush)
        laps_of[flush].append(done)
        what = f"flushed with {done.waiting} waiting, {done.dispatched} dispatched, {done.messages} messages"
        say(
            f"{count} jobs, {what if flush else 'not flushed'}: {done.seconds:.2f} s, {done.running} running",
            flush=True,
        )
        if done.running != count:
            faults.append(f"lap {number}: {done.running} of {count} run")
        if flush and done.waiting < jobs:
            faults.append(f"lap {number}: only {done.waiting} waited")
    calm, flushed = (statistics.median(one.seconds for one in laps_of[flush]) for flush in (False, True))
    say(f"median not flushed {calm:.2f} s, flushed {flushed:.2f} s: the delay is {flushed - calm:+.2f} s")
    verdict = compare(rig.query(_ROWS), rig.control("GET", "audit")["instances"], cancelled=frozenset())
    say(f"asked {verdict.asked} · kept {verdict.kept} · twice {verdict.twice} · orphans {verdict.orphans}")
    for words in [*faults, *verdict.violations[:10]]:
        say(words)
    return 1 if faults or verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())

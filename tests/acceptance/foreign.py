"""The full run against the other API: everything fails, workers are killed all the time, and the count is exact.

    python -m tests.acceptance.foreign --count 120

Two workers; one of them is killed by SIGKILL every 3 seconds for a minute; leases and grace period as shipped. It
prints one JSON object, and ends with 0 when all instances run, each of them once, within five minutes of the last kill.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.stack import environment, kill_worker, run, submit, up
from tests.support.other_api import OtherApi

TOKEN = "a-token-of-another-api"
AFTER_LAST_KILL = 300.0


def jobs_of(env, fleet):
    """Return the fleet's jobs."""
    return json.loads(run(env, "jobs", "--fleet", fleet, "--json").stdout)["jobs"]


def measure(options, folder):
    """Do the run; return what was measured."""
    dice = random.Random(options.seed)
    with OtherApi(token=TOKEN, boot=options.boot, faults=options.faults, seed=options.seed) as api:
        env = environment(folder / "home", LINODE_TOKEN=TOKEN, LINODE_API_URL=api.url)
        with up(env, folder / "up.log", "--workers", "2") as process:
            began = time.monotonic()
            done, printed = submit(env, options.count)
            assert done.returncode == 0, done.stderr
            kills = 0
            while time.monotonic() - began < options.kill_for:
                time.sleep(options.every)
                kills += kill_worker(process.pid, f"worker-{dice.randint(1, 2)}")
            last_kill = time.monotonic()
            while time.monotonic() - last_kill < AFTER_LAST_KILL:
                found = jobs_of(env, printed["fleet"]["id"])
                owned = {job["linode_id"] for job in found if job["state"] == "running"}
                if len(owned) == options.count and owned == set(api.linodes):
                    break
                time.sleep(1)
            ended = time.monotonic()
        states = {}
        for job in found:
            states[job["state"]] = states.get(job["state"], 0) + 1
        return {
            "asked": options.count,
            "states": states,
            "distinct_running": len(owned),
            "instances_at_the_api": len(api.linodes),
            "made_in_all": sum(api.bought.values()),
            "labels_made_twice": sum(count > 1 for count in api.bought.values()),
            "kills": kills,
            "spoiled_creates": dict(api.spoiled),
            "calls": dict(sorted(api.seen.items())),
            "seconds_in_all": round(ended - began, 1),
            "seconds_after_last_kill": round(ended - last_kill, 1),
            "exact": len(owned) == options.count and owned == set(api.linodes),
        }


def main():
    """Read the options, do the run, print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two kills")
    parser.add_argument("--kill-for", type=float, default=60.0, help="seconds for which workers are killed")
    parser.add_argument("--faults", type=float, default=0.2, help="share of creates that are spoiled")
    parser.add_argument("--boot", type=float, default=20.0, help="seconds from a create to running")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nw-foreign-") as folder:
        found = measure(options, Path(folder))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""``make fuzz``: thousands of requests made from the OpenAPI document, against the service on a real PostgreSQL."""

import argparse
import sys
import tempfile

from tests.fuzz.rig import fuzz, fuzzable
from tests.support.postgres import running_postgres

MOST_ROUNDS = 20


def main() -> int:
    """Fuzz until there were enough cases; return 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=5000, help="at least so many requests")
    parser.add_argument(
        "--examples", type=int, default=100, help="generated examples per operation and round"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first round's seed")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with (
        running_postgres() as server,
        tempfile.TemporaryDirectory() as folder,
        fuzzable(server.url(server.create())) as (address, key, tally),
    ):
        for number in range(MOST_ROUNDS):
            phases = "examples,fuzzing" if number else "examples,coverage,fuzzing"
            code, said = fuzz(
                address,
                key,
                folder,
                phases=phases,
                examples=asked.examples,
                seed=asked.seed + number,
                seconds=1800,
            )
            shown = ", ".join(f"{int(status)}: {count}" for status, count in sorted(tally.statuses.items()))
            print(f"round {number + 1}: {tally.cases} cases ({shown})", flush=True)
            if code or tally.server_errors:
                print(said)
                return 1
            if tally.cases >= asked.cases:
                print("no 500, no undocumented status, no undocumented shape")
                return 0
    print(f"only {tally.cases} cases in {MOST_ROUNDS} rounds")
    return 1


if __name__ == "__main__":
    sys.exit(main())

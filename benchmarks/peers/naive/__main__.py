"""Run the naive service once: ``python -m benchmarks.peers.naive URL TOKEN COUNT --folder FOLDER``.

Broker and database are its own: an embedded Valkey and a SQLite file in FOLDER, unless others are given. It prints
what it believes it has made, as JSON.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.lab import environment
from benchmarks.peers.naive.service import NaivePlan, figures, running_naive
from nodewright.embedded import EmbeddedValkey
from nodewright.processes import Supervisor


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.peers.naive")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("count", type=int)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", help="by default SQLite in the folder")
    parser.add_argument("--broker", help="by default an embedded Valkey")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--within", type=float, default=600.0, help="seconds after which it is given up")
    values = parser.parse_args()
    database = values.database or f"sqlite:///{values.folder / 'naive.db'}"
    with _broker(values.broker, values.folder) as broker:
        plan = NaivePlan(database, broker, values.url, values.token, values.processes, values.threads)
        with running_naive(plan, values.folder) as service:
            print(json.dumps(figures(service, values.count, within=values.within)))


@contextmanager
def _broker(given: str | None, folder: Path) -> Iterator[str]:
    if given is not None:
        yield given
        return
    valkey = EmbeddedValkey.planned(folder / "naive-valkey")
    with Supervisor() as supervisor:
        valkey.start(supervisor, environment())
        yield valkey.url


if __name__ == "__main__":
    main()

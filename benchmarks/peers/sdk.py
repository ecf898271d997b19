"""The official Python SDK: create so many instances, in series or by threads, and wait until each runs.

Its own retries are on, as they are by default: 408, 429 and 502 are tried again up to five times.

    python -m benchmarks.peers.sdk URL TOKEN COUNT [--threads 10]

It prints what it believes it has made, as JSON.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any

from linode_api4 import Instance, LinodeClient  # type: ignore[import-untyped]

POLL_SECONDS = 2.0


class Maker:
    """Makes and awaits instances. A client belongs to one thread, because its session does."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._mine = local()

    @property
    def _client(self) -> LinodeClient:
        if not hasattr(self._mine, "client"):
            self._mine.client = LinodeClient(self._token, base_url=self._url)
        return self._mine.client

    def create(self, number: int) -> int | None:
        """Create one; return its id, or None where the SDK gives up."""
        try:
            made: Any = self._client.linode.instance_create(
                "g6-nanode-1",
                "us-east",
                image="linode/debian12",
                root_pass="aComplexP@ssw0rd",
                label=f"web-{number:04}",
            )
        except Exception as error:  # noqa: BLE001 - the SDK raises its own errors and those of requests and urllib3
            print(f"web-{number:04}: {error}", file=sys.stderr)
            return None
        return int((made[0] if isinstance(made, tuple) else made).id)

    def running(self, ident: int) -> bool:
        """Wait until one runs; False where the SDK gives up."""
        try:
            while self._client.load(Instance, ident).status != "running":
                time.sleep(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            print(f"{ident}: {error}", file=sys.stderr)
            return False
        return True


def run(maker: Maker, count: int, threads: int) -> dict[str, Any]:
    """Create all, then wait for each; return figures."""
    began = time.time()
    with ThreadPoolExecutor(threads) as pool:
        made = [ident for ident in pool.map(maker.create, range(count)) if ident is not None]
        running = sum(pool.map(maker.running, made))
    return {"running": running, "failed": count - running, "seconds": time.time() - began}


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.peers.sdk")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("count", type=int)
    parser.add_argument("--threads", type=int, default=1)
    values = parser.parse_args()
    print(json.dumps(run(Maker(values.url, values.token), values.count, values.threads)))


if __name__ == "__main__":
    main()

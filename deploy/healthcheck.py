"""Whether this container does its work; exit code 0 or 1. Docker asks again and again.

    python healthcheck.py service     the HTTP service is ready to answer
    python healthcheck.py worker      the worker's database is there and migrated, its Redis answers,
                                      and some worker's loop ran lately

It never calls the Linode API: a check must not spend the rate limit.
"""

import sys
from datetime import timedelta
from typing import Final

import httpx
import redis

from jobs import house, schema
from nodewright.settings import DEFAULT_PORT, Settings
from nodewright.wiring import Wiring
from nodewright.working import redis_url

SILENCE: Final = timedelta(seconds=60)
"""The loop beats every 10 s."""


def service(settings: Settings) -> str | None:
    """Return why the service is not ready, or None."""
    url = f"http://127.0.0.1:{settings.port or DEFAULT_PORT}/readyz"
    try:
        reply = httpx.get(url, timeout=3, trust_env=False)
    except httpx.TransportError as error:
        return f"no answer ({type(error).__name__})"
    return None if reply.is_success else reply.json().get("detail", reply.reason_phrase)


def worker(settings: Settings) -> str | None:
    """Return what keeps workers from working, or None."""
    with redis.Redis.from_url(redis_url(settings), socket_timeout=3, socket_connect_timeout=3) as broker:
        broker.ping()
    with Wiring(settings).database() as database:
        if not schema.is_current(database):
            return "the database is not at this version"
        with database.read() as tx:
            silent = tx.now - house.last_heartbeat(tx)
    return f"no worker's loop ran for {silent.seconds} s" if silent > SILENCE else None


def main(kind: str) -> int:
    """Ask, print why not, and return the exit code."""
    try:
        why_not = {"service": service, "worker": worker}[kind](Settings.load())
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is no
        why_not = f"{type(error).__name__}: {error}"
    print(why_not or "healthy")
    return 1 if why_not else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

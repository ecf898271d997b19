"""What other services feel while a fleet runs: 50 calls a second, whether or not earlier ones were answered.

The real stack works at a fleet of 1,000 that was submitted before, at 20 creates per 15 s. Calls leave at their
scheduled moments, and a call's latency counts from there: a stall is felt by every call that it holds up.

python -m benchmarks.open_loop [--quick]
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.arithmetic import account
from benchmarks.bulk import ENGINES, KEY
from benchmarks.databases import DURABLE
from benchmarks.lab import SPEC, Api, Ours, scratch, simulated, stack
from benchmarks.report import Bound, Row, main
from jobs.vault import new_key
from tests.support.postgres import PostgresServer

RATE = 50
"""Calls per second, posts and lists in turn: half of what the service takes from one key."""
TIMEOUT = 30.0
POST, LIST = "POST /v1/fleets, one job", "GET /v1/jobs"
MOST_MS = 100.0


@dataclass(frozen=True)
class Answer:
    """How one call ended: ``ended`` is its status, or the error's name; both times count from when it was due."""

    kind: str
    ended: str
    late: float
    seconds: float


def measure(*, quick: bool) -> list[Row]:
    engines = ["postgresql"] if quick else list(ENGINES)
    return [row for engine in engines for row in _measured(engine, quick=quick)]


def _measured(engine: str, *, quick: bool) -> list[Row]:
    count, seconds = (200, 8) if quick else (1_000, 60)
    with scratch() as folder, simulated(Api(), folder) as simulator, _settings(engine) as settings:
        ours = Ours(settings={**settings, "NODEWRIGHT_API_KEY": KEY})
        with stack(simulator, ours, folder) as client:
            client.submit({"name": "large", "count": count, **SPEC})
            before = account(simulator.audit()).posts
            answers = asyncio.run(_offered(client.url, RATE * seconds))
            creates = account(simulator.audit()).posts - before
            refused = account(simulator.audit()).refused
    table = f"{RATE} calls a second for {seconds} s while a fleet of {count:,} runs, open loop ({ENGINES[engine]})"
    most = 500.0 if quick else MOST_MS
    beside = {"creates meanwhile": creates, "refused": refused}
    return [_row(table, kind, answers, most, beside) for kind in (POST, LIST)]


@contextmanager
def _settings(engine: str) -> Iterator[Mapping[str, str]]:
    """Yield the settings that lead to a fresh database; the stack's own is SQLite."""
    if engine == "sqlite":
        yield {}
        return
    server = PostgresServer(DURABLE)
    try:
        url = server.url(server.create())
        yield {"NODEWRIGHT_DATABASE_URL": url, "NODEWRIGHT_ENCRYPTION_KEYS": new_key()}
    finally:
        server.remove()


# Calls ---------------------------------------------------------------------------------------------------------------


async def _offered(url: str, count: int) -> list[Answer]:
    """Send ``count`` calls, each at its moment; wait for all answers at the end."""
    headers = {"Authorization": f"Bearer {KEY}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    now = asyncio.get_running_loop().time
    gc.freeze()  # a full collection of this process would be felt as a stall of the service
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=TIMEOUT, trust_env=False
    ) as http:
        began, calls = now(), []
        for number in range(count):
            due = began + number / RATE
            await asyncio.sleep(max(due - now(), 0))
            calls.append(asyncio.create_task(_call(http, number, due)))
        return await asyncio.gather(*calls)


async def _call(http: httpx.AsyncClient, number: int, due: float) -> Answer:
    now = asyncio.get_running_loop().time
    kind, late = (LIST if number % 2 else POST), now() - due
    try:
        ended = str((await _send(http, kind, number)).status_code)
    except httpx.TransportError as error:
        ended = type(error).__name__
    return Answer(kind, ended, late, now() - due)


async def _send(http: httpx.AsyncClient, kind: str, number: int) -> httpx.Response:
    if kind == LIST:
        return await http.get("/v1/jobs")
    document = {"name": f"single{number:05d}", "count": 1, **SPEC}
    return await http.post("/v1/fleets", json=document, headers={"Idempotency-Key": f"open-loop-{number}"})


# Figures -------------------------------------------------------------------------------------------------------------


def _row(table: str, kind: str, answers: Sequence[Answer], most: float, beside: Mapping[str, Any]) -> Row:
    mine = [answer for answer in answers if answer.kind == kind]
    took = sorted(answer.seconds * 1000 for answer in mine)
    ends = Counter(answer.ended for answer in mine)
    figures = {
        "p50 ms": took[len(took) // 2],
        "p99 ms": took[len(took) * 99 // 100],
        "max ms": took[-1],
        "sent late, max ms": max(answer.late for answer in mine) * 1000,
        "answers": ", ".join(f"{count:,} of {ended}" for ended, count in ends.most_common()),
        "errors": sum(count for ended, count in ends.items() if not ended.startswith("2")),
        **beside,
    }
    bounds = {"p99 ms": Bound(most=most), "errors": Bound(most=0), "refused": Bound(most=0)}
    return Row(table, kind, figures, bounds)


if __name__ == "__main__":
    sys.exit(main("open_loop", measure))

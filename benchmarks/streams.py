"""What 200 people, or 200 programs, who watch a fleet come up cost the service, and the fleet.

A fleet at the standard limit, on the real stack: with nobody watching, with 200 pages of the fleet open, and with 200
streams of its events. Keys are several, because one may hold a quarter of the streams.

python -m benchmarks.streams [--quick]
"""

import asyncio
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any
from urllib.parse import urlsplit

from benchmarks.arithmetic import shares
from benchmarks.lab import SPEC, Api, Ours, scratch, settled, simulated, stack
from benchmarks.report import Bound, Figures, Row, main
from jobs import keys
from jobs.database import Database
from jobs.sessions import Sessions
from nodewright.client import Client
from nodewright.home import Home
from nodewright.wiring import TENANT

STREAMS = 200
KEYS = 5
MEMORY_MB = 100
OPEN_SECONDS = 60.0
TICK_SECONDS = os.sysconf("SC_CLK_TCK")
TABLE = "A fleet of {count} at 20 creates per 15 s, with {streams} open streams of it"

Headers = dict[str, str]


@dataclass
class Listeners:
    """Connections that read a stream each, in a thread of their own; what comes is counted and thrown away."""

    url: str
    requests: Sequence[tuple[str, Headers]]
    received: int = 0
    ended: int = 0
    open: int = 0
    refused: list[str] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        asyncio.run(self._all())

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        readers = [asyncio.create_task(self._listen(*one)) for one in self.requests]
        await self._stop.wait()
        for one in readers:
            one.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def _listen(self, path: str, headers: Headers) -> None:
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        lines = [f"GET {path} HTTP/1.1", f"Host: {place.netloc}", *(f"{n}: {v}" for n, v in headers.items())]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            status = await reader.readline()
            if b" 200 " not in status:
                self.refused.append(status.decode().strip())
            self.open += 1
            while chunk := await reader.read(65_536):
                self.received += len(chunk)
            self.ended += 1
        finally:
            writer.close()


@contextmanager
def listening(url: str, requests: Sequence[tuple[str, Headers]]) -> Iterator[Listeners]:
    """Keep the streams open for the length of a block."""
    found = Listeners(url, requests)
    thread = threading.Thread(target=found.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + OPEN_SECONDS
    while found.open < len(requests):
        if time.monotonic() > deadline or found.refused:
            raise RuntimeError(
                f"{found.open} of {len(requests)} streams are open; refused: {found.refused[:3]}"
            )
        time.sleep(0.05)
    try:
        yield found
    finally:
        found.stop()
        thread.join(10)


def pages(fleet: str, database: Database, url: str, count: int) -> list[tuple[str, Headers]]:
    """Return the requests of so many people who have the fleet's page open."""
    sessions, port = Sessions(database, dice=SystemRandom()), urlsplit(url).port
    cookies = [f"nodewright-{port}={sessions.open(key, key.rpartition('_')[0])}" for key in _keys(database)]
    return [(f"/live/fleets/{fleet}", {"Cookie": cookies[one % KEYS]}) for one in range(count)]


def feeds(fleet: str, database: Database, url: str, count: int) -> list[tuple[str, Headers]]:  # noqa: ARG001 - as pages
    """Return the requests of so many programs that follow the fleet's events."""
    found = _keys(database)
    path = f"/v1/fleets/{fleet}/events"
    return [(path, {"Authorization": f"Bearer {found[one % KEYS]}"}) for one in range(count)]


def _keys(database: Database) -> list[str]:
    dice = SystemRandom()
    return [keys.create_key(database, tenant=TENANT, name=f"bench{one}", dice=dice) for one in range(KEYS)]


Requests = Callable[[str, Database, str, int], list[tuple[str, Headers]]]
CASES: dict[str, Requests | None] = {"nobody watches": None, "pages": pages, "/v1 streams": feeds}


def measure(*, quick: bool) -> list[Row]:
    count, streams = (24, 40) if quick else (100, STREAMS)
    found = {name: _run(requests, count, streams, quick=quick) for name, requests in CASES.items()}
    alone = found["nobody watches"]
    table = TABLE.format(count=count, streams=streams)
    return [_row(table, name, figures, alone, quick=quick) for name, figures in found.items()]


def _run(requests: Requests | None, count: int, streams: int, *, quick: bool) -> dict[str, Any]:
    seconds = 4.0 if quick else 15.0
    api = Api(create=f"20/{seconds:g}", boot=2.0 if quick else 10.0)
    with ExitStack() as held:
        folder = held.enter_context(scratch())
        simulator = held.enter_context(simulated(api, folder))
        client = held.enter_context(stack(simulator, Ours(create_limit=api.create), folder))
        _warm(client, seconds)
        home = Home(folder / "home")
        service = home.service()
        if service is None:
            raise RuntimeError("no service")
        before, began, load = Process.of(service.pid), time.monotonic(), os.getloadavg()[0]
        database = held.enter_context(_opened(home))
        made = client.submit({"name": "web", "count": count, **SPEC}).fleet
        crowd = None
        if requests is not None:
            wanted = requests(made.id, database, service.url, streams)
            crowd = held.enter_context(listening(service.url, wanted))
        settled(client, made, within=300)
        after, took = Process.of(service.pid), time.monotonic() - began
        creates = simulator.control("GET", "traffic")["creates"]
        full = [share.ours for share in shares(creates, 20, seconds, prefix="web") if share.ours][:-1]
        moments = sorted(one["at"] for one in creates if str(one["label"]).startswith("web"))
        return {
            "streams": 0 if crowd is None else crowd.open - (crowd.ended if requests is pages else 0),
            "creates per window": statistics.mean(full),
            "first to last create, s": moments[-1] - moments[0],
            "memory before, MB": before.peak_mb,
            "memory at most, MB": after.peak_mb,
            "CPU of the service, s": after.cpu_seconds - before.cpu_seconds,
            "of one core": (after.cpu_seconds - before.cpu_seconds) / took,
            "sent, MB": 0.0 if crowd is None else crowd.received / 1e6,
            "load before": load,
        }


def _warm(client: Client, seconds: float) -> None:
    """Let every part do its work once, and the window be over."""
    settled(client, client.submit({"name": "first", "count": 1, **SPEC}).fleet, within=60)
    time.sleep(seconds)


@contextmanager
def _opened(home: Home) -> Iterator[Database]:
    database = Database(home.database_url)
    try:
        yield database
    finally:
        database.close()


@dataclass(frozen=True)
class Process:
    """What a process has used so far."""

    peak_mb: float
    cpu_seconds: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        folder = Path(f"/proc/{pid}")
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
        )
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return cls(int(status["VmHWM"].split()[0]) / 1024, sum(map(int, ticks)) / TICK_SECONDS)


def _row(table: str, name: str, figures: dict[str, Any], alone: Figures, *, quick: bool) -> Row:
    more = figures["memory at most, MB"] - alone["memory at most, MB"]
    ratio = figures["creates per window"] / alone["creates per window"]
    shown = {**figures, "memory for them, MB": more, "creates, of those alone": ratio}
    bounds = {
        "memory for them, MB": Bound(most=MEMORY_MB),
        "creates, of those alone": Bound(least=0.8 if quick else 0.98),
    }
    return Row(table, name, shown, bounds)


if __name__ == "__main__":
    sys.exit(main("streams", measure))

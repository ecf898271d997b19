"""What a look at the page costs with a million rows: the answer over HTTP, the first paint in Chromium, and the weight.

PostgreSQL, as durable as in production, and the real service process. Each page is asked for again and again, as fast
as it answers; then a real Chromium opens it, each time with an empty cache.

python -m benchmarks.paint [--quick]
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

import httpx
from playwright.sync_api import Browser
from sqlalchemy import text

from benchmarks.bulk import serving
from benchmarks.databases import database
from benchmarks.lab import scratch
from benchmarks.report import Bound, Row, main
from benchmarks.rows import Crowd, fill
from jobs.database import Database
from tests.browser.chromium import chromium

CALLS = 200
LOOKS = 7
KB = 1000
ANSWER_MS = 100.0
PAINT_MS = 1000.0
WEIGHT_KB = 150.0
PAINTED = "performance.getEntriesByName('first-contentful-paint').length > 0"
LOADED = """() => {
    const parts = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const sum = (what) => parts.reduce((total, part) => total + part[what], 0);
    return {
        "first paint ms": performance.getEntriesByName("first-contentful-paint")[0].startTime,
        "transferred kB": sum("transferSize") / 1000,
        "unpacked kB": sum("decodedBodySize") / 1000,
    };
}"""


def crowds(rows: int) -> list[Crowd]:
    """Return many fleets of one tenant in every state, beside a huge one."""
    each = rows // 500
    return [
        Crowd("huge", "queued", 1, rows // 5),
        Crowd("waiting", "queued", 100, each, born=0x18000000000),
        Crowd("ran", "running", 200, each, born=0x18800000000),
        Crowd("ended", "cancelled", 100, each, born=0x17800000000),
    ]


def measure(*, quick: bool) -> list[Row]:
    rows = 20_000 if quick else 1_000_000
    with scratch() as folder, database("postgresql", folder) as opened:
        fill(opened, crowds(rows))
        pages = looked_at(opened)
        with serving(opened, folder) as client:
            found = _answers(client, pages, rows, quick=quick)
            with chromium() as browser:
                return found + _paints(browser, str(client.base_url), pages, rows, quick=quick)


def looked_at(opened: Database) -> Mapping[str, str]:
    """Return the pages by what they show."""
    with opened.read() as tx:
        job = tx.execute(text("SELECT id FROM jobs WHERE state = 'running' LIMIT 1")).scalar_one()
        last = tx.execute(text("SELECT min(id::text)::uuid FROM jobs WHERE state = 'running'")).scalar_one()
    return {
        "fleets": "/",
        "a huge fleet": "/fleets/huge0",
        "a fleet": "/fleets/ran0",
        "jobs": "/jobs",
        "jobs, the last page": f"/jobs?after={last}",
        "jobs of a state": "/jobs?state=running",
        "jobs of a state that none has": "/jobs?state=uncertain",
        "jobs of a fleet": "/jobs?fleet=huge0",
        "jobs of a label": "/jobs?label=ran0-0000001",
        "jobs of a label that none has": "/jobs?label=nowhere",
        "a job": f"/jobs/{job}",
        "limits": "/limits",
        "system": "/system",
    }


def _answers(client: httpx.Client, pages: Mapping[str, str], rows: int, *, quick: bool) -> list[Row]:
    count, bound = (30, 5 * ANSWER_MS) if quick else (CALLS, ANSWER_MS)
    return [
        Row(
            f"The page over HTTP, {rows:,} rows",
            name,
            _timed(client, path, count),
            {"p99 ms": Bound(most=bound)},
        )
        for name, path in pages.items()
    ]


def _timed(client: httpx.Client, path: str, count: int) -> dict[str, Any]:
    seconds = sorted(_call(client, path) for _ in range(count))
    return {"p50 ms": seconds[count // 2] * 1000, "p99 ms": seconds[count * 99 // 100] * 1000, "calls": count}


def _call(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    return seconds


def _paints(browser: Browser, url: str, pages: Mapping[str, str], rows: int, *, quick: bool) -> list[Row]:
    looks = 2 if quick else LOOKS
    bounds = {
        "first paint ms": Bound(most=PAINT_MS * (3 if quick else 1)),
        "transferred kB": Bound(most=WEIGHT_KB),
        "unpacked kB": Bound(most=WEIGHT_KB),
    }
    return [
        Row(
            f"The page in Chromium, its cache empty, {rows:,} rows",
            name,
            _worst([_look(browser, url + path) for _ in range(looks)]) | {"looks": looks},
            bounds,
        )
        for name, path in pages.items()
    ]


def _look(browser: Browser, url: str) -> dict[str, float]:
    """Open a page with nothing in the cache; return what it took."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_function(PAINTED)
        found: dict[str, float] = page.evaluate(LOADED)
        return found


def _worst(looks: list[dict[str, float]]) -> dict[str, float]:
    return {name: max(look[name] for look in looks) for name in looks[0]}


if __name__ == "__main__":
    sys.exit(main("paint", measure))

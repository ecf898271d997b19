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

from benchmarks.lab import scratch
from benchmarks.pages import ROWS, crowded
from benchmarks.report import Bound, Row, main
from jobs.database import Database
from tests.browser.chromium import chromium

CALLS = 200
LOOKS = 7
ANSWER_MS = 100.0
PAINT_MS = 1000.0
WEIGHT_KB = 150.0
LOADED = """() => new Promise((done) => {
    const parts = () => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const sum = (what) => parts().reduce((total, part) => total + part[what], 0) / 1000;
    new PerformanceObserver((seen) => seen.getEntriesByName("first-contentful-paint").forEach((paint) => done({
        "first paint ms": paint.startTime, "transferred kB": sum("transferSize"), "unpacked kB": sum("decodedBodySize"),
    }))).observe({type: "paint", buffered: true});
})"""


def measure(*, quick: bool) -> list[Row]:
    rows, found = 20_000 if quick else ROWS, []
    for huge in (False, True):
        with scratch() as folder, crowded(folder, rows, huge=huge) as served:
            name = f"{rows:,} jobs in {'one fleet' if huge else 'fleets of 100'}"
            pages = looked_at(served.database, huge=huge)
            found += _answers(served.client, pages, name, quick=quick)
            with chromium() as browser:
                found += _paints(browser, served.url, pages, name, quick=quick)
    return found


def looked_at(opened: Database, *, huge: bool) -> Mapping[str, str]:
    """Return the pages by what they show."""
    with opened.read() as tx:
        job = tx.execute(text("SELECT id, label FROM jobs WHERE state = 'running' LIMIT 1")).one()
        fleet = tx.execute(text("SELECT fleet_id FROM jobs WHERE state = 'failed' LIMIT 1")).scalar_one()
    always = {
        "fleets": "/",
        "a fleet": f"/fleets/{fleet}",
        "its failed jobs": f"/fleets/{fleet}?state=failed",
        "jobs of a fleet": f"/jobs?fleet={fleet}",
        "jobs of a fleet that failed": f"/jobs?fleet={fleet}&state=failed",
        "jobs of a fleet by label": f"/jobs?fleet={fleet}&sort=label",
        "a job": f"/jobs/{job.id}",
    }
    if huge:
        return always | {"a fleet, its last lines": f"/fleets/{fleet}?line=999001"}
    return always | {
        "jobs": "/jobs",
        "jobs, the oldest first": "/jobs?sort=oldest",
        "jobs by label": "/jobs?sort=label",
        **{
            f"jobs: {state}": f"/jobs?state={state}" for state in ("queued", "running", "failed", "uncertain")
        },
        "jobs: a label": f"/jobs?q={job.label}",
        "jobs: a label that nothing has": "/jobs?q=nobody-has-this",
        "jobs: an error code": "/jobs?error_code=no_capacity",
        "jobs: a type": "/jobs?type=g6-nanode-1",
        "jobs: a region": "/jobs?region=eu-west",
        "jobs: a region of none": "/jobs?region=nowhere",
        "jobs: a tag of none": "/jobs?tag=nobody",
        "jobs: since": "/jobs?since=2026-01-01",
        "limits": "/limits",
        "system": "/system",
    }


def _answers(client: httpx.Client, pages: Mapping[str, str], crowd: str, *, quick: bool) -> list[Row]:
    count, bound = (30, 5 * ANSWER_MS) if quick else (CALLS, ANSWER_MS)
    return [
        Row(
            f"The page over HTTP, {crowd}",
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


def _paints(browser: Browser, url: str, pages: Mapping[str, str], crowd: str, *, quick: bool) -> list[Row]:
    looks = 2 if quick else LOOKS
    bounds = {
        "first paint ms": Bound(most=PAINT_MS * (3 if quick else 1)),
        "transferred kB": Bound(most=WEIGHT_KB),
        "unpacked kB": Bound(most=WEIGHT_KB),
    }
    return [
        Row(
            f"The page in Chromium, its cache empty, {crowd}",
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
        found: dict[str, float] = page.evaluate(LOADED)
        return found


def _worst(looks: list[dict[str, float]]) -> dict[str, float]:
    return {name: max(look[name] for look in looks) for name in looks[0]}


if __name__ == "__main__":
    sys.exit(main("paint", measure))

"""``python -m tests.browser``: run the fleet of docs/howto/why-failed.md at Linode's pace, and take its pictures."""

import sys
import time
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.acts import log_in, part
from tests.browser.chromium import chromium
from tests.browser.looking import DESKTOP, PHONE, Tab
from tests.browser.stage import REAL, staged, three_of_two_hundred

IMAGES = Path(__file__).parents[2] / "docs" / "images"
BOOT_TIMEOUT = "90s"
TALL = {**DESKTOP, "height": 1480}


def main() -> int:
    """Take the pictures; return 0 when the fleet ended as the page says."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with staged(REAL, "20/15") as (rig, client), chromium() as browser:
        fleet = client.wait(three_of_two_hundred(rig, client, boot_timeout=BOOT_TIMEOUT).id)
        print(f"{fleet.states} after {time.monotonic() - began:.0f} s")
        (stuck,) = client.jobs(fleet=fleet.id, error_code="boot_timeout")
        for name, path, more in (
            ("fleet", f"/fleets/{fleet.id}", {"viewport": TALL}),
            ("fleet-dark", f"/fleets/{fleet.id}", {"viewport": TALL, "scheme": "dark"}),
            ("fleet-phone", f"/fleets/{fleet.id}", {"viewport": {**PHONE, "height": 1480}}),
            ("job", f"/jobs/{stuck.id}", {}),
        ):
            _take(browser, rig.url("service"), name, path, **more)
    return 0 if fleet.states == {"running": 197, "failed": 3} else 1


def _take(browser, url, name, path, **more):
    tab = Tab(browser, url, **more)
    log_in(tab.page)
    tab.page.goto(path)
    expect(part(tab.page, "state")).to_contain_text("failed")
    target = IMAGES / f"{name}.png"
    tab.page.screenshot(path=target)
    print(f"{target.relative_to(Path.cwd())}: {target.stat().st_size / 1000:.0f} kB")
    tab.close()


if __name__ == "__main__":
    sys.exit(main())

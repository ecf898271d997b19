"""Which Chromium looks at the page, and how it is started."""

import os
import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "There is no Chromium: apt-get install chromium, or name one by CHROMIUM=/path/to/it "
    f"(looked for {', '.join(NAMES)} in PATH)."
)


def executable():
    """Return the path of the browser: the one that CHROMIUM names, else the first one in PATH; None: there is none."""
    if "CHROMIUM" in os.environ:
        return shutil.which(os.environ["CHROMIUM"])
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium():
    """Run a headless browser until the end of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(),
            # Chromium's sandbox does not work for root, as whom CI runs; and it sees nothing here but our own pages.
            chromium_sandbox=os.getuid() != 0,
        )
        with browser:
            yield browser

"""What a person does on the page, in few words: log in, find, open, confirm."""

import re

from playwright.sync_api import expect

from tests.chaos.rig import API_KEY

PAGES = {"fleets": "/", "jobs": "/jobs", "limits": "/limits", "system": "/system"}
LOST = "connection"


def log_in(page, key=API_KEY):
    """Log in by an API key, from wherever the page is."""
    page.goto("/login")
    page.get_by_label(re.compile("key", re.IGNORECASE)).fill(key)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state()


def part(page, name):
    """Return a named part of the page."""
    return page.locator(f"[data-part={name}]")


def row(page, label):
    """Return the row of a job or a fleet in a table."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=label, exact=True))


def stay(page):
    """Leave a mark in the page that a reload would take away."""
    page.evaluate("window.stayed = true")


def stayed(page):
    """Whether the page was not loaded again since."""
    return page.evaluate("window.stayed === true")


def confirm(page, *words):
    """Go through the page that asks once more; ``words`` must stand on it."""
    for one in words:
        expect(page.locator("main")).to_contain_text(one)
    page.locator("form:has(input[name=confirmed]) button").first.click()

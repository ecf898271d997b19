"""The real processes of one installation, a real Chromium, and tabs that hold everything against the page."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import chromium
from tests.browser.acts import log_in
from tests.browser.looking import SCREENSHOTS, Tab
from tests.browser.stage import mend, staged


def pytest_configure():
    """End at once, with the way out, where there is no browser."""
    if chromium.executable() is None:
        pytest.exit(chromium.MISSING, returncode=1)
    expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items):
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def stage():
    """Service, workers, broker, PostgreSQL and the simulated API, and a client that works in the background."""
    with staged() as found:
        yield found


@pytest.fixture
def rig(stage):
    """The processes; calls go well again afterwards."""
    yield stage[0]
    mend(stage[0])


@pytest.fixture
def client(stage):
    """The client in the background: whoever else works with the installation."""
    return stage[1]


@pytest.fixture(scope="session")
def browser():
    """The browser; its pictures of an earlier run are gone."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    with chromium.chromium() as found:
        yield found


@pytest.fixture(scope="session")
def session(stage, browser):
    """The cookies of somebody who has logged in."""
    tab = Tab(browser, stage[0].url("service"))
    log_in(tab.page)
    expect(tab.page.get_by_role("button", name="Log out")).to_be_visible()
    found = tab.context.storage_state()
    tab.close()
    return found


@pytest.fixture
def open_tab(rig, browser, session, request):
    """A function that opens a tab of its own cookies; at the end nothing may have been complained about in any."""
    tabs = []

    def open_one(*, logged_in=False, **more):
        tab = Tab(browser, rig.url("service"), storage_state=session if logged_in else None, **more)
        tabs.append(tab)
        return tab

    yield open_one
    for number, tab in enumerate(tabs):
        tab.keep(f"{request.node.name}{f'-{number}' if number else ''}")
        tab.close()
    assert [one for tab in tabs for one in tab.unexcused] == []


@pytest.fixture
def tab(open_tab):
    """One tab."""
    return open_tab()

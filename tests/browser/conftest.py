"""The real processes of one installation, a real Chromium, and tabs that hold everything against the page."""

import contextlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from nodewright.client import Client
from tests.browser import chromium
from tests.browser.looking import Tab
from tests.chaos.rig import API_KEY, Rig

CREATE_LIMIT = (20, 2)
SIMULATOR = (
    *("--create-limit", str(CREATE_LIMIT[0]), "--create-window", str(CREATE_LIMIT[1])),
    *("--boot", "1", "--boot-spread", "0.5", "--latency", "0.2"),
)
SETTINGS = {"NODEWRIGHT_CREATE_LIMIT": "{}/{}".format(*CREATE_LIMIT)}
SPEC = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}


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
def rig():
    """Service, workers, broker, PostgreSQL and the simulated API, each a process."""
    with contextlib.ExitStack() as held:
        found = Rig(held, simulator=SIMULATOR, settings=SETTINGS)
        found.start()
        yield found


@pytest.fixture(scope="session")
def client(rig):
    """A client that works in the background, as somebody else would."""
    with Client(rig.url("service"), API_KEY) as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    """The browser."""
    with chromium.chromium() as found:
        yield found


@pytest.fixture
def open_tab(rig, browser, request):
    """A function that opens a tab of its own cookies; at the end nothing may have been complained about in any."""
    tabs = []

    def open_one(**more):
        tab = Tab(browser, more.pop("base_url", rig.url("service")), **more)
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

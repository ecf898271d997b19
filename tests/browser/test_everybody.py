"""For everybody: keyboard, screen readers, phones, dark rooms, and browsers without a script."""

import pytest
from playwright.sync_api import expect

from tests.browser.acts import PAGES, log_in, part
from tests.browser.looking import PHONE
from tests.browser.stage import SPEC, spoil
from tests.chaos.rig import API_KEY


@pytest.fixture(scope="module")
def paths(stage):
    """Every page by what it shows, one of each kind."""
    rig, client = stage
    spoil(rig, "kinds-0002", reason="Not here")
    fleet = client.submit({"name": "kinds", "count": 30, **SPEC}).fleet
    client.wait(fleet.id, timeout=60)
    (failed,) = client.jobs(fleet=fleet.id, state="failed")
    running = next(iter(client.jobs(fleet=fleet.id, state="running")))
    return PAGES | {
        "a fleet": f"/fleets/{fleet.id}",
        "jobs that failed": f"/jobs?fleet={fleet.id}&state=failed",
        "a job that failed": f"/jobs/{failed.id}",
        "a job that runs": f"/jobs/{running.id}",
        "login": "/login",
    }


@pytest.mark.parametrize("who", ["stranger", "operator"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(open_tab, paths, scheme, who):
    """The checks of axe find nothing wrong on any page, light or dark, logged in or not."""
    tab = open_tab(scheme=scheme, logged_in=who == "operator")
    for name, path in paths.items():
        tab.page.goto(path)
        if who == "operator":
            tab.keep(f"{name.replace(' ', '-')}-{scheme}", whole=True)
        assert tab.accessible() == "", name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(open_tab, paths, scheme):
    """On a phone nothing has to be scrolled sideways, and the checks of axe find nothing wrong."""
    tab = open_tab(scheme=scheme, viewport=PHONE, has_touch=True, logged_in=True)
    for name, path in paths.items():
        tab.page.goto(path)
        tab.keep(f"{name.replace(' ', '-')}-{scheme}-phone", whole=True)
        assert tab.sideways() is None, name
        assert tab.accessible() == "", name


def test_dark_is_dark(open_tab):
    """Who asks for dark gets light letters on a dark ground."""
    shades = {}
    for scheme in ("light", "dark"):
        page = open_tab(scheme=scheme).page
        page.goto("/")
        shades[scheme] = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
    assert min(shades["light"]) > 200
    assert max(shades["dark"]) < 60


def test_keyboard_only(tab, paths):
    """From the login to a failed job and its retry by Tab and Enter alone; the focus can always be seen."""
    page = tab.page
    page.goto("/login")
    _tab_to(page, "input")
    page.keyboard.type(API_KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    _tab_to(page, "a", "kinds")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Fleet kinds")).to_be_visible()
    _tab_to(page, "a", "kinds-0002")
    page.keyboard.press("Enter")
    expect(part(page, "state")).to_contain_text("Not here")
    _tab_to(page, "button", "Retry this job")
    page.keyboard.press("Enter")
    expect(page.locator("input[name=confirmed]")).to_have_count(1)


def _tab_to(page, kind, words="", most=80):
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => {
                const one = document.activeElement, style = getComputedStyle(one);
                return {kind: one.localName, words: one.textContent.trim(), hidden: one.type === "hidden",
                        seen: style.outlineStyle !== "none" || one.closest("svg") !== null};
            }"""
        )
        assert at["seen"], f"no focus to be seen on {at}"
        if at["kind"] == kind and at["words"].startswith(words):
            return
    raise AssertionError(f"no {kind} {words!r} within {most} steps")


def test_the_first_step_skips_the_menu(tab, paths):
    """The first Tab leads to a link that skips the menu."""
    tab.page.goto(paths["a fleet"])
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.localName") == "main"


def test_sections_are_a_step_away(tab, paths):
    """Each link at a fleet's head leads to its section, and the next Tab goes on from there."""
    page = tab.page
    page.goto(paths["a fleet"])
    links = page.get_by_role("navigation", name="On this page").get_by_role("link")
    expect(links).to_have_text(["What failed", "How it went", "Each job", "Jobs", "The fleet"])
    for link in links.all():
        link.focus()
        page.keyboard.press("Enter")
        name = page.evaluate("location.hash.slice(1)")
        expect(page.locator(f"#{name} h2")).to_be_in_viewport()
    links.nth(3).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('[data-part]').id") == "part-states"


def test_without_a_script(open_tab, paths):
    """Everything can be read and done without a script; only the live changes are missing."""
    page = open_tab(script=False).page
    log_in(page)
    page.goto(paths["a job that failed"])
    page.get_by_role("button", name="Retry this job").click()
    expect(page.locator("input[name=confirmed]")).to_have_count(1)

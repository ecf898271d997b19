"""What the script adds and must not do: all of a page is chosen at once, keys lead on, buttons stay themselves."""

import re

from playwright.sync_api import expect

from tests.browser.acts import part, row, stay, stayed
from tests.browser.stage import SPEC


def test_all_on_a_page_are_chosen(open_tab, client):
    """One box ticks every job of the page, shows when only some are ticked, and stays while the rows change."""
    fleet = client.submit({"name": "chosen", "count": 3, **SPEC}).fleet
    page = open_tab(logged_in=True).page
    page.goto(f"/jobs?fleet={fleet.id}")
    every, chosen = page.get_by_label("Choose all on this page"), page.locator("input[name=job]:checked")
    every.check()
    expect(chosen).to_have_count(3)
    page.get_by_label("Choose chosen-0002").uncheck()
    assert every.evaluate("one => one.indeterminate")
    for number in (1, 2, 3):
        expect(row(page, f"chosen-000{number}")).to_contain_text("running")
    expect(chosen).to_have_count(2)
    expect(every).to_have_count(1)


def test_a_key_leads_to_the_search(tab):
    """Ctrl + / leads to the search from everywhere; no key alone does anything (WCAG 2.1.4)."""
    page = tab.page
    page.goto("/")
    expect(page.locator("footer")).to_contain_text("Ctrl + / finds jobs")
    before = page.url
    for key in "/?aj":
        page.keyboard.press(key)
    assert page.url == before
    assert page.evaluate("document.activeElement.localName") == "body"
    page.keyboard.press("Control+/")
    field = page.get_by_label("Label")
    expect(field).to_be_focused()
    page.keyboard.type("a/b?")
    expect(field).to_have_value("a/b?")
    page.get_by_role("link", name="Jobs", exact=True).focus()
    page.keyboard.press("Control+/")
    expect(field).to_be_focused()
    assert field.evaluate("one => one.selectionEnd - one.selectionStart") == 4


def test_no_button_becomes_another(open_tab, client):
    """Where a button goes, its neighbour does not slip under the finger of somebody who is about to press it."""
    fleet = client.submit({"name": "buttons", "count": 60, **SPEC}).fleet
    page = open_tab(logged_in=True).page
    page.goto(f"/fleets/{fleet.id}")
    stay(page)
    pause, cancel = (page.get_by_role("button", name=re.compile(word)) for word in ("^Pause", "^Cancel"))
    pause.evaluate("one => { window.pause = one; one.focus(); }")
    cancel.evaluate("one => { window.cancel = one; }")
    client.pause(fleet.id)
    expect(part(page, "state")).to_contain_text("Paused by a person")
    expect(pause).to_have_count(0)
    assert page.evaluate("[window.pause.isConnected, window.cancel.isConnected]") == [False, True]
    assert page.evaluate("document.activeElement.id") == "part-state"
    assert stayed(page)
    client.resume(fleet.id)
    client.cancel(fleet.id)

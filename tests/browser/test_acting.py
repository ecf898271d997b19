import re

import pytest
from playwright.sync_api import expect

from tests.browser.acts import confirm, log_in, part, row
from tests.browser.stage import SPEC, mend, spoil
from tests.chaos.rig import API_KEY


@pytest.fixture
def page(open_tab):
    """The page of somebody who is logged in."""
    return open_tab(logged_in=True).page


@pytest.fixture
def waiting(client):
    """A function that submits a fleet which waits, because it is paused."""

    def submit(name, count):
        client.pause(everything=True)
        fleet = client.submit({"name": name, "count": count, **SPEC}).fleet
        client.pause(fleet.id)
        client.resume(everything=True)
        return fleet

    return submit


def test_without_a_login_there_is_nothing_to_press(tab, waiting):
    """Who is not logged in may look on loopback, and is offered nothing that changes anything."""
    fleet = waiting("looked-at", 2)
    tab.page.goto(f"/fleets/{fleet.id}")
    expect(tab.page.get_by_role("heading", name="Fleet looked-at")).to_be_visible()
    expect(tab.page.locator("main form[method=post]")).to_have_count(0)
    expect(tab.page.get_by_role("link", name="Log in")).to_be_visible()


def test_a_wrong_key_opens_nothing(tab):
    """A wrong key is refused in words, and the field is there again."""
    tab.excuse("401|403")
    log_in(tab.page, "nwk_wrong_but_long_enough_to_be_one")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    expect(tab.page.get_by_role("button", name="Log in")).to_be_visible()
    expect(tab.page.get_by_role("button", name="Log out")).to_have_count(0)


def test_login_and_logout(tab):
    """An API key opens a session; the key is in no cookie and no address; after the logout nothing of it is left."""
    log_in(tab.page)
    expect(tab.page.get_by_role("button", name="Log out")).to_be_visible()
    (cookie,) = tab.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] in {"Lax", "Strict"}
    assert API_KEY not in cookie["value"] + tab.page.url
    assert tab.page.evaluate("document.cookie") == ""
    tab.page.get_by_role("button", name="Log out").click()
    expect(tab.page.get_by_role("link", name="Log in")).to_be_visible()
    tab.page.go_back()
    tab.page.reload()
    expect(tab.page.get_by_role("button", name="Log out")).to_have_count(0)


def test_retry_what_failed(page, rig, client):
    """A job that failed is retried from its page, after a question, and runs."""
    spoil(rig, "again-0002", reason="Not today")
    fleet = client.submit({"name": "again", "count": 2, **SPEC}).fleet
    client.wait(fleet.id, timeout=30)
    mend(rig)
    page.goto(f"/fleets/{fleet.id}")
    part(page, "failures").get_by_role("link", name="again-0002").click()
    expect(part(page, "state")).to_contain_text("Not today")
    page.get_by_role("button", name="Retry this job").click()
    confirm(page, "again-0002")
    expect(part(page, "state")).to_contain_text("It runs since")
    expect(part(page, "story")).to_contain_text(re.compile("retr", re.IGNORECASE))


def test_a_retry_can_be_left(page, rig, client):
    """The question can be answered by going back, and then nothing happened."""
    spoil(rig, "left-0001", reason="Not today")
    fleet = client.submit({"name": "left", "count": 1, **SPEC}).fleet
    client.wait(fleet.id, timeout=30)
    page.goto(f"/fleets/{fleet.id}")
    part(page, "failures").get_by_role("button", name=re.compile("Retry")).click()
    expect(page.locator("input[name=confirmed]")).to_have_count(1)
    page.locator("main").get_by_role("link").last.click()
    expect(part(page, "state")).to_contain_text("1 failed")
    assert client.fleet(fleet.id).states == {"failed": 1}


def test_cancel_a_fleet(page, client, waiting):
    """What a fleet has not bought yet is cancelled after a question that says how many."""
    fleet = waiting("dropped", 7)
    page.goto(f"/fleets/{fleet.id}")
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    confirm(page, "7", "dropped")
    expect(part(page, "state")).to_contain_text("All 7 were cancelled.")
    assert client.fleet(fleet.id).states == {"cancelled": 7}


def test_pause_and_resume(page, client):
    """A fleet and everything are paused and resumed by a button each; the page says so."""
    client.pause(everything=True)
    fleet = client.submit({"name": "held", "count": 3, **SPEC}).fleet
    page.goto(f"/fleets/{fleet.id}")
    page.get_by_role("button", name="Pause the fleet").click()
    expect(part(page, "state")).to_contain_text("Paused by a person")
    page.get_by_role("link", name="Limits").click()
    expect(part(page, "paused")).to_contain_text("Everything is paused")
    page.get_by_role("button", name="Resume everything").click()
    expect(part(page, "paused")).to_contain_text("Creates go on")
    assert client.fleet(fleet.id).states == {"queued": 3}
    row(page, "held").get_by_role("button", name=re.compile("^Resume")).click()
    expect(part(page, "paused")).not_to_contain_text("held")
    page.goto(f"/fleets/{fleet.id}")
    expect(part(page, "state")).to_contain_text("All 3 run.")


def test_cancel_the_chosen(page, client, waiting):
    """Of a list only the ticked jobs are cancelled."""
    fleet = waiting("picked", 5)
    page.goto(f"/jobs?fleet={fleet.id}")
    for number in (2, 4):
        page.get_by_label(f"Choose picked-{number:04}").check()
    part(page, "rows").get_by_role("button", name="Cancel").click()
    confirm(page, "2", "picked-0002", "picked-0004")
    expect(row(page, "picked-0002")).to_contain_text("cancelled")
    expect(row(page, "picked-0003")).to_contain_text("queued")
    assert client.fleet(fleet.id).states == {"queued": 3, "cancelled": 2}


def test_cancel_all_that_fit(page, client, waiting):
    """What a filter finds is cancelled on every page of it, not only on the one that is shown."""
    fleet = waiting("many", 60)
    page.goto(f"/jobs?fleet={fleet.id}&state=queued")
    expect(page.locator("input[name=job]")).to_have_count(50)
    page.get_by_role("button", name="Cancel all that are not bought yet").click()
    confirm(page, "60")
    page.goto(f"/fleets/{fleet.id}")
    expect(part(page, "state")).to_contain_text("All 60 were cancelled.")

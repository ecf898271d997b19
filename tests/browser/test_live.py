import re

from playwright.sync_api import expect

from tests.browser.acts import part, row, stay, stayed
from tests.browser.stage import SPEC, spoil


def test_rows_turn_running_before_ones_eyes(tab, client):
    """A fleet that somebody submits shows up, and its jobs turn running, without a reload."""
    page = tab.page
    page.goto("/")
    stay(page)
    client.submit({"name": "live", "count": 24, **SPEC})
    expect(row(page, "live")).to_contain_text("24 instances")
    expect(row(page, "live")).to_contain_text("All 24 run.")
    assert stayed(page)
    row(page, "live").get_by_role("link", name="live").click()
    expect(page.get_by_role("heading", name="Fleet live")).to_be_visible()
    expect(row(page, "live-0024")).to_contain_text("running")


def test_one_fleet_comes_up(tab, client):
    """On a fleet's page each row goes through its states, sentence and title change, without a reload."""
    fleet = client.submit({"name": "rising", "count": 25, **SPEC}).fleet
    page = tab.page
    page.goto(f"/fleets/{fleet.id}")
    stay(page)
    expect(row(page, "rising-0025")).to_contain_text("queued")
    expect(page).to_have_title(re.compile(r"^\d+ of 25 runs? · rising · Nodewright$"))
    tab.keep("rising-halfway", whole=True)
    expect(row(page, "rising-0001")).to_contain_text("running")
    expect(row(page, "rising-0025")).to_contain_text("running")
    expect(part(page, "state")).to_contain_text("All 25 run.")
    expect(page).to_have_title("running · rising · Nodewright")
    assert stayed(page)
    tab.keep("rising-done", whole=True)


def test_a_failure_is_explained_while_one_looks(tab, rig, client):
    """What fails shows up with the API's words and what to do, on the page that is open already."""
    spoil(rig, "unlucky-0002", reason="No room for you here")
    fleet = client.submit({"name": "unlucky", "count": 3, **SPEC}).fleet
    page = tab.page
    page.goto(f"/fleets/{fleet.id}")
    stay(page)
    expect(part(page, "failures")).to_contain_text("No room for you here")
    expect(part(page, "failures")).to_contain_text("What to do:")
    expect(part(page, "state")).to_contain_text("2 of 3 run, 1 failed.")
    assert stayed(page)


def test_the_timeline_of_an_open_job_goes_on(tab, client):
    """A job's page tells its story line by line while it happens."""
    fleet = client.submit({"name": "story", "count": 1, **SPEC}).fleet
    job = next(iter(client.jobs(fleet=fleet.id)))
    page = tab.page
    page.goto(f"/jobs/{job.id}")
    stay(page)
    expect(part(page, "story")).to_contain_text("Create sent")
    expect(part(page, "story")).to_contain_text(re.compile("up", re.IGNORECASE))
    expect(part(page, "state")).to_contain_text("It runs since")
    assert stayed(page)


def test_lost_and_regained(tab, rig, client):
    """When the service goes away the page says so, keeps what it showed, and goes on by itself once it is back."""
    tab.excuse("net::ERR_")
    fleet = client.submit({"name": "lost", "count": 22, **SPEC}).fleet
    page = tab.page
    page.goto(f"/fleets/{fleet.id}")
    stay(page)
    expect(row(page, "lost-0001")).to_contain_text("running")
    rig.processes["service"].kill()
    note = page.get_by_text(re.compile("connection.*lost", re.IGNORECASE))
    expect(note).to_be_in_viewport()
    tab.keep("lost")
    expect(row(page, "lost-0001")).to_contain_text("running")
    rig.processes["service"].start()
    expect(note).to_be_hidden()
    expect(part(page, "state")).to_contain_text("All 22 run.")
    assert stayed(page)
    client.pause("lost")
    expect(part(page, "state")).to_contain_text("Paused by a person")
    assert stayed(page)

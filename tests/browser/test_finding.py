import re

import pytest
from playwright.sync_api import expect

from tests.browser.acts import part, row
from tests.browser.stage import SPEC, spoil


@pytest.fixture(scope="module")
def fleet(stage):
    """A fleet of 60, of which two failed."""
    rig, client = stage
    spoil(rig, "sought-001[34]", reason="Not here")
    found = client.submit({"name": "sought", "count": 60, **SPEC}).fleet
    client.wait(found.id, timeout=60)
    return found


def test_find_by_state(tab, fleet):
    """The filter finds what fits, its address can be passed on, and a job opens from it."""
    page = tab.page
    page.goto("/jobs")
    page.get_by_label("Fleet").fill("sought")
    page.get_by_label("State", exact=True).select_option("failed")
    page.get_by_role("button", name="Find").click()
    expect(part(page, "rows").get_by_role("row")).to_have_count(3)  # the head is one
    expect(row(page, "sought-0013")).to_contain_text("Not here")
    assert re.search(r"fleet=sought.*state=failed", page.url)
    page.goto(page.url)
    expect(page.get_by_label("State", exact=True)).to_have_value("failed")
    row(page, "sought-0014").get_by_role("link", name="sought-0014").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sought-0014")
    expect(part(page, "state")).to_contain_text("Not here")


def test_find_by_label(tab, fleet):
    """Enter in the search field is enough; clearing shows all again."""
    page = tab.page
    page.goto("/jobs")
    page.get_by_label("Label").fill("sought-0042")
    page.get_by_label("Label").press("Enter")
    expect(part(page, "rows").get_by_role("row")).to_have_count(2)
    page.get_by_label("Label").fill("nowhere-at-all")
    page.get_by_label("Label").press("Enter")
    expect(part(page, "rows")).to_contain_text("No job fits")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("[data-part=rows] tbody tr")).to_have_count(50)


def test_page_by_page(tab, fleet):
    """Each of 60 jobs is on one of two pages, once."""
    page = tab.page
    page.goto(f"/jobs?fleet={fleet.id}")
    labels = page.locator("[data-part=rows] tbody th a")
    expect(labels).to_have_count(50)
    first = labels.all_text_contents()
    page.get_by_role("link", name=re.compile("More jobs")).click()
    expect(labels).to_have_count(10)
    assert sorted(first + labels.all_text_contents()) == [f"sought-{number:04}" for number in range(1, 61)]


def test_what_is_not_there(tab):
    """An address that leads nowhere says so, in words and with a way back."""
    tab.excuse("404")
    for path in ("/fleets/nowhere", "/jobs/01900000-0000-7000-8000-000000000000", "/nowhere"):
        answer = tab.page.goto(path)
        assert answer.status == 404
        if path != "/nowhere":
            expect(tab.page.get_by_role("link", name="Fleets").first).to_be_visible()

"""Whatever somebody writes into a field is text on the page, never markup and never a script."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser.acts import part
from tests.browser.stage import SPEC, spoil

ATTACKS = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "{{ 7 * 7 }}",
    "</textarea></title><h1 id=owned>",
)
REASON = " ".join(ATTACKS)
QUERY = "\"'></title><h1 id=owned><img src=x onerror=alert(1)>{{7*7}}"
TAG = "<b onclick=alert(1)>'\"&"


@pytest.fixture(scope="module")
def fleet(stage):
    """A fleet whose failure and tags are full of markup."""
    rig, client = stage
    spoil(rig, "hostile-0001", reason=REASON)
    document = {"name": "hostile", "count": 2, "tags": [TAG], **SPEC}
    found = client.submit(document).fleet
    client.wait(found.id, timeout=30)
    return found


def test_a_reason_is_text(open_tab, client, fleet):
    """The API's words are shown letter for letter wherever they stand, and nothing in them comes to life."""
    page = open_tab(logged_in=True).page
    (failed,) = client.jobs(fleet=fleet.id, state="failed")
    places = {
        "/": "fleets",
        f"/fleets/{fleet.id}": "failures",
        f"/jobs/{failed.id}": "state",
        f"/jobs?fleet={fleet.id}": "rows",
    }
    for path, name in places.items():
        page.goto(path)
        for attack in ATTACKS:
            expect(part(page, name)).to_contain_text(attack)
        _unharmed(page)


def test_tags_are_text(tab, client, fleet):
    """A tag that holds markup is shown as it is."""
    job = next(iter(client.jobs(fleet=fleet.id, state="running")))
    tab.page.goto(f"/jobs/{job.id}")
    expect(part(tab.page, "facts")).to_contain_text(TAG)
    _unharmed(tab.page)


def test_a_query_is_text(tab):
    """What stands in the address comes back as the field's value, letter for letter."""
    page = tab.page
    for field in ("q", "fleet", "state", "error_code", "type", "region", "tag", "since", "sort", "after"):
        page.goto(f"/jobs?{urlencode({field: QUERY})}")
        _unharmed(page)
        if field in {"q", "error_code", "type", "region", "tag"}:
            expect(page.locator(f"#{field}")).to_have_value(QUERY)


def _unharmed(page):
    expect(
        page.locator("#owned, main script, main img, main [onclick], main [onerror], main [onload]")
    ).to_have_count(0)
    assert "owned" not in page.title()

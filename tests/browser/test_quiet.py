"""No flicker: what somebody is doing survives whatever the live page does."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.acts import LOST, row, stay, stayed
from tests.browser.looking import PHONE
from tests.browser.stage import SPEC

COUNT = 45


@pytest.fixture
def busy(open_tab, client, request):
    """A tab of somebody logged in, and a fleet that changes under it for some seconds."""
    tab = open_tab(logged_in=True)
    name = f"busy-{request.node.name.removeprefix('test_')[:20].strip('_').replace('_', '-')}"
    fleet = client.submit({"name": name, "count": COUNT, **SPEC}).fleet
    return tab, fleet, name


TYPED = "web-00"


def _type(page):
    """Type half a search and put the caret into it."""
    field = page.get_by_label("Label")
    field.press_sequentially(TYPED)
    field.evaluate("one => { one.setSelectionRange(2, 4); window.field = one; }")
    return field


def _typed(page, field):
    """Whether the search is the same element with the same words, focus and caret."""
    expect(field).to_be_focused()
    expect(field).to_have_value(TYPED)
    assert field.evaluate("one => [one === window.field, one.selectionStart, one.selectionEnd]") == [
        True,
        2,
        4,
    ]
    assert stayed(page)


def test_typing_goes_on(busy):
    """A half typed search stays as it is, with focus and caret, while the rows beneath it change."""
    tab, fleet, name = busy
    page, held = tab.page, []
    # The first stream sends every part, the form that holds the field too: here only after somebody has typed.
    page.route("**/live/**", lambda route: held.append(route), times=1)  # noqa: PLW0108 - it asks how many it takes
    with page.expect_request("**/live/**"):
        page.goto(f"/jobs?fleet={fleet.id}")
    stay(page)
    field = _type(page)
    held[0].continue_()
    expect(row(page, f"{name}-0001")).to_contain_text("running")
    _typed(page, field)
    # So does a new stream.
    page.evaluate("['pagehide', 'pageshow'].forEach((name) => dispatchEvent(new Event(name)))")
    expect(row(page, f"{name}-{COUNT:04}")).to_contain_text("running")
    _typed(page, field)


def test_a_page_that_is_loaded_anew_stays_quiet(busy, client):
    """Where there is no room for a stream the page is loaded now and then: typing, ticks and scroll stay there too."""
    tab, fleet, name = busy
    tab.excuse("429")
    page = tab.page
    page.clock.install()
    page.route("**/live/**", lambda route: route.fulfill(status=429))
    page.goto(f"/jobs?fleet={fleet.id}")
    stay(page)
    page.get_by_label(f"Choose {name}-0030").check()
    field = _type(page)
    page.evaluate("scrollTo(0, 200)")
    expect(page.locator("#live")).to_contain_text(re.compile(LOST, re.IGNORECASE))
    client.wait(fleet.id, timeout=60)
    page.clock.run_for(10_000)
    expect(row(page, f"{name}-{COUNT:04}")).to_contain_text("running")
    expect(page.get_by_label(f"Choose {name}-0030")).to_be_checked()
    _typed(page, field)
    assert page.evaluate("scrollY") == 200


def test_ticks_stay(busy):
    """Ticked boxes stay ticked, and only those, while their rows change."""
    tab, fleet, name = busy
    page = tab.page
    page.goto(f"/jobs?fleet={fleet.id}")
    for number in (3, 30):
        page.get_by_label(f"Choose {name}-{number:04}").check()
    expect(row(page, f"{name}-0030")).to_contain_text("running")
    expect(row(page, f"{name}-{COUNT:04}")).to_contain_text("running")
    expect(page.locator("input[name=job]:checked")).to_have_count(2)
    expect(page.get_by_label(f"Choose {name}-0003")).to_be_checked()
    expect(page.get_by_label(f"Choose {name}-0030")).to_be_checked()


def test_open_details_stay_open(busy):
    """An opened table of the history stays open, and scrolled to where it was, while it grows."""
    tab, fleet, _ = busy
    page = tab.page
    page.set_viewport_size(PHONE)
    page.goto(f"/fleets/{fleet.id}")
    details = page.locator("details", has=page.get_by_text("The same as a table"))
    details.locator("summary").click()
    table = details.get_by_role("region")
    table.evaluate("one => { one.scrollLeft = 40; }")
    expect(page.get_by_text(f"All {COUNT} run.")).to_be_visible()
    expect(details.get_by_role("table")).to_be_visible()
    assert table.evaluate("one => one.scrollLeft") == 40


def test_focus_and_scroll_stay(busy):
    """A link that has the focus keeps it, and the page does not jump, while everything around it is replaced."""
    tab, fleet, name = busy
    page = tab.page
    page.goto(f"/fleets/{fleet.id}")
    link = page.get_by_role("link", name=f"{name}-0020", exact=True).last
    link.focus()
    before = page.evaluate("scrollY")
    expect(page.get_by_text(f"All {COUNT} run.")).to_be_attached()
    expect(link).to_be_focused()
    assert abs(page.evaluate("scrollY") - before) <= 300  # what appears above pushes it down, as it should
    expect(link).to_be_in_viewport()


def test_nothing_is_touched_that_did_not_change(tab, client):
    """A page on which nothing changes is left alone: not one node is replaced in it."""
    fleet = client.submit({"name": "settled", "count": 2, **SPEC}).fleet
    client.wait(fleet.id, timeout=30)
    page = tab.page
    page.goto(f"/fleets/{fleet.id}")
    expect(page.get_by_text("All 2 run.")).to_be_visible()
    page.evaluate(
        """() => {
            window.touched = [];
            new MutationObserver((all) => all.forEach((one) => window.touched.push(one.target.outerHTML?.slice(0, 80))))
                .observe(document.querySelector("main"), {childList: true, subtree: true, characterData: true});
        }"""
    )
    other = client.submit({"name": "elsewhere", "count": 12, **SPEC}).fleet
    client.wait(other.id, timeout=30)
    assert page.evaluate("window.touched") == []

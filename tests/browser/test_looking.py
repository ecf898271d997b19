import pytest
from playwright.sync_api import expect

from tests.browser.looking import Tab

POLICY = {"Content-Security-Policy": "default-src 'none'; script-src 'self'", "Content-Type": "text/html"}
WRONG = {
    "an inline script": "<script>document.title = 'ran'</script>",
    "an inline style": "<p style='color: red'>red</p>",
    "somebody else's picture": "<img src='http://127.0.0.2:9/x.png'>",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_violation_of_the_policy_is_noticed(browser, rig, body):
    """The net has no hole: what the content security policy forbids is complained about in the tab."""
    tab = Tab(browser, rig.url("service"))
    tab.page.route(
        "**/wrong", lambda route: route.fulfill(body=f"<title>quiet</title>{body}", headers=POLICY)
    )
    tab.page.goto("/wrong")
    expect(tab.page).to_have_title("quiet")
    assert "policy violation" in "".join(tab.unexcused)
    tab.close()

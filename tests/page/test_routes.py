import gzip
import re
from dataclasses import replace
from random import Random

import pytest

from jobs.database import Database
from jobs.sessions import Sessions
from nodewright.page.drawing import MENU
from nodewright.page.views import VIEWS
from tests.support.fleets import make_service, submit
from tests.support.visits import OWN_MACHINE, House

VERSIONED = r'(/static/[a-z.]+\?v=[0-9a-f]+)"'


@pytest.fixture
def house(tmp_path):
    """A whole service that others can reach."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def person(house):
    """Somebody who is logged in and may do everything."""
    return house.entrant()


def test_each_view_has_a_page(person):
    """Every path of the menu is a page with a title, a heading and the way to the others."""
    for path, _ in MENU:
        assert path in VIEWS
        page = person.look(path)
        assert page.status_code == 200
        assert page.text.count("<h1") == 1
        assert 'aria-current="page"' in page.text
        assert f'data-live="/live{path}"' in page.text


def test_the_parts_are_where_the_script_looks_for_them(person):
    """Each part stands in an element with its name, once."""
    page = person.look("/jobs").text
    names = re.findall(r'<div data-part="([a-z0-9-]+)" id="part-([a-z0-9-]+)">', page)
    assert names
    assert all(one == other for one, other in names)
    assert len(set(names)) == len(names)


def test_what_never_changes_is_kept_by_browsers(house, person):
    """The style sheet and the script may be kept for ever under the addresses that pages give them, by anybody."""
    urls = re.findall(VERSIONED, person.look("/").text)
    assert len(urls) == 2
    for url in urls:
        answer = house.person().look(url)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        old = house.person().look(url.partition("?")[0])
        assert old.headers["cache-control"] == "no-cache"
        assert old.content == answer.content
        again = house.person().look(url, if_none_match=answer.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.css", "..%2Flayout.html", "%2e%2e/%2e%2e/settings.py"])
def test_nothing_else_is_a_file(house, name):
    """Only the files that are meant for it are sent."""
    assert house.person().look(f"/static/{name}").status_code == 404


def test_a_page_is_compressed_where_nothing_is_echoed(house, person):
    """What was asked for with a query is sent as it is: lengths would tell how like a secret the query is (BREACH)."""
    submit(house.database, {"count": 30}, name="web")
    assert person.look("/jobs").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in person.look("/jobs?q=csrf").headers
    assert "content-encoding" not in person.look("/nothing").headers
    assert "content-encoding" not in person.look("/jobs", accept_encoding="identity").headers


def test_compressed_or_not_it_is_the_same(house):
    """The bytes differ only in their coding."""
    person = house.person()
    url = re.findall(VERSIONED, person.look("/login").text)[0]
    plain = person.look(url, accept_encoding="identity")
    packed = person.look(url, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, mtime=0))


def test_what_there_is_not_is_a_page_that_helps_on(person):
    """A browser is answered a page; a program, and everything under /v1, a problem document."""
    for path in ("/fleets/none-such", "/jobs/none-such", "/nothing"):
        answer = person.look(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert 'href="/jobs"' in answer.text
        assert answer.headers["x-request-id"] in answer.text
        assert person.look(path, accept="application/json").json()["status"] == 404
    assert person.look("/v1/nothing").json()["code"] == "not_found"


def test_an_error_of_our_own_is_a_page_that_says_nothing_of_it(house):
    """What nobody foresaw is answered in words, with the request's id and without a trace of what it was."""
    person = house.person(deps=replace(house.deps, service=None))
    answer = person.look("/", authorization=f"Bearer {house.key()}")
    assert answer.status_code == 500
    assert "nothing is lost" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "NoneType" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_database_that_is_away_is_a_page(house, tmp_path):
    """While the database does not answer the page says so, to those who are logged in and to others."""
    away = Database(f"sqlite:///{tmp_path / 'no-such-folder' / 'jobs.db'}")
    deps = replace(house.deps, sessions=Sessions(away, dice=Random(1)), service=make_service(away))
    for headers in ({}, {"cookie": "nodewright-8420=x"}, {"authorization": f"Bearer {house.key()}"}):
        answer = house.person(OWN_MACHINE, deps=replace(deps, local=True)).look("/", **headers)
        assert answer.status_code == 503
        assert "The database does not answer" in answer.text
        assert "no-such-folder" not in answer.text


@pytest.mark.parametrize(
    "name", ["forwarded", "via", "x_forwarded_for", "x_forwarded_host", "x_forwarded_proto", "x_real_ip"]
)
def test_whom_a_proxy_brings_is_not_at_this_machine(house, name):
    """A local stack is open to its own machine; what a proxy there passes on from elsewhere needs a login."""
    person = house.person(OWN_MACHINE, deps=replace(house.deps, local=True))
    assert person.look("/").status_code == 200
    assert person.look("/", **{name: "203.0.113.9"}).status_code == 303

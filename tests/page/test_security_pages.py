import re
from html import unescape
from urllib.parse import quote

import pytest
from sqlalchemy import insert, update

from jobs import transitions
from jobs.records import accounts, chores, fleets, job_events, workers
from jobs.states import State
from nodewright.page.views import VIEWS
from tests.support.fleets import TENANT, add_fleet, add_job, fleet_request
from tests.support.visits import OWN_MACHINE, House, Reader

HOSTILE = "'\"></title></textarea><b data-hostile=1><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
WANTED = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}
SECRETS = {
    "root_pass": "Gl4di0lus+Kn1fe/7",
    "user_data": "IyEvYmluL3NoCnNlY3JldC1ib290LXNjcmlwdAo=",
    "stackscript_data": {"db_password": "S3cret-of-the-script"},
}


@pytest.fixture
def house(tmp_path):
    """A whole service that others can reach."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def hostile(house):
    """A fleet and a job in which whatever others can choose holds markup, and an installation in trouble."""
    columns = dict.fromkeys(("error_reason", "error_field", "error_code", "type", "region", "image"), HOSTILE)
    fleet = add_fleet(
        house.database, name=HOSTILE, stop_reason=HOSTILE, stopped_at=house.clock.now, request_id=HOSTILE
    )
    failed = add_job(
        house.database, State.FAILED, fleet_id=fleet, label=HOSTILE, got_type=HOSTILE, ipv4=HOSTILE, **columns
    )
    doubtful = add_job(house.database, State.UNCERTAIN, fleet_id=fleet, position=2, label=f"{HOSTILE}2")
    with house.database.write() as tx:
        transitions.parked(tx, transitions.load(tx, doubtful.id), actor=HOSTILE)
        paused = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": HOSTILE}
        tx.execute(update(accounts).values(**paused))
        tx.execute(update(fleets).values(held_at=tx.now))
        tx.execute(update(job_events).values(actor=HOSTILE))
        tx.execute(insert(chores), {"name": HOSTILE, "due_at": tx.now, "fence": 1, "error": HOSTILE})
        tx.execute(insert(workers), {"name": HOSTILE, "started_at": tx.now, "seen_at": tx.now})
    return fleet, failed.id


def paths(fleet, job):
    """Return the path of each page."""
    return [path.format(ref=fleet, job_id=job) for path in VIEWS]


def check_harmless(answer, where):
    """Check that a browser would find nothing on a page but what the page's own templates say."""
    assert answer.headers["content-type"].startswith("text/html"), where
    for tag, given in Reader(answer.text).elements:
        assert tag not in {"style", "img", "iframe", "object", "embed", "base"}, (where, tag)
        assert tag != "script" or (given.get("src") or "").startswith("/static/page.js"), where
        assert "data-hostile" not in given, where
        assert not [name for name in given if name.startswith("on") or name == "style"], (where, given)
        for name in ("href", "action", "formaction", "src", "data-live"):
            leads = given.get(name)
            icon = tag == "link" and (leads or "").startswith("data:image/svg+xml,")
            assert leads is None or icon or re.match(r"(/(?![/\\])|[?#])", leads), (where, leads)


def check_headers(answer, where):
    """Check what an answer to a browser says about its use."""
    for name, value in WANTED.items():
        assert answer.headers.get(name) == value, (where, name)
    policy = set(re.split(r";\s*", answer.headers["content-security-policy"]))
    assert policy == POLICY, where
    assert "camera=()" in answer.headers["permissions-policy"], where


# Headers -------------------------------------------------------------------------------------------------------------


def test_every_answer_says_how_it_may_be_used(house, hostile):
    """No page can be framed, and none may load or send anything elsewhere: errors, redirects and questions neither."""
    person, stranger = house.entrant(), house.person()
    fleet, job = hostile
    answers = {path: person.look(path) for path in paths(fleet, job)}
    answers |= {
        path: person.look(path) for path in ("/login", "/nowhere", "/fleets/nothing", "/jobs/nothing")
    }
    answers["redirect"] = stranger.look("/jobs")
    answers["question"] = person.post(f"/jobs/{job}/retry", {"csrf": person.token()})
    answers["done"] = person.act("/jobs/retry", {"job": job})
    answers["refused"] = person.post("/pause", {})
    answers["wrong key"] = stranger.log_in("wrong")
    answers["wrong method"] = person.ask("DELETE", "/jobs")
    for where, answer in answers.items():
        check_headers(answer, where)
    assert answers["/nowhere"].status_code == 404


def test_style_and_script_are_kept_by_their_content(house):
    """Their address holds their hash, so browsers may keep them for ever; at any other address they are not kept."""
    person = house.person()
    found = set(re.findall(r'"(/static/[^"]+)"', person.look("/login").text))
    assert {one.partition("?")[0] for one in found} == {"/static/page.css", "/static/page.js"}
    for url in found:
        kept, asked = person.look(url), person.look(url.partition("?")[0])
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        assert "immutable" not in asked.headers["cache-control"]
        assert kept.headers["x-content-type-options"] == "nosniff"
        assert kept.headers["content-type"].startswith(("text/css", "text/javascript"))


@pytest.mark.parametrize(
    "name", ["nothing.css", "..%2f__init__.py", "%2e%2e/__init__.py", "/etc/passwd", ".", "page.css%00"]
)
def test_no_other_file_is_sent(house, name):
    """There are two files, by their names, and no way out of their folder."""
    assert house.person().look(f"/static/{name}").status_code == 404


# Markup --------------------------------------------------------------------------------------------------------------


def test_markup_in_any_value_is_text_on_every_page(house, hostile):
    """Names, labels, reasons, actors, alarms: a browser sees them as words, and nothing of them as elements."""
    fleet, job = hostile
    person = house.entrant()
    for path in paths(fleet, job):
        answer = person.look(path)
        assert answer.status_code == 200, path
        check_harmless(answer, path)
        assert HOSTILE[:30] in unescape(answer.text), f"{path} shows none: this test has to be given more"
    for url in (f"/fleets/{fleet}/cancel", f"/fleets/{fleet}/retry", f"/jobs/{job}/retry", "/jobs/retry?"):
        answer = person.post(url, {"csrf": person.token(), "job": job})
        assert answer.status_code == 200, url
        check_harmless(answer, url)
        assert "<b data-hostile" in unescape(answer.text), url
    assert person.act(f"/fleets/{fleet}/resume").status_code == 303
    said = person.look("/")
    assert "data-hostile" in unescape(re.search(r'class="flash".*?</p>', said.text, re.DOTALL)[0])
    check_harmless(said, "flash")


def test_markup_in_what_is_asked_for_is_text(house, hostile):
    """Paths, queries, forms, cookies and headers that hold markup come back as words, or not at all."""
    fleet, job = hostile
    person = house.entrant()
    value = quote(HOSTILE, safe="")
    query = "&".join(
        f"{name}={value}"
        for name in (
            "q",
            "fleet",
            "state",
            "tag",
            "since",
            "sort",
            "type",
            "region",
            "error_code",
            "after",
            "next",
            "line",
            value,
        )
    )
    asked = [f"{path}?{query}" for path in (*paths(fleet, job), "/login", "/nowhere")]
    asked += [
        f"/fleets/{value}",
        f"/jobs/{value}",
        f"/{value}",
        f"/static/{value}",
        f"/fleets/{value}/cancel",
    ]
    for url in asked:
        for who in (person, house.person()):
            answer = who.look(url, referer=f"http://nodewright.example:8420/{value}")
            if answer.status_code != 303:
                check_harmless(answer, url)
    for url, fields in (
        ("/jobs/retry", {"all": "1", "state": HOSTILE}),
        ("/jobs/retry", {"all": "1", "q": HOSTILE, HOSTILE: HOSTILE}),
        ("/jobs/cancel", {"job": HOSTILE}),
        (f"/accounts/{value}/pause", {}),
        (f"/fleets/{fleet}/cancel", {"back": f"/jobs?q={HOSTILE}", HOSTILE: HOSTILE}),
        ("/login", {"key": HOSTILE, "next": f"/jobs?q={HOSTILE}"}),
    ):
        answer = person.post(url, {"csrf": person.token(), **fields})
        check_harmless(answer, (url, fields))


# Secrets -------------------------------------------------------------------------------------------------------------


def test_no_secret_is_on_any_page(house):
    """What a fleet's request keeps secret is on none of its pages, whoever looks."""
    asked = fleet_request({"count": 2, "stackscript_id": 7, **SECRETS}, name="sealed")
    done = house.service.submit(asked, tenant=TENANT, actor="test")
    fleet = done.fleet.id
    job = house.service.jobs(TENANT, fleet=fleet)[0].id
    with house.database.read() as tx:
        assert tx.execute(fleets.select().where(fleets.c.id == fleet)).one().sealed
    key = house.key()
    person = house.person()
    person.log_in(key)
    secrets = [SECRETS["root_pass"], SECRETS["user_data"], "secret-boot-script", "S3cret-of-the-script", key]
    secrets += [
        *person.cookies.values(),
        key.rpartition("_")[2],
        *(one.password for one in done.root_passwords),
    ]
    answers = [person.look(path) for path in paths(fleet, job)]
    answers += [person.look(f"{path}?q={job}&fleet=sealed") for path in paths(fleet, job)]
    answers.append(person.post(f"/fleets/{fleet}/cancel", {"csrf": person.token()}))
    for answer in answers:
        assert answer.status_code == 200
        assert not [one for one in secrets if one in unescape(answer.text)], answer.url
        assert not [one for one in secrets if one in str(answer.headers)], answer.url


# The live page -------------------------------------------------------------------------------------------------------


def test_streams_are_for_those_who_may_see_the_page(house, hostile):
    """Nobody listens to a page that they may not load: strangers to none, another tenant to none of this one's."""
    fleet, job = hostile
    house.tenant("intruder")
    stranger, intruder = house.person(), house.entrant("read", tenant="intruder")

    for path in paths(fleet, job):
        assert stranger.look(f"/live{path}").status_code in {303, 401}, path
    for path in (f"/fleets/{fleet}", f"/jobs/{job}"):
        assert intruder.look(f"/live{path}").status_code == 404, path


def test_a_stream_of_a_local_stack_is_not_for_other_names(tmp_path):
    """What holds for its pages holds for what they change by."""
    own = House(tmp_path, local=True)
    for path in ("/", "/jobs", "/system"):
        answer = own.person(OWN_MACHINE).look(f"/live{path}", host="rebound.example")
        assert answer.status_code in {303, 401}, path
    own.close()

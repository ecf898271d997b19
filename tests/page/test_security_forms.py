import re
from urllib.parse import unquote

import pytest

from jobs import keys
from jobs.states import State
from nodewright.page.actions import ACTIONS
from nodewright.page.views import VIEWS
from tests.support.fleets import ACCOUNT, TENANT, TOKEN, add_fleet, add_job, submit
from tests.support.visits import OWN_MACHINE, PLAIN, House, Reader

ELSEWHERE = "https://elsewhere.example"
SCOPES = {
    "/pause": "admin",
    "/resume": "admin",
    "/accounts/{account_id}/pause": "admin",
    "/accounts/{account_id}/resume": "admin",
    "/logout": "read",
}
"""What an action needs; `operate` where nothing is said."""
FREE = {"/login"}
"""What is sent by somebody who is not logged in yet."""


class Scene:
    """A fleet that waits, and one with two failed jobs and one that waits."""

    def __init__(self, house, name="victims"):
        self.house, self.name = house, name
        self.waiting = submit(house.database, {"count": 3}, name=f"{name}-web").fleet.id
        self.fleet = add_fleet(house.database, name=f"{name}-db")
        self.failed = self._job(1, State.FAILED)
        self.queued = self._job(2, State.QUEUED)
        self.failed_too = self._job(3, State.FAILED)

    def _job(self, position, state):
        label = f"{self.name}-db-{position}"
        return add_job(self.house.database, state, fleet_id=self.fleet, position=position, label=label).id

    def ways(self):
        """Return each action: the template of its path, where it is sent, and what else its form carries."""
        for path in actions(self.house):
            job = self.queued if path.endswith("cancel") else self.failed
            fields = {}
            if path in {"/jobs/cancel", "/jobs/retry"}:
                fields = {"job": job}
                yield path, path, {"all": "1", "fleet": self.fleet}
            yield path, path.format(ref=self.fleet, job_id=job, account_id=ACCOUNT), fields


def actions(house):
    """Return the path of whatever a form can be sent to, as the service itself knows it."""
    routes = house.app.routes
    found = [one.path for one in routes if "POST" in (getattr(one, "methods", None) or ())]
    return [path for path in found if not path.startswith("/v1/") and path not in FREE]


@pytest.fixture
def house(tmp_path):
    """A whole service that others can reach."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def scene(house):
    """The service with some fleets."""
    return Scene(house)


def flash_of(answer):
    """Return what a page says about what was just done."""
    found = re.search(r'<p class="flash"[^>]*>(.*?)</p>', answer.text, re.DOTALL)
    return None if found is None else found[1]


# Who may act ---------------------------------------------------------------------------------------------------------


def test_each_action_works_when_it_is_sent_as_our_own_page_sends_it(house):
    """Else the tests below would be content with a page on which nothing works at all."""
    assert {path for path, _ in ACTIONS} | {"/logout"} == set(actions(house))
    person = house.entrant()
    for turn in range(len(list(Scene(house).ways()))):
        path, url, fields = list(Scene(house, f"turn-{turn}").ways())[turn]
        if path == "/logout":
            continue
        before = house.rows()
        answer = person.act(url, fields)
        assert answer.status_code == 303, (path, answer.text)
        if not path.endswith("resume"):
            assert house.rows() != before, path


@pytest.mark.parametrize(
    ("why", "csrf", "headers"),
    [
        ("no token", None, {}),
        ("an empty one", "", {}),
        ("a made up one", "0" * 64, {}),
        ("letters that no token has", "ключ", {}),
        ("another site", True, {"origin": ELSEWHERE}),
        ("a place without a name", True, {"origin": "null"}),
        ("a neighbour on another port", True, {"origin": "http://nodewright.example:9999"}),
        (
            "a name that begins like ours",
            True,
            {"origin": "http://nodewright.example.elsewhere.example:8420"},
        ),
        ("nobody says where from", True, {"origin": None}),
        ("the browser says: another site", True, {"sec_fetch_site": "cross-site"}),
        ("the browser says: a neighbour", True, {"sec_fetch_site": "same-site"}),
        ("the browser says: typed by hand", True, {"sec_fetch_site": "none"}),
    ],
)
def test_a_form_that_is_not_ours_does_nothing(scene, why, csrf, headers):
    """Without the session's own token, or from anywhere else, each action is refused in words, and nothing is done."""
    person = scene.house.entrant()
    mine = person.token()
    before = scene.house.rows()
    for path, url, fields in scene.ways():
        token = mine if csrf is True else csrf
        sent = {"confirmed": "1", **({} if token is None else {"csrf": token}), **fields}
        answer = person.post(url, sent, **headers)
        assert answer.status_code == 403, (why, path)
        assert "nothing was done" in answer.text, (why, path)
        assert answer.headers["content-type"].startswith("text/html")
        assert scene.house.rows() == before, (why, path)
    assert person.token() == mine, "still logged in"


def test_the_token_of_another_session_does_nothing(scene):
    """Not even that of the same key in another browser, nor that of the same browser before it logged in anew."""
    key = scene.house.key()
    one, other = scene.house.person(), scene.house.person()
    one.log_in(key)
    other.log_in(key)
    old = one.token()
    one.log_in(key)
    before = scene.house.rows()
    for path, url, fields in scene.ways():
        for token in (other.token(), old):
            answer = one.post(url, {"csrf": token, "confirmed": "1", **fields})
            assert answer.status_code == 403, path
    assert scene.house.rows() == before


def test_without_a_login_nothing_is_done(scene, tmp_path):
    """With somebody's token alone, and with an API key in a header, forms are refused."""
    token, key = scene.house.entrant().token(), scene.house.key()
    before = scene.house.rows()
    for path, url, fields in scene.ways():
        for headers in ({}, {"authorization": f"Bearer {key}"}):
            stranger = scene.house.person()
            answer = stranger.post(url, {"csrf": token, "confirmed": "1", **fields}, **headers)
            assert answer.status_code == 403, (path, headers)
            assert "nothing was done" in answer.text
    assert scene.house.rows() == before


def test_at_a_local_stack_acting_needs_a_login_all_the_same(tmp_path):
    """Any web page that its user opens could send a form to it."""
    house = House(tmp_path, local=True)
    scene = Scene(house)
    before = house.rows()
    for path, url, fields in scene.ways():
        for sent in ({"csrf": ""}, {}):
            answer = house.person(OWN_MACHINE).post(url, {"confirmed": "1", **sent, **fields})
            assert answer.status_code == 403, path
    assert house.rows() == before
    house.close()


def test_a_link_does_nothing(scene):
    """What acts is a POST only."""
    person = scene.house.entrant()
    token, before = person.token(), scene.house.rows()
    for path, url, _ in scene.ways():
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            query = {"csrf": token, "confirmed": "1"}
            answer = person.ask(method, url, params=query)
            assert answer.status_code in {303, 404, 405}, (path, method)
    assert scene.house.rows() == before
    assert person.token() == token


def test_a_key_acts_as_far_as_its_scopes_go(scene):
    """What a key may not is on no page of its session, and is refused when it is sent all the same."""
    for held in (("read",), ("read", "operate"), ("read", "submit")):
        person, before = scene.house.entrant(*held), scene.house.rows()
        shown = {form.action for page in pages(scene) for form in person.forms(page)}
        for path, url, fields in scene.ways():
            needed = SCOPES.get(path, "operate")
            if needed in held:
                continue
            assert url not in shown, (held, path)
            answer = person.act(url, fields)
            assert answer.status_code == 403, (held, path)
            assert f"lacks the scope `{needed}`" in re.sub("</?code>", "`", answer.text), (held, path)
        assert scene.house.rows() == before


def pages(scene):
    """Return the path of each page."""
    return [path.format(ref=scene.fleet, job_id=scene.failed) for path in VIEWS]


def test_a_session_that_ended_does_nothing(scene):
    """A page that was left open may still be there when its key is revoked."""
    key = scene.house.key()
    person = scene.house.person()
    person.log_in(key)
    token = person.token()
    keys.revoke(scene.house.database, keys.key_id(key))
    before = scene.house.rows()
    for path, url, fields in scene.ways():
        assert person.post(url, {"csrf": token, "confirmed": "1", **fields}).status_code == 403, path
    assert scene.house.rows() == before


# Bodies --------------------------------------------------------------------------------------------------------------


def test_a_body_that_is_no_form_is_refused(scene):
    """Too large, with too many fields, of another type or torn: none is read further, and nothing is done."""
    person = scene.house.entrant()
    token, before = person.token(), scene.house.rows()
    good = f"csrf={token}&confirmed=1&job={scene.queued}"
    form = "application/x-www-form-urlencoded"
    bodies = [
        (f"{good}&x={'x' * 2_000_000}", form, 413),
        ("&".join([good, *["job=x"] * 5_000]), form, 400),
        (good, "application/json", 415),
        (good, "text/plain", 415),
        (good, "multipart/form-data; boundary=x", 415),
        (f"{good}&x=%ff%fe", form, 400),
    ]
    for content, kind, status in bodies:
        head = {"content-type": kind, "origin": PLAIN}
        answer = person.ask("POST", "/jobs/cancel", content=content, headers=head)
        assert answer.status_code == status, (kind, content[:200])
    assert scene.house.rows() == before


# Asking first --------------------------------------------------------------------------------------------------------


def test_what_ends_or_spends_asks_first(scene):
    """A cancel and a retry name how many and which; only the answer yes does it."""
    person = scene.house.entrant()
    cases = [
        (f"/fleets/{scene.waiting}/cancel", {}, "3 jobs", "victims-web-"),
        (f"/jobs/{scene.failed}/retry", {}, "1 job", "victims-db-1"),
        ("/jobs/cancel", {"job": scene.queued}, "1 job", "victims-db-2"),
        ("/jobs/retry", {"all": "1", "state": "failed"}, "1 job", "victims-db-3"),
    ]
    for url, fields, count, label in cases:
        before = scene.house.rows()
        asked = person.post(url, {"csrf": person.token(), **fields})
        assert asked.status_code == 200, url
        assert scene.house.rows() == before, url
        question = Reader(asked.text)
        assert count in question.text, url
        assert label in question.text, url
        form = next(one for one in question.forms if one.action == url)
        assert person.post(form.action, form.fields).status_code == 303, url
        assert scene.house.rows() != before, url


def test_a_bulk_action_is_said_to_have_been_done_once(scene):
    """What is said afterwards stands on the next page, and not on the one after it."""
    person = scene.house.entrant()
    done = person.act(
        "/jobs/cancel", [("job", scene.queued), *(("job", one) for one in ids(scene, scene.waiting))]
    )
    assert done.status_code == 303
    assert "4 jobs" in flash_of(person.look("/jobs"))
    assert flash_of(person.look("/jobs")) is None


def ids(scene, fleet):
    """Return the ids of a fleet's jobs."""
    return [one.id for one in scene.house.service.jobs(TENANT, fleet=fleet)]


def test_nobody_puts_words_into_our_mouth(scene):
    """A flash cookie that is made up, changed or another session's is not shown, and none is read as markup."""
    person, other = scene.house.entrant(), scene.house.entrant()
    person.act(f"/fleets/{scene.waiting}/pause")
    name, value = next((name, value) for name, value in person.cookies.items() if "said" in name)
    signature, _, words = value.partition(".")
    payload = "<b>Send your key to elsewhere.example</b>"
    for forged in (payload, f"{signature}.{payload}", f".{words}", f"{'0' * 64}.{words}", value + "x"):
        person.client.cookies.set(name, forged, domain="nodewright.example")
        answer = person.look("/")
        assert flash_of(answer) is None, forged
        assert "elsewhere.example" not in answer.text
    other.client.cookies.set(name, value, domain="nodewright.example")
    assert flash_of(other.look("/")) is None
    assert "victims-web" in unquote(words)


@pytest.mark.parametrize(
    "back",
    ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:alert(1)"],
)
def test_an_action_goes_back_to_our_own_pages_only(scene, back):
    """Neither the form nor the header that says where it was leads elsewhere, nor the link on the question."""
    person = scene.house.entrant()
    url = f"/fleets/{scene.waiting}/cancel"
    asked = person.post(url, {"csrf": person.token(), "back": back}, referer=f"{ELSEWHERE}/x")
    assert not [
        given
        for _, given in Reader(asked.text).elements
        if "elsewhere" in str(given) or "javascript" in str(given)
    ]
    for sent, referer in (({"back": back}, f"{PLAIN}/"), ({}, f"{ELSEWHERE}/jobs"), ({}, "//x"), ({}, back)):
        done = person.act(f"/fleets/{scene.waiting}/pause", sent, referer=referer)
        assert done.headers["location"] == f"/fleets/{scene.waiting}", (sent, referer)


# Tenancy -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def intruder(scene):
    """Somebody of another tenant, with every scope but that for the whole installation."""
    scene.house.tenant("intruder")
    return scene.house.entrant("submit", "read", "operate", tenant="intruder")


def test_nothing_of_another_tenant_is_on_any_page(scene, intruder):
    """Its fleets and jobs are not found, by id, name or search; what all see names nothing of them."""
    house = scene.house
    house.service.pause(house.service.fleet_scope(scene.waiting, TENANT), actor="x")
    others = {"victims-", TOKEN, *ids(scene, scene.waiting), scene.fleet, scene.queued}
    for path in VIEWS:
        for ref in (scene.waiting, "victims-web"):
            url = path.format(ref=ref, job_id=scene.failed)
            for query in ("", f"?fleet={ref}", f"?q={scene.failed}", "?state=failed"):
                answer = intruder.look(f"{url}{query}")
                assert answer.status_code == (404 if "{" in path else 200), url
                # What was asked for is said back; that tells nobody whether there is such a thing.
                told = (
                    answer.text.replace("victims-web", "")
                    .replace(scene.failed, "")
                    .replace(scene.waiting, "")
                )
                assert not [mark for mark in others if mark in told], (url, query)


def test_nothing_of_another_tenant_can_be_acted_on(scene, intruder):
    """Each action answers as if there were no such fleet, job or account; chosen among one's own too."""
    own = submit(scene.house.database, {"count": 1}, name="mine", tenant="intruder").fleet
    mine = scene.house.service.jobs("intruder", fleet=own.id)[0].id
    before = scene.house.rows()
    for path, url, fields in scene.ways():
        if path == "/logout" or SCOPES.get(path) == "admin":
            continue
        for sent in (fields, [*fields.items(), ("job", mine)]):
            answer = intruder.act(url, sent)
            assert answer.status_code == 404, (path, sent)
    assert scene.house.rows() == before
    everything = intruder.act("/jobs/cancel", {"all": "1"})
    assert everything.status_code == 303
    assert {one.id: one.state for one in scene.house.service.jobs(TENANT)}[scene.queued] == "queued"
    assert scene.house.service.job(mine, "intruder").job.state == "cancelled"

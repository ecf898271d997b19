import re
from datetime import timedelta
from urllib.parse import quote, urljoin, urlsplit

import pytest
from sqlalchemy import func, select, text

from jobs import keys
from jobs.keys import Principal
from jobs.records import sessions
from jobs.sessions import LIFETIME, LONGEST
from nodewright.page.views import VIEWS
from nodewright.service.guards import LOGINS_AT_ONCE, LOGINS_PER_SECOND
from tests.support.fleets import TENANT, submit
from tests.support.visits import OWN_MACHINE, PLAIN, SETTINGS_KEY, TLS, House, Reader

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def house(tmp_path):
    """A whole service that others can reach."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def own(tmp_path):
    """A local stack."""
    made = House(tmp_path, local=True)
    yield made
    made.close()


def filled(house):
    """Return the path of each page, of a fleet and a job that there are."""
    fleet = submit(house.database, {"count": 2}).fleet
    job = house.service.jobs(TENANT, fleet=fleet.id)[0].id
    return [path.format(ref=fleet.id, job_id=job) for path in VIEWS]


def wait(house, duration):
    """Let time pass."""
    house.clock.advance(duration.total_seconds())


def is_in(person):
    """Whether somebody sees the page as one who is logged in."""
    answer = person.look("/")
    return answer.status_code == 200 and "Log out" in answer.text


def count(house):
    """Return how many sessions there are."""
    with house.database.read() as tx:
        return tx.execute(select(func.count()).select_from(sessions)).scalar_one()


def all_text(house):
    """Return whatever the database's files hold, as text."""
    with house.database.read() as tx:
        tables = tx.execute(text("select name from sqlite_master where type = 'table'")).scalars().all()
        return "\n".join(repr(tx.execute(text(f'select * from "{name}"')).all()) for name in tables)


# Who is let in -------------------------------------------------------------------------------------------------------


def test_a_stranger_is_asked_to_log_in_and_led_back(house):
    """Without a login each page leads to the login, and the login back to the very page."""
    for path in filled(house):
        stranger = house.person()
        answer = stranger.look(f"{path}?state=failed")
        assert answer.status_code == 303, path
        assert answer.headers["location"] == f"/login?next={quote(f'{path}?state=failed', safe='')}", path
        done = stranger.log_in(house.key(), answer.headers["location"])
        assert (done.status_code, done.headers["location"]) == (303, f"{path}?state=failed")
        assert is_in(stranger)


def test_at_a_local_stack_reading_needs_no_login_and_shows_nothing_to_act_with(own):
    """Whoever sits at the machine sees all pages; there is no form on them that changes anything."""
    for path in filled(own):
        somebody = own.person(OWN_MACHINE)
        assert somebody.look(path).status_code == 200, path
        assert not somebody.forms(path), path


def test_a_name_that_only_resolves_to_this_machine_reads_nothing(own):
    """A web page whose host's address is changed to loopback (DNS rebinding) finds nobody logged in."""
    for path in filled(own):
        assert own.person("http://rebound.example:8420").look(path).status_code == 303, path


def test_what_a_proxy_brings_is_no_reason_to_trust_it_with_streams_or_metrics(own):
    """A proxy may put its own name for the service into ``Host``: then strangers would ask for a loopback name."""
    stranger = own.person(OWN_MACHINE)
    assert stranger.look("/metrics").status_code == 200
    for path in ("/live/system", "/metrics"):
        assert stranger.look(path, x_forwarded_for="203.0.113.9").status_code in {303, 401}, path


def test_a_script_reads_pages_by_its_key_and_gets_no_session(house):
    """A bearer key opens the pages, without a cookie; a wrong one does not, and neither does HTTP Basic any more."""
    script = house.person()
    for path in filled(house):
        answer = script.look(path, authorization=f"Bearer {house.key('read')}")
        assert answer.status_code == 200, path
        assert not script.cookies
        assert not [form for form in Reader(answer.text).forms if form.method == "post"]
        for wrong in ("Bearer nwk_aaaaaaaa_nothing", "Basic Ong="):
            assert script.look(path, authorization=wrong).status_code != 200, (path, wrong)


def test_a_key_without_read_opens_nothing(house):
    """A key that may only submit does not log in."""
    person = house.person()
    assert person.log_in(house.key("submit")).status_code == 403
    assert not person.cookies
    assert count(house) == 0


# The session ---------------------------------------------------------------------------------------------------------


def test_the_cookie_is_for_the_browser_and_this_host_alone(house):
    """No script reads it, no other site sends it with a form; over TLS it never leaves TLS."""
    plain = house.person().log_in(house.key()).headers["set-cookie"].lower()
    for part in ("httponly", "path=/", "samesite=lax", f"max-age={int(LIFETIME.total_seconds())}"):
        assert part in plain, part
    assert "domain" not in plain
    assert "secure" not in plain

    tls = house.person(TLS).log_in(house.key()).headers["set-cookie"]
    assert tls.startswith("__Host-")
    assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(re.split(r";\s*", tls.lower()))


@pytest.mark.parametrize("forwarded", [{"x_forwarded_proto": "https"}, {}])
def test_a_proxy_that_ends_tls_is_seen_through(house, forwarded):
    """Behind it the cookie is as strict as over TLS, and is found again, whether or not the proxy says so itself."""
    person = house.person("http://nodewright.example")
    done = person.log_in(house.key(), origin="https://nodewright.example", **forwarded)
    assert done.headers["set-cookie"].startswith("__Host-")
    name, _, value = done.headers["set-cookie"].partition(";")[0].partition("=")
    answer = person.look("/", cookie=f"{name}={value}", **forwarded)
    assert answer.status_code == 200
    assert "Log out" in answer.text


def test_neither_token_nor_key_is_kept_or_said(house):
    """Of both only hashes are stored; no page, URL or line of the log holds one."""
    key = house.key()
    person = house.person()
    answers = [person.log_in(key), *(person.look(path) for path in filled(house))]
    token = next(iter(person.cookies.values()))
    assert len(token) >= 43
    seen = "\n".join([all_text(house), house.log.getvalue(), *(one.text for one in answers)])
    seen += "\n".join(str(one.headers.get("location", "")) for one in answers)
    assert '"path": "/login"' in house.log.getvalue()
    for secret in (token, key, key.rpartition("_")[2]):
        assert secret not in seen


def test_a_session_that_came_from_outside_is_never_taken_over(house):
    """Session fixation: whatever the browser brings, a login makes a new token, and what was brought opens nothing."""
    attacker = house.entrant()
    name, known = next(iter(attacker.cookies.items()))
    for brought in (known, "0" * 64, "chosen"):
        victim = house.person()
        victim.client.cookies.set(name, brought, domain="nodewright.example")
        form = next(one for one in victim.forms("/login") if one.secret)
        done = victim.post(form.action, [*form.fields, (form.secret, house.key())])
        fresh = re.match(r"[^=]*=([^;]*)", done.headers["set-cookie"])[1]
        assert fresh not in {known, brought}
        spy = house.person()
        spy.client.cookies.set(name, brought, domain="nodewright.example")
        assert not is_in(spy)


def test_each_login_has_a_token_of_its_own(house):
    """The same key in two browsers makes two sessions; one's logout leaves the other."""
    key = house.key()
    one, other = house.person(), house.person()
    one.log_in(key)
    other.log_in(key)
    assert one.cookies != other.cookies
    one.log_out()
    assert not is_in(one)
    assert is_in(other)


def test_a_logout_ends_the_session_everywhere(house):
    """The row is gone: a cookie that somebody copied before opens nothing afterwards."""
    person = house.entrant()
    thief = house.person()
    for name, value in person.cookies.items():
        thief.client.cookies.set(name, value, domain="nodewright.example")
    assert is_in(thief)
    assert person.log_out().status_code == 303
    assert not person.cookies
    assert not is_in(thief)
    assert count(house) == 0


def test_a_link_or_somebody_elses_page_logs_nobody_out(house):
    """A logout is a form of our own page."""
    person = house.entrant()
    assert person.look("/logout").status_code in {404, 405}
    assert (
        person.post("/logout", [("csrf", person.token())], origin="https://elsewhere.example").status_code
        == 403
    )
    assert person.post("/logout", []).status_code == 403
    assert is_in(person)


def test_a_session_ends_with_its_key(house):
    """Revoked or expired, a key opens nothing from then on, by no session that it opened before either."""
    lasting, brief = house.key(), house.key(lifetime=HOUR)
    one, other = house.person(), house.person()
    one.log_in(lasting)
    other.log_in(brief)
    assert keys.revoke(house.database, keys.key_id(lasting))
    assert (is_in(one), is_in(other)) == (False, True)
    wait(house, HOUR)
    assert not is_in(other)


def test_a_session_without_use_ends(house):
    """It lasts twelve hours from its last use, noted by the minute, and a week at the most."""
    used, unused = house.entrant(), house.entrant()
    wait(house, LIFETIME - MINUTE)
    assert is_in(used)
    wait(house, MINUTE)
    assert is_in(used)
    assert not is_in(unused)
    wait(house, LIFETIME)
    assert not is_in(used)


def test_use_does_not_lengthen_a_session_for_ever(house):
    """A stolen cookie that is used all the time is worthless after a week."""
    person = house.entrant()
    for _ in range(LONGEST // (6 * HOUR) - 1):
        wait(house, 6 * HOUR)
        assert is_in(person)
    wait(house, 6 * HOUR)
    assert not is_in(person)


def test_use_is_written_once_a_minute_at_most(house):
    """Each look reads the session; of many within a minute none writes."""
    person = house.entrant()

    def noted():
        with house.database.read() as tx:
            return tx.execute(select(sessions.c.used_at)).scalar_one()

    began = noted()
    wait(house, MINUTE - timedelta(seconds=1))
    person.look("/")
    assert noted() == began
    wait(house, timedelta(seconds=1))
    assert person.look("/").headers["set-cookie"], "the browser keeps the cookie as long as the session lasts"
    assert noted() == began + MINUTE


def test_sessions_that_ended_are_swept_by_the_next_login(house):
    """The table does not grow for ever."""
    for _ in range(3):
        house.entrant()
    wait(house, LIFETIME)
    house.entrant()
    assert count(house) == 1


def test_the_key_of_the_settings_logs_in_until_it_is_changed(house):
    """It may do everything; after a restart with another key its sessions have ended."""
    person = house.person()
    assert person.log_in(SETTINGS_KEY).status_code == 303
    assert is_in(person)
    again = house.person(
        deps=house.restarted(
            {keys.digest_of(SETTINGS_KEY): Principal("settings", TENANT, frozenset(keys.SCOPES))}
        )
    )
    changed = house.person(
        deps=house.restarted(
            {keys.digest_of("another"): Principal("settings", TENANT, frozenset(keys.SCOPES))}
        )
    )
    for later in (again, changed):
        for name, value in person.cookies.items():
            later.client.cookies.set(name, value, domain="nodewright.example")
    assert (is_in(again), is_in(changed)) == (True, False)


# Wrong keys ----------------------------------------------------------------------------------------------------------


def test_a_refused_login_says_nothing_about_the_key(house):
    """Unknown, mistyped, revoked and expired keys are answered by the very same page, on which no key stands."""
    good, revoked, brief = house.key(), house.key(), house.key(lifetime=MINUTE)
    keys.revoke(house.database, keys.key_id(revoked))
    wait(house, MINUTE)
    tried = [
        "nwk_aaaaaaaa_unknown",
        f"{good[:-1]}!",
        good.rpartition("_")[0],
        revoked,
        brief,
        "k" * 5_000,
        "ключ\x00",
    ]
    answers = [house.person(address=f"192.0.2.{place}").log_in(key) for place, key in enumerate(tried)]
    assert {one.status_code for one in answers} == {403}
    assert len({one.text for one in answers}) == 1
    assert not [one for one in answers if "set-cookie" in one.headers]
    assert not [key for key in tried if key in answers[0].text or key in house.log.getvalue()]


def test_wrong_keys_are_slowed_down_by_address(house):
    """After a few wrong ones an address must wait, with the right one too; others need not."""
    key, guesser = house.key(), house.person(address="192.0.2.66")
    form = next(one for one in guesser.forms("/login") if one.secret)

    def send(person, value):
        return person.post(form.action, [*form.fields, (form.secret, value)])

    assert {send(guesser, f"guess {turn}").status_code for turn in range(LOGINS_AT_ONCE)} == {403}
    refused = send(guesser, key)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert send(house.person(address="192.0.2.1"), key).status_code == 303
    wait(house, timedelta(seconds=1 / LOGINS_PER_SECOND))
    assert send(guesser, key).status_code == 303


def test_right_keys_are_not_slowed_down(house):
    """Only wrong ones count: many people behind one address log in as often as they like."""
    key = house.key()
    assert {house.person().log_in(key).status_code for _ in range(LOGINS_AT_ONCE + 1)} == {303}


def test_nobody_is_logged_in_by_somebody_elses_page(house):
    """Login CSRF: a form of another site's opens no session, or a visitor would work in the attacker's."""
    key = house.key()
    for origin, site in (
        ("https://elsewhere.example", None),
        ("null", None),
        (None, None),
        (PLAIN, "cross-site"),
        (PLAIN, "same-site"),
    ):
        victim = house.person()
        more = {} if site is None else {"sec_fetch_site": site}
        answer = victim.log_in(key, origin=origin, **more)
        assert answer.status_code == 403, (origin, site)
        assert not victim.cookies
    assert count(house) == 0


# Where a login leads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "///elsewhere.example/",
        "/\\elsewhere.example/",
        "\\\\elsewhere.example/",
        "/\t/elsewhere.example/",
        "/\n/elsewhere.example/",
        " //elsewhere.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "elsewhere.example",
        "/x\r\nSet-Cookie: a=b",
        "http:elsewhere.example",
        "/\x00/elsewhere.example",
    ],
)
def test_a_login_leads_to_our_own_pages_only(house, bad):
    """Open redirect: a link to the login cannot lead elsewhere afterwards, in the query or in the form."""
    key = house.key()
    person = house.person()
    form = next(one for one in person.forms(f"/login?next={quote(bad)}") if one.secret)
    fields = [(name, value) for name, value in form.fields if name != "next"]
    for sent in (form.fields, [*fields, ("next", bad)]):
        where = person.post(form.action, [*sent, (form.secret, key)]).headers["location"]
        # As browsers read it: a backslash is a slash, and tabs and ends of line are not there.
        read = re.sub(r"[\t\r\n]", "", where).replace("\\", "/")
        assert urlsplit(urljoin(f"{PLAIN}/login", read)).netloc == urlsplit(PLAIN).netloc, where
        assert where == "/"

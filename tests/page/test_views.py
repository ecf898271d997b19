import itertools
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

import nodewright.page
from jobs import house, listing, overview
from jobs.records import accounts, chores, fleets, installation, job_events, jobs, rate_windows, workers
from jobs.service import NotFound
from jobs.states import State
from nodewright.page.shown import Visitor
from nodewright.page.views import VIEWS
from nodewright.page.views import jobs as page_of_jobs
from tests.support.arrivals import arrive
from tests.support.fleets import TENANT, add_fleet, add_job, add_tenant, set_job, submit
from tests.support.looks import Looker, text_of

FLEET, JOB = "/fleets/{ref}", "/jobs/{job_id}"
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TOO_LARGE = ("image_too_large", "the image private/1002 needs 60000 MB and the disk has 25600 MB", "image")
NEVER_UP = ("boot_timeout", "not up 300 s after its create", None)
TAKEN = ("label_taken", "Label must be unique among your linodes", "label")
FULL = ("no_capacity", "us-east has no capacity for this plan", "region")
HOSTILE = '"><script>alert(\'x\')</script><b style="color:red">{{ 7 * 7 }}'
WEIGHT = 150_000
_NUMBERS = itertools.count(1)
LAYOUT = 4_000
"""What stands around a page's parts."""


@pytest.fixture
def look(tmp_path):
    """Somebody who looks at the page."""
    looker = Looker(tmp_path)
    yield looker
    looker.database.close()


@pytest.fixture
def morning_after(look):
    """A fleet of 200 that came up last hour, but for three."""
    failures = {37: TOO_LARGE, 38: NEVER_UP, 121: TAKEN}
    return arrive(
        look.database,
        "web",
        200,
        at=look.now - HOUR,
        until=look.now - MINUTE,
        failures=failures,
        request_id="req-7",
    )


@pytest.fixture
def under_way(look):
    """A fleet of 500 of which about a half was sent, and two failed."""
    failures = {9: FULL, 77: FULL}
    return arrive(look.database, "web", 500, at=look.now - 3.5 * MINUTE, until=look.now, failures=failures)


@pytest.fixture
def morning_after_too(look):
    """Another fleet, which is up."""
    return arrive(look.database, "db", 2, at=look.now - HOUR, until=look.now - MINUTE)


def _forms(markup):
    """Return what each form sends, by where it is sent and what its button says."""
    found = {}
    for url, inside in re.findall(
        r'<form [^>]*method="post" action="([^"]*)"[^>]*>(.*?)</form>', markup, re.DOTALL
    ):
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', inside)
        found[url, text_of(inside.rpartition("<button")[2].partition(">")[2])] = dict(fields)
    return found


# Fleets --------------------------------------------------------------------------------------------------------------


def test_a_newcomer_is_told_how_to_begin(look):
    """Where there is no fleet yet the page says how to ask for one."""
    read = look.read("/")

    assert "No fleets yet" in read
    assert "nodewright submit --name web --count 3" in read
    assert "<table" not in look.markup("/")


def test_each_fleet_says_how_it_stands_and_why(look, morning_after):
    """The first page says in words how far each fleet is, why some of it failed, and what it costs."""
    shown = look.show("/")
    read = text_of(shown.parts["fleets"])

    assert "197 of 200 run, 3 failed." in read
    for _, reason, _ in (TOO_LARGE, NEVER_UP, TAKEN):
        assert f"1 {reason}" in read
    assert "an hour" in read
    assert f'href="/fleets/{morning_after}"' in shown.parts["fleets"]


def test_a_fleet_that_waits_says_how_long_at_the_least(look, under_way):
    """While jobs wait the limit tells when the last one may be sent; nothing says so once none waits."""
    assert "At the limit of 80 creates a minute the last one is sent in about 3 min" in look.read("/")
    with look.database.write() as tx:
        tx.execute(update(jobs).where(jobs.c.state == "queued").values(state="cancelled"))
    assert "At the limit" not in look.read("/")


def test_alarms_come_first_with_what_to_do(look, under_way):
    """An alarm says what is wrong, since when, and what to do, before anything else."""
    with look.database.write() as tx:
        tx.execute(update(installation).values(alive_at=tx.now - 5 * MINUTE))

    shown = look.show("/")
    read = text_of(shown.parts["alarms"])

    assert next(iter(shown.parts)) == "alarms"
    assert "No worker was seen for 5 min, so nothing moves" in read
    assert "What to do: start one: nodewright up, or nodewright worker" in read
    assert "Since 11:55:00" in read
    assert "At the limit" not in text_of(shown.parts["fleets"])


def test_older_fleets_are_a_page_away(look):
    """Each fleet is on exactly one page, the newest on the first."""
    made = [add_fleet(look.database, name=f"fleet-{number:02d}") for number in range(30)]
    first = look.show("/").parts["fleets"]
    older = re.search(r'href="/\?(after=[^"]*)" rel="next"', first)[1]
    second = look.show("/", older).parts["fleets"]

    seen = [re.findall(r'href="/fleets/([^"]*)"', page) for page in (first, second)]
    assert [len(page) for page in seen] == [25, 5]
    assert sorted(seen[0] + seen[1]) == sorted(made)
    assert 'rel="next"' not in second
    assert "No fleets yet" not in look.read("/", f"after={min(made)}")


# One fleet -----------------------------------------------------------------------------------------------------------


def test_the_morning_after_one_page_says_what_failed_and_what_to_do(look, morning_after):
    """Before any picture the page says how many run, and of each failure why, which jobs, and what to do."""
    parts = look.show(FLEET, ref=morning_after).parts
    state, failures = text_of(parts["state"]), text_of(parts["failures"])

    assert list(parts)[:2] == ["state", "failures"]
    assert "197 of 200 run, 3 failed." in state
    for cause in ("1 not up in time", "1 with an image larger than the disk", "1 whose label is taken"):
        assert cause in state
    for label, (code, reason, _) in {"web-0037": TOO_LARGE, "web-0038": NEVER_UP, "web-0121": TAKEN}.items():
        assert f"{label} : {reason}" in failures
        assert code in failures
    assert failures.count("What to do:") == 3
    assert "Choose a larger plan" in failures


def test_a_fleet_under_way_says_when_it_is_done(look, under_way, morning_after_too):
    """While jobs wait or boot the page says when all would run; of what has settled it says nothing."""
    assert re.search(r"All run in about \d min, if nothing else comes", look.read(FLEET, ref=under_way))
    assert "All run in" not in look.read(FLEET, ref=morning_after_too)


def test_failures_are_retried_from_where_they_are_read(look, morning_after):
    """Each group has a button that retries exactly its jobs; another one retries all."""
    forms = _forms(look.markup(FLEET, ref=morning_after))

    job = _job(look, "web-0121").id
    assert forms[f"/jobs/{job}/retry", "Retry this job (web-0121)"] == {"csrf": "the-token"}
    assert forms[f"/fleets/{morning_after}/retry", "Retry all 3 that failed"] == {"csrf": "the-token"}
    assert not [url for url, _ in forms if url.endswith(("/cancel", "/pause", "/resume"))]


def _failed(look, fleet, code, *reasons, state=State.FAILED):
    for reason in reasons:
        count = next(_NUMBERS)
        more = {"error_code": code, "error_reason": reason, "label": f"web-{count:04d}", "position": count}
        add_job(look.database, state, fleet_id=fleet, **more)


def test_a_button_says_what_it_retries(look):
    """A retry is by the error code: where others have it for another reason, button and link say how many in all."""
    fleet = add_fleet(look.database, name="web")
    _failed(
        look, fleet, "rejected_by_api", "not here", "not here", "not today", "not today", "not today", "no"
    )
    _failed(look, fleet, "no_capacity", "full", "full")
    _failed(look, fleet, "unknown_type", "no such plan", "no such plan", state=State.REJECTED)
    markup = look.show(FLEET, ref=fleet).parts["failures"]
    forms, wanted = _forms(markup), {"csrf": "the-token", "all": "1", "fleet": fleet, "state": "failed"}

    assert markup.count(">Retry all 6 with rejected_by_api<") == 2
    assert forms["/jobs/retry", "Retry all 6 with rejected_by_api"] == {
        **wanted,
        "error_code": "rejected_by_api",
    }
    assert forms["/jobs/retry", "Retry these 2 (no_capacity)"] == {**wanted, "error_code": "no_capacity"}
    assert "Why: 6 refused by Linode, 2 " in text_of(look.show(FLEET, ref=fleet).parts["state"])
    (alone,) = [url for url, says in forms if says.startswith("Retry this job")]
    assert re.fullmatch("/jobs/[0-9a-f-]{36}/retry", alone)
    assert text_of(markup).count("all 6 with this code") == 2
    assert len(forms) == 3


def test_a_button_names_no_number_where_not_all_were_looked_at(look, monkeypatch):
    """Of very many failures only a part is counted; then a button says that it is for all with the code."""
    monkeypatch.setattr(overview, "LOOKED_AT", 3)  # instead of thousands of rows
    fleet = add_fleet(look.database, name="web")
    _failed(look, fleet, "no_capacity", *["full"] * 5)
    markup = look.show(FLEET, ref=fleet).parts["failures"]

    assert "3 jobs at least" in text_of(markup)
    assert ("/jobs/retry", "Retry all with no_capacity") in _forms(markup)


def test_the_tab_says_how_a_fleet_stands(look, morning_after):
    """The title says what needs a look before the name, and goes along with the part that changes."""
    shown = look.show(FLEET, ref=morning_after)

    assert shown.title == "3 failed · web"
    assert '<h1 data-title="3 failed · web · Nodewright">' in shown.parts["state"]


def test_the_parts_of_a_fleet_are_a_step_away(look, morning_after, morning_after_too):
    """Links at the head lead to each section that there is, and to no other."""
    for fleet, failed in ((morning_after, True), (morning_after_too, False)):
        parts = look.show(FLEET, ref=fleet).parts
        nav = parts["state"].partition('aria-label="On this page"')[2]
        names = re.findall(r'href="#part-([^"]*)"', nav)
        assert names == [*(["failures"] if failed else []), "history", "timeline", "states", "facts"]
        assert all(parts[name].startswith("<h2>") for name in names)


def test_what_was_never_sent_is_not_offered_a_retry(look):
    """A rejected job can only be submitted again, and the page says so."""
    fleet = add_fleet(look.database, name="web")
    add_job(
        look.database, State.REJECTED, fleet_id=fleet, error_code="unknown_type", error_reason="no such plan"
    )
    parts = look.show(FLEET, ref=fleet).parts

    assert "correct the request and submit it again" in text_of(parts["failures"])
    assert not _forms(parts["failures"])


def test_a_fleet_under_way_can_be_paused_and_cancelled(look, under_way):
    """What still waits can be held back or cancelled; a paused fleet says so, and can be resumed."""
    here = f"/fleets/{under_way}"
    assert (f"{here}/pause", "Pause the fleet") in _forms(look.markup(FLEET, ref=under_way))
    assert (f"{here}/cancel", "Cancel what is not bought yet") in _forms(look.markup(FLEET, ref=under_way))

    with look.database.write() as tx:
        tx.execute(update(fleets).values(held_at=tx.now - MINUTE))
    markup = look.markup(FLEET, ref=under_way)

    assert (f"{here}/resume", "Resume the fleet") in _forms(markup)
    assert (f"{here}/pause", "Pause the fleet") not in _forms(markup)
    assert "Paused by a person since 11:59:00" in text_of(markup)


@pytest.mark.parametrize("scopes", [{"read"}, {"read", "operate"}])
def test_who_may_not_act_is_shown_no_button(look, morning_after, scopes):
    """Buttons are for those who are logged in and may act."""
    look.visitor = Visitor(TENANT, "key", frozenset(scopes), csrf="x", logged_in="operate" not in scopes)

    for view in VIEWS:
        with look.deps.service.reading() as tx:
            job = tx.execute(jobs.select().limit(1)).first().id
        assert not _forms(look.markup(view, ref=morning_after, job_id=job)), view


def test_what_holds_a_fleet_up_is_said_there(look, under_way, morning_after_too):
    """A fleet that waits says what it waits for: a paused account, no worker. One that has settled need not know."""
    with look.database.write() as tx:
        why = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": "Invalid Token"}
        tx.execute(update(accounts).values(**why))

    state = text_of(look.show(FLEET, ref=under_way).parts["state"])

    assert "Account default is paused: Invalid Token" in state
    assert "What to do: set a token that the API accepts" in state
    assert "Invalid Token" not in look.read(FLEET, ref=morning_after_too)


def test_how_it_went_is_a_picture_and_a_table(look, morning_after):
    """The states over time can be seen, and read as a table that ends with how the jobs stand."""
    history = look.show(FLEET, ref=morning_after).parts["history"]
    rows = [text_of(row).split() for row in re.findall(r"<tr>(.*?)</tr>", history)]

    assert 'class="k-running"' in history
    assert "11:02" in text_of(history)
    assert rows[0][-3:] == ["cancelled", "or", "deleted"]
    assert rows[1][1:] == ["200", "0", "0", "0", "0", "0"]
    assert rows[-1][1:] == ["0", "0", "0", "197", "3", "0"]


def test_every_job_has_its_line_in_the_timeline(look, morning_after):
    """The timeline has a line for each job, in order; each says what became of it, and leads to it."""
    parts = look.show(FLEET, ref=morning_after).parts
    rows = "".join(html for name, html in parts.items() if re.fullmatch(r"timeline-\d+", name))
    links = re.findall(r'<a href="/jobs/[^"]*"><rect[^>]*/><text[^>]*>([^<]*)<', rows)

    assert [words.split()[0] for words in links] == [f"web-{number:04d}" for number in range(1, 201)]
    assert re.fullmatch(r"web-0037 failed after \d+ s: image_too_large", links[36].replace("1 min ", ""))
    assert re.match(r"web-0001 running after (1 min )?\d+ s$", links[0])


def test_a_long_timeline_has_pages(look):
    """Of more than 500 jobs the first 500 are shown, and the others are a page away."""
    fleet = arrive(look.database, "web", 501, at=look.now - HOUR, until=look.now)
    first = look.markup(FLEET, ref=fleet)
    second = look.markup(FLEET, re.search(r"\?(line=\d+)#", first)[1], ref=fleet)

    assert "Jobs 1 to 500 of 501" in text_of(first)
    assert "Jobs 501 to 501 of 501" in text_of(second)
    assert "web-0501" in second


def test_the_jobs_of_a_fleet_can_be_narrowed_to_a_state(look, morning_after):
    """The table shows all jobs in order, or those in one state, and the address says which."""
    failed = look.show(FLEET, "state=failed", ref=morning_after).parts["jobs"]
    some = look.show(FLEET, ref=morning_after).parts["jobs"]
    more = re.search(r'href="/fleets/[^?]*\?([^"]*)" rel="next"', some)[1]

    assert re.findall(r">(web-\d+)</a>", failed) == ["web-0037", "web-0038", "web-0121"]
    assert re.findall(r">(web-\d+)</a>", some) == [f"web-{number:04d}" for number in range(1, 26)]
    assert "web-0026" in look.show(FLEET, more, ref=morning_after).parts["jobs"]


def test_the_fleet_says_what_was_asked_for_it(look):
    """Deadline, time to live, start and request id stand on the fleet's page; and a stop says why."""
    fleet = add_fleet(
        look.database,
        name="web",
        request_id="req-7",
        ttl_seconds=7200,
        deadline_at=look.now + HOUR,
        not_before=look.now + MINUTE,
        stopped_at=look.now,
        stop_reason="3 jobs failed",
    )
    add_job(look.database, State.QUEUED, fleet_id=fleet)
    read = look.read(FLEET, ref=fleet)

    for words in (
        "req-7",
        "2 h after its create",
        "bought by 13:00:00 ends",
        "before 12:01:00",
        "3 jobs failed",
    ):
        assert words in read


@pytest.mark.parametrize("view", [FLEET, JOB])
def test_what_is_another_tenants_is_not_there(look, view):
    """A fleet or a job of another tenant is as unknown as one that never was."""
    add_tenant(look.database, "other")
    fleet = add_fleet(look.database, name="theirs", tenant_id="other")
    job = add_job(look.database, State.RUNNING, fleet_id=fleet, tenant_id="other")

    with pytest.raises(NotFound):
        look.show(view, ref=fleet, job_id=job.id)
    assert "theirs" not in look.read("/") + look.read("/jobs")


# Weight and movement -------------------------------------------------------------------------------------------------


def _around():
    """Return the weight of what comes with every page."""
    static = Path(nodewright.page.__file__).parent / "static"
    return LAYOUT + sum(len(path.read_bytes()) for path in static.iterdir())


def test_every_page_is_light(look, under_way):
    """With style sheet and script each page weighs less than 150 kB, also the timelines of 500 jobs."""
    job = look.deps.service.jobs(TENANT, limit=1)[0].id
    for view in VIEWS:
        weight = len(look.markup(view, ref=under_way, job_id=job).encode())
        assert weight + _around() < WEIGHT, view


def _changed(before, after):
    assert list(before.parts) == list(after.parts)
    return {name: html for name, html in after.parts.items() if html != before.parts[name]}


def test_where_nothing_happens_nothing_is_sent(look, morning_after):
    """Time alone changes no part of a fleet that has settled, nor of its jobs."""
    job = look.deps.service.jobs(TENANT, limit=1)[0].id
    before = [look.show(view, ref=morning_after, job_id=job) for view in (FLEET, JOB, "/", "/jobs")]
    look.clock.advance(2)
    after = [look.show(view, ref=morning_after, job_id=job) for view in (FLEET, JOB, "/", "/jobs")]

    assert [_changed(*pair) for pair in zip(before, after, strict=True)] == [{}, {}, {}, {}]


def test_while_a_fleet_comes_up_little_is_sent(look, under_way):
    """When one of 500 jobs moves, its own part of the timeline is sent again, and not the other 450 lines."""
    look.clock.advance(1)  # not at a round moment, at which the picture is drawn anew
    before = look.show(FLEET, ref=under_way)
    look.clock.advance(1)
    booting = look.deps.service.jobs(TENANT, limit=1000)
    moved = next(job for job in booting if job.state == State.BOOTING)
    set_job(look.database, moved.id, state="running", running_at=look.now)
    changed = _changed(before, look.show(FLEET, ref=under_way))

    rows = [name for name in changed if re.fullmatch(r"timeline-\d+", name)]
    assert len(rows) == 1
    assert "state" in changed
    assert sum(len(html) for html in changed.values()) < 40_000


# Jobs ----------------------------------------------------------------------------------------------------------------


def test_jobs_are_found_by_what_the_address_says(look, morning_after):
    """Each filter narrows the list, filters add up, and the form shows what was asked for."""
    add_job(
        look.database,
        State.FAILED,
        error_code="no_capacity",
        type="g6-standard-2",
        region="eu-west",
        label="one",
    )

    def found(query):
        return re.findall(r'<th scope="row"><a [^>]*>([^<]*)</a>', look.markup("/jobs", query))

    assert found("state=failed&fleet=" + morning_after) == ["web-0037", "web-0038", "web-0121"]
    assert found("region=eu-west&type=g6-standard-2&state=failed") == ["one"]
    assert found("q=on") == ["one"]
    assert found("error_code=label_taken&q=web-01") == ["web-0121"]
    assert found("since=2026-03-02") == []
    assert found("fleet=nowhere") == []
    assert 'value="eu-west"' in look.markup("/jobs", "region=eu-west")


def test_a_page_of_jobs_leads_to_the_next(look, morning_after):
    """Every job that fits is on exactly one page, and the filters go along."""
    query, seen = "state=running&sort=label", []
    while query:
        markup = look.markup("/jobs", query)
        assert "state=running" in query
        seen += re.findall(r'<th scope="row"><a [^>]*>([^<]*)</a>', markup)
        following = re.search(r'href="/jobs\?([^"]*)" rel="next"', markup)
        query = following and following[1].replace("&amp;", "&")

    assert len(seen) == 197
    assert seen == sorted(set(seen))


def test_what_cannot_be_asked_for_is_said(look, morning_after):
    """A mistyped state, day or fleet is named, and does not break the page."""
    read = look.read("/jobs", "state=runing&since=yesterday&after=nonsense&sort=up")

    assert "There is no state 'runing'" in read
    assert "'yesterday' is no day" in read
    assert "There is no fleet 'nowhere'" in look.read("/jobs", "fleet=nowhere")
    assert "No job fits" in look.read("/jobs", "fleet=nowhere")
    assert "web-0200" in read


def test_jobs_are_counted_where_that_is_cheap(look, morning_after):
    """By state alone, or in one fleet, the page says how many there are; elsewhere counting would be dear."""
    assert "all 200 197 running 3 failed" in look.read("/jobs", f"fleet={morning_after}")
    assert "197 running" in look.read("/jobs", "state=failed")
    assert look.show("/jobs", "region=us-east").parts["counts"] == ""


def test_jobs_can_be_chosen_or_all_that_fit(look, morning_after):
    """Ticked jobs, or all that fit the filter, can be retried or cancelled."""
    markup = look.markup("/jobs", f"fleet={morning_after}&state=failed")
    forms = _forms(markup)

    assert (
        len(
            re.findall(
                r'<input type="checkbox" name="job" value="[0-9a-f-]{36}" aria-label="Choose web-', markup
            )
        )
        == 3
    )
    wanted = {"csrf": "the-token", "all": "1", "fleet": morning_after, "state": "failed"}
    assert forms["/jobs/retry", "Retry all that failed"] == wanted


RETRY_ALL, CANCEL_ALL = "Retry all that failed", "Cancel all that are not bought yet"


@pytest.mark.parametrize(
    ("query", "chosen", "every"),
    [
        ("state=failed", {"Retry"}, {RETRY_ALL}),
        ("state=queued", {"Cancel"}, {CANCEL_ALL}),
        ("state=running", set(), set()),
        ("", {"Retry", "Cancel"}, {RETRY_ALL, CANCEL_ALL}),
        ("error_code=no_capacity", {"Retry", "Cancel"}, {RETRY_ALL}),
        ("q=web-0001", {"Retry", "Cancel"}, set()),
        ("region=us-east", {"Retry", "Cancel"}, {RETRY_ALL, CANCEL_ALL}),
        ("state=runing", {"Retry", "Cancel"}, set()),
    ],
)
def test_only_what_can_do_something_is_offered(look, under_way, query, chosen, every):
    """A list offers what is for jobs as it finds: none is cancelled that failed, none is retried that waits."""
    parts = look.show("/jobs", f"fleet={under_way}&{query}").parts

    assert set(re.findall(r"<button[^>]*>([^<]*)</button>", parts["rows"])) == chosen
    assert ('name="job"' in parts["rows"]) is bool(chosen)
    assert {says for _, says in _forms(parts["every"])} == every
    assert bool(parts["every"]) is bool(every)


def test_a_fleet_that_has_settled_offers_no_cancel(look, morning_after, morning_after_too):
    """Of a fleet the counts tell what can be done for all of it."""
    assert CANCEL_ALL not in look.markup("/jobs", f"fleet={morning_after}")
    assert RETRY_ALL in look.markup("/jobs", f"fleet={morning_after}")
    assert look.show("/jobs", f"fleet={morning_after_too}").parts["every"] == ""


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "None of the newest 3 jobs fits; older ones were not looked at yet."),
        ("&sort=oldest", "None of the oldest 3 jobs fits; newer ones were not looked at yet."),
        ("&fleet={}", "None of the first 3 jobs fits; those after them were not looked at yet."),
        ("&fleet={}&after=3", "None of the next 3 jobs fits; those after them were not looked at yet."),
    ],
)
def test_a_search_that_has_not_seen_all_says_so(look, morning_after, monkeypatch, query, words):
    """Where a page looked at as much as it may and found none, it says at what, and how to go on or find sooner."""
    for module in (listing, page_of_jobs):
        monkeypatch.setattr(module, "LOOKED_AT", 3)  # instead of 25,000 rows
    query = "region=eu-west" + query.format(morning_after)
    markup = look.markup("/jobs", query)

    assert words in text_of(markup)
    assert "What to do: look through the next 3, or say above" in text_of(markup)
    assert re.search(r'<a href="/jobs\?[^"]*region=eu-west[^"]*after=[^"]*" rel="next">look through', markup)
    assert ("which fleet it is of" in markup) is ("fleet" not in query)


# One job -------------------------------------------------------------------------------------------------------------


def _job(look, label):
    return next(job for job in look.deps.service.jobs(TENANT, limit=1000) if job.label == label)


def test_a_failed_job_says_why_and_what_to_do(look, morning_after):
    """How it stands, why, what to do, what happened by whom and what it waited for stand on one page."""
    shown = look.show(JOB, job_id=_job(look, "web-0038").id)
    state, story = text_of(shown.parts["state"]), text_of(shown.parts["story"])

    assert "still exists and costs money" in state
    assert "not up 300 s after its create" in state
    assert "What to do: Look at it in the Cloud Manager" in state
    for words in (
        "waited 18 s for the rate window",
        "Create sent (attempt 1, send 1) by worker-1@here",
        "booted for 5 min",
    ):
        assert words in story
    assert (f"/jobs/{_job(look, 'web-0038').id}/retry", "Retry this job") in _forms(shown.parts["state"])


def test_a_story_uses_no_words_of_the_engines_own(look):
    """How the engine knows that an instance is ours, and the key without a name, are said plainly or not at all."""
    job = add_job(look.database, State.BOOTING, linode_id=77)
    row = {"job_id": job.id, "at": look.now, "event": "created", "state": "booting", "actor": "key settings"}
    with look.database.write() as tx:
        tx.execute(insert(job_events), {**row, "detail": {"linode_id": 77, "proof": "our own 200"}})
    story = look.show(JOB, job_id=job.id).parts["story"]

    assert "Created instance 77 by the key in NODEWRIGHT_API_KEY" in text_of(story)
    assert "our own" not in story


def test_a_running_job_shows_its_instance(look, morning_after):
    """The instance's id, address, type, region and price are there; there is nothing to retry or to cancel."""
    job = _job(look, "web-0002")
    shown = look.show(JOB, job_id=job.id)
    read = text_of(shown.parts["facts"])

    for words in (
        str(job.linode_id),
        job.ipv4,
        "g6-nanode-1",
        "us-east",
        "$0.0075 an hour",
        f"nw:{job.id}.1",
    ):
        assert words in read
    assert not _forms("\n".join(shown.parts.values()))


def test_a_waiting_job_says_what_it_waits_for(look, under_way):
    """A pause, a wait and a create that is looked up are told apart, and the job can be cancelled."""
    job = _job(look, "web-0500")
    assert "waits for its turn within the rate limit" in look.read(JOB, job_id=job.id)
    assert (f"/jobs/{job.id}/cancel", "Cancel this job") in _forms(look.markup(JOB, job_id=job.id))

    set_job(look.database, job.id, run_after=look.now + MINUTE)
    assert "It goes on at 12:01:00." in look.read(JOB, job_id=job.id)
    with look.database.write() as tx:
        tx.execute(update(fleets).values(held_at=tx.now))
    assert "the fleet is paused by a person" in look.read(JOB, job_id=job.id)
    set_job(look.database, job.id, state="uncertain", parked_at=look.now, ending="cancel", run_after=None)
    read = look.read(JOB, job_id=job.id)
    assert "a person must decide" in read
    assert f"nodewright resolve {job.id} --adopt ID" in read
    assert "It is cancelled as soon as the outcome of its create is known." in read


def test_no_secret_is_on_a_jobs_page(look):
    """Of secrets only the names are shown, and of keys the number."""
    fleet = add_fleet(
        look.database,
        groups=[
            {
                "type": "g6-nanode-1",
                "region": "us-east",
                "image": "linode/debian12",
                "count": 1,
                "secrets": ["root_pass"],
                "authorized_keys": ["ssh-ed25519 AAAA-the-key"],
                "tags": ["blue"],
            }
        ],
    )
    read = look.read(JOB, job_id=add_job(look.database, State.QUEUED, fleet_id=fleet).id)

    assert "root_pass (encrypted, never shown)" in read
    assert "1 key" in read
    assert "the-key" not in read
    assert "blue" in read


# Limits and system ---------------------------------------------------------------------------------------------------


def test_the_limits_say_what_is_spent_and_what_comes_next(look, under_way):
    """Each window shows what is spent, when more may go, its last refusal, and how full the last ones were."""
    with look.database.write() as tx:
        spent = {
            "spent": 20,
            "opened_at": tx.now - timedelta(seconds=5),
            "started_by": tx.now - timedelta(seconds=5),
        }
        tx.execute(update(rate_windows).values(**spent, refused=2, refused_at=tx.now - HOUR))
    parts = look.show("/limits").parts

    assert (
        "20 of 20 in 15 s opens in 10 s 80 ms later than the limit says, for the network's sake 11:00:00 2 ever"
        in text_of(parts["windows"])
    )
    assert "280 creates in the last 10 min, in 14 windows; 20 of 20 in the fullest" in text_of(
        parts["lately"]
    )
    look.clock.advance(60)
    assert "0 of 20 in 15 s 20 may go now" in text_of(look.show("/limits").parts["windows"])


def test_what_is_paused_can_be_resumed(look, under_way):
    """Everything, an account or a fleet: what is paused has a button to go on, the others have one to pause."""
    forms = _forms(look.markup("/limits"))
    assert ("/pause", "Pause everything") in forms
    assert ("/accounts/default/pause", "Pause account default") in forms

    with look.database.write() as tx:
        for table in (installation, accounts, fleets):
            tx.execute(update(table).values(held_at=tx.now))
        why = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": "Invalid Token"}
        tx.execute(update(accounts).values(**why))
    markup = look.markup("/limits")
    forms = _forms(markup)

    assert ("/resume", "Resume everything") in forms
    assert ("/accounts/default/resume", "Resume account default") in forms
    assert (f"/fleets/{under_way}/resume", "Resume fleet web") in forms
    assert "Invalid Token unauthorized" in text_of(markup)


def test_the_system_says_who_is_alive_and_what_hangs(look, under_way):
    """Workers, the oldest waiting job, parked ones, catalogs and failing chores: each with what to do about it."""
    parked = _job(look, "web-0499")
    set_job(
        look.database,
        parked.id,
        state="uncertain",
        parked_at=look.now - MINUTE,
        last_unknown_at=look.now - HOUR,
    )
    with look.database.write() as tx:
        tx.execute(
            insert(workers),
            {"name": "worker-2@there", "started_at": tx.now - HOUR, "seen_at": tx.now - 2 * MINUTE},
        )
        row = {"name": "watch:default", "due_at": tx.now, "fence": 1, "failed_at": tx.now, "error": "503"}
        tx.execute(insert(chores), row)
    parts = look.show("/system").parts

    assert "worker-1@here alive less than a minute ago" in text_of(parts["workers"])
    assert "worker-2@there not seen 2 min ago" in text_of(parts["workers"])
    jobs_part = text_of(parts["jobs"])
    assert "1 job is in doubt" in jobs_part
    assert f"nodewright resolve {parked.id}" in jobs_part
    assert f'href="/jobs/{parked.id}"' in parts["jobs"]
    assert "of fleet web, submitted 3 min ago" in jobs_part
    assert "They are fresh." in text_of(parts["catalogs"])
    assert "1 chore failed the last time" in text_of(parts["chores"])
    assert "503" in text_of(parts["chores"])


def test_a_page_without_anything_says_so(tmp_path):
    """Before the first worker, catalog and call every page has something to say, and none breaks."""
    bare = Looker(tmp_path)
    with bare.database.write() as tx:
        house.leave(tx, "worker-1@here")
    read = {view: bare.read(view) for view in ("/", "/jobs", "/limits", "/system")}
    bare.database.close()

    assert "No worker runs" in read["/system"]
    assert "There are no endpoints." in read["/system"]
    assert "No jobs yet" in read["/jobs"]
    assert "No creates in the last 10 min" in read["/limits"]


# What strangers write ------------------------------------------------------------------------------------------------


def test_markup_in_values_is_shown_as_text(look):
    """Names, labels, reasons, types, tags and queries that hold markup are text on every page."""
    fleet = add_fleet(
        look.database, name=HOSTILE, stop_reason=HOSTILE, stopped_at=look.now, request_id=HOSTILE
    )
    words = dict.fromkeys(
        ("error_reason", "error_field", "error_code", "label", "type", "region", "image"), HOSTILE
    )
    job = add_job(
        look.database, State.FAILED, fleet_id=fleet, got_type=HOSTILE, linode_id=7, ipv4=HOSTILE, **words
    )
    with look.database.write() as tx:
        values = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": HOSTILE}
        tx.execute(update(accounts).values(**values))
        tx.execute(insert(chores), {"name": HOSTILE, "due_at": tx.now, "fence": 1, "error": HOSTILE})
        tx.execute(insert(workers), {"name": HOSTILE, "started_at": tx.now, "seen_at": tx.now})
    asked = "&".join(
        f"{name}=%22%3E%3Cscript%3Ealert" for name in ("q", "fleet", "state", "tag", "since", "sort")
    )

    for view in VIEWS:
        for query in ("", asked):
            markup = look.markup(view, query, ref=fleet, job_id=job.id)
            assert "<script" not in markup, view
            assert "<b style" not in markup, view
            assert "49" not in text_of(markup) or view != "/", view
    assert HOSTILE in look.read("/").replace("' ", "'")


def test_pages_need_neither_script_nor_style_of_their_own(look, morning_after):
    """The content security policy allows neither inside a page, so there is none."""
    job = _job(look, "web-0038").id
    for view in VIEWS:
        markup = look.markup(view, ref=morning_after, job_id=job)
        assert not re.search(
            r"<(script|style|link|iframe|img)\b|\s(style|on\w+)=|javascript:|https?://", markup
        ), view


def test_headings_go_down_one_step_at_a_time(look, morning_after):
    """Each page has one first heading, and none skips a level, so that readers find their way."""
    job = _job(look, "web-0038").id
    with look.database.write() as tx:
        tx.execute(update(installation).values(alive_at=tx.now - HOUR))
    for view in VIEWS:
        levels = [int(one) for one in re.findall(r"<h(\d)", look.markup(view, ref=morning_after, job_id=job))]
        assert levels.count(1) == 1, view
        assert levels[0] == 1, view
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), view


def test_a_submitted_fleet_is_seen_at_once(look):
    """What was just accepted is on every page, before any worker looked at it."""
    made = submit(look.database, {"count": 3}).fleet

    assert "All 3 wait." in look.read(FLEET, ref=made.id)
    assert "All 3 wait." in look.read("/")
    assert look.read("/jobs").count("queued") >= 3

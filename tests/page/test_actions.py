import re
from dataclasses import replace

import pytest

from jobs.fleets import Guards
from jobs.states import State
from tests.support.fleets import ACCOUNT, TENANT, add_fleet, add_job, make_service, read_job, submit
from tests.support.visits import House, Reader


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


@pytest.fixture
def waiting(house):
    """A fleet of three that wait."""
    return submit(house.database, {"count": 3}, name="web").fleet


@pytest.fixture
def mixed(house):
    """The ids of three jobs of a fleet: one failed, one failed that owns an instance, one runs."""
    fleet = add_fleet(house.database, name="mixed")
    owning = {"linode_id": 77, "ipv4": "192.0.2.7"}
    return [
        add_job(house.database, State.FAILED, fleet_id=fleet, position=1, label="mixed-1").id,
        add_job(house.database, State.FAILED, fleet_id=fleet, position=2, label="mixed-2", **owning).id,
        add_job(house.database, State.RUNNING, fleet_id=fleet, position=3, label="mixed-3", linode_id=78).id,
    ]


def states(house, name):
    """Return how a fleet's jobs stand."""
    return house.service.fleet(name, TENANT).states


def ask(person, path, fields=()):
    """Send a form and return the question that is asked before anything is done: its words and its form, if any."""
    answer = person.post(path, [("csrf", person.token()), *fields])
    assert answer.status_code == 200, answer.text
    page = Reader(answer.text)
    forms = [form for form in page.forms if form.action != "/logout"]
    return " ".join(page.text.split()), (forms[0] if forms else None)


def do(person, path, fields=()):
    """Send a form, answer the question with yes, and return what the page then says was done."""
    _, form = ask(person, path, fields)
    return told(person, person.post(form.action, form.fields))


def told(person, answer):
    """Follow an action's answer and return what the page says first."""
    assert answer.status_code == 303, answer.text
    page = person.look(answer.headers["location"])
    assert page.status_code == 200
    return re.search(r'<p class="flash" role="status">(.*?)</p>', page.text)[1]


def test_a_fleet_is_cancelled_after_a_question(house, person, waiting):
    """The question says how many and names them; the answer says what was done."""
    words, form = ask(person, f"/fleets/{waiting.id}/cancel")
    assert "Cancel 3 jobs of web?" in words
    assert all(f"web-000{number}" in words for number in (1, 2, 3))
    assert states(house, "web") == {"queued": 3}
    assert told(person, person.post(form.action, form.fields)) == "3 jobs were cancelled."
    assert states(house, "web") == {"cancelled": 3}


def test_what_is_being_created_is_noted(house, person):
    """A cancel says which jobs it can only end later."""
    job = add_job(house.database, State.CREATING, fleet_id=add_fleet(house.database, name="late"))
    said = do(person, f"/jobs/{job.id}/cancel")
    assert said == "1 job is being created: finished, then deleted."
    assert read_job(house.database, job.id).ending == "cancel"


def test_a_job_is_retried(house, person, mixed):
    """A failed job gets a new attempt; one that owns an instance loses it first, and the question says so."""
    assert "1 instance that a failed attempt still owns" in ask(person, f"/jobs/{mixed[1]}/retry")[0]
    assert do(person, f"/jobs/{mixed[0]}/retry") == "1 job waits for a new attempt."
    assert do(person, f"/jobs/{mixed[1]}/retry") == "1 instance is deleted first, then follows a new attempt."
    assert states(house, "mixed") == {"queued": 1, "running": 1, "deleting": 1}


def test_the_timeline_names_the_key(house, person, waiting):
    """Who acted on the page is in the timeline as who acts by that key elsewhere."""
    do(person, f"/fleets/{waiting.id}/cancel")
    job = house.service.jobs(TENANT, fleet=waiting.id)[0]
    last = house.service.job(job.id, TENANT).timeline[-1]
    assert last.actor.startswith("key nwk_")
    assert last.actor in person.look("/").text


def test_a_whole_fleet_is_retried_but_for_what_cannot(house, person, mixed):
    """A retry of a fleet takes what failed and leaves the rest alone."""
    fleet = read_job(house.database, mixed[0]).fleet_id
    assert "Give 2 jobs of mixed a new attempt?" in ask(person, f"/fleets/{fleet}/retry")[0]
    do(person, f"/fleets/{fleet}/retry")
    assert states(house, "mixed") == {"queued": 1, "running": 1, "deleting": 1}


def test_what_cannot_be_done_is_said_and_not_offered(house, person, mixed):
    """Where nothing fits there is no yes to press, and the words say why."""
    words, form = ask(person, f"/jobs/{mixed[2]}/retry")
    assert "only a failed one can be retried" in words
    assert form is None
    words, form = ask(person, f"/jobs/{mixed[2]}/cancel")
    assert "takes back only what is not bought" in words
    assert form is None


def test_a_retry_that_would_be_refused_says_so_before(house, person):
    """A rehearsal finds what a retry would be refused for: here a fleet's deadline that has passed."""
    fleet = add_fleet(house.database, name="late", deadline_at=house.clock.at(-1))
    job = add_job(house.database, State.FAILED, fleet_id=fleet, label="late-1")
    words, form = ask(person, f"/jobs/{job.id}/retry")
    assert "late-1: its fleet" in words
    assert "deadline has passed" in words
    assert "None of these jobs can be retried as they are." in words
    assert "nodewright retry late" in words
    assert form is None
    assert read_job(house.database, job.id).state is State.FAILED


def test_the_chosen_of_several_fleets(house, person, mixed, waiting):
    """Ticked jobs may be of several fleets; what a verb is not for is left alone."""
    first = house.service.jobs(TENANT, fleet=waiting.id)[0].id
    fields = [("job", one) for one in (*mixed, first)]
    words, form = ask(person, "/jobs/cancel", fields)
    assert "Cancel 1 job of web?" in words
    person.post(form.action, form.fields)
    assert states(house, "web") == {"cancelled": 1, "queued": 2}
    assert do(person, "/jobs/retry", fields).startswith("1 job waits")
    assert states(house, "mixed") == {"queued": 1, "running": 1, "deleting": 1}


def test_all_that_fit(house, person, mixed, waiting):
    """With a filter everything that fits is meant, on every page and in every fleet, and nothing else."""
    other = submit(house.database, {"count": 2}, name="db").fleet
    fields = [("all", "1"), ("state", "queued")]
    assert "Cancel 5 jobs of web, db?" in ask(person, "/jobs/cancel", fields)[0]
    assert do(person, "/jobs/cancel", [*fields, ("fleet", other.id)]) == "2 jobs were cancelled."
    assert states(house, "web") == {"queued": 3}
    assert do(person, "/jobs/retry", [("all", "1"), ("error_code", "rejected_by_api")]).startswith(
        "1 job waits"
    )


def test_a_question_says_that_all_with_a_code_are_meant(house, person, mixed):
    """A retry by an error code takes all that have it, for whatever reason, and the question says so."""
    fleet = read_job(house.database, mixed[0]).fleet_id
    fields = [("all", "1"), ("fleet", fleet), ("state", "failed"), ("error_code", "rejected_by_api")]
    words, form = ask(person, "/jobs/retry", fields)
    assert "Give 2 jobs of mixed with the error code rejected_by_api a new attempt?" in words
    assert ("error_code", "rejected_by_api") in form.fields


@pytest.mark.parametrize("fields", [{"state": "quued"}, {"since": "yesterday"}, {"fleet": "none-such"}])
def test_a_filter_that_is_not_understood_means_nothing(house, person, waiting, fields):
    """A mistyped filter is refused: left out, it would mean everything."""
    answer = person.act("/jobs/cancel", {"all": "1", **fields})
    assert answer.status_code in {404, 422}
    assert states(house, "web") == {"queued": 3}


def test_nothing_chosen(person, waiting):
    """Without a tick nothing is done, and the page says what to do."""
    assert told(person, person.act("/jobs/cancel")) == "No job was chosen: tick some first."


def test_too_many_chosen(house, person, waiting):
    """More ids than can be handled at once are refused in words."""
    ids = [("job", f"018f0000-0000-7000-8000-{number:012}") for number in range(1001)]
    answer = person.act("/jobs/cancel", ids)
    assert answer.status_code == 422
    assert "find them by a filter instead" in answer.text


def test_a_job_that_is_gone(house, person, waiting):
    """If one of the chosen is unknown nothing is done for the others either."""
    first = house.service.jobs(TENANT, fleet=waiting.id)[0].id
    fields = [("job", first), ("job", "018f0000-0000-7000-8000-000000000000")]
    assert person.act("/jobs/cancel", fields).status_code == 404
    assert states(house, "web") == {"queued": 3}


def test_a_guard_refuses_a_retry_in_words(house, mixed):
    """A tenant that may not hold more is told so before, and there is no yes to press."""
    tight = make_service(house.database, guards=Guards(max_instances=0, max_hourly_microusd=10**9))
    person = house.person(deps=replace(house.deps, service=tight))
    person.log_in(house.key())
    words, form = ask(person, f"/jobs/{mixed[0]}/retry")
    assert form is None
    assert "instances" in words


def test_pause_and_resume_a_fleet(house, person, waiting):
    """A fleet is paused and goes on by a form each; the page says what became of it."""
    said = told(person, person.act(f"/fleets/{waiting.id}/pause"))
    assert said == "Fleet web is paused: 3 jobs wait."
    assert house.service.fleet("web", TENANT).held_at is not None
    assert told(person, person.act(f"/fleets/{waiting.id}/pause")).startswith("Fleet web was already paused")
    assert told(person, person.act(f"/fleets/{waiting.id}/resume")) == "Fleet web goes on."
    assert house.service.fleet("web", TENANT).held_at is None


def test_pause_everything_and_an_account(house, person, waiting):
    """Who may see everything may pause it; what is resumed while more is paused says what holds it up."""
    assert told(person, person.act("/pause")).startswith("Everything is paused: 3 jobs wait")
    assert told(person, person.act(f"/accounts/{ACCOUNT}/pause")).startswith(f"Account {ACCOUNT} is paused")
    said = told(person, person.act(f"/accounts/{ACCOUNT}/resume"))
    assert said == f"Account {ACCOUNT} goes on. It is still held up: everything is paused."
    assert told(person, person.act("/resume")) == "Everything goes on."


def test_an_unknown_account(person):
    """An account that there is not is not found."""
    assert person.act("/accounts/none-such/pause").status_code == 404


def test_one_goes_back_to_where_one_was(person, waiting):
    """An action leads back to the page whose form it was, with its query, and across the question too."""
    here = "/jobs?state=queued&sort=label"
    answer = person.post(
        f"/fleets/{waiting.id}/cancel", [("csrf", person.token())], referer=f"{person.url}{here}"
    )
    form = next(form for form in Reader(answer.text).forms if form.action != "/logout")
    assert ("back", here) in form.fields
    assert person.post(form.action, form.fields).headers["location"] == here


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/fleets/web/cancel", "/fleets/web"),
        ("/jobs/cancel", "/jobs"),
        ("/jobs/x/retry", "/jobs/x"),
        ("/pause", "/limits"),
        ("/accounts/default/pause", "/limits"),
    ],
)
def test_an_actions_address_leads_to_its_subject(person, path, to):
    """Who comes to an action's address by going back, or after a login, is led to what it is about."""
    answer = person.look(path)
    assert (answer.status_code, answer.headers["location"]) == (303, to)


def test_nothing_happens_twice(house, person, waiting):
    """A question that is answered again, as after going back, does nothing more and says so."""
    _, form = ask(person, f"/fleets/{waiting.id}/cancel")
    person.post(form.action, form.fields)
    again = person.post(form.action, form.fields)
    assert "None of these jobs can be cancelled" in again.text

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.admission import CREATE
from jobs.estimate import Estimate
from jobs.overview import Burst, Pace
from jobs.states import State
from jobs.views import ErrorView, FleetView, JobView, WindowView
from jobs.windows import Window
from nodewright.page.views import filters, telling
from nodewright.page.views.limits import line_of, opens, used
from nodewright.page.views.rendering import link
from tests.support.clock import START

SECOND = timedelta(seconds=1)
FLEET = FleetView("id", "web", "default", 1, {}, START)
JOB = JobView(
    id="id",
    fleet_id="f",
    fleet="web",
    tenant="default",
    position=1,
    label="web-0001",
    type="t",
    region="r",
    image=None,
    state="queued",
    attempt=1,
    sends=0,
    linode_id=None,
    ipv4=None,
    ipv6=None,
    got_type=None,
    got_region=None,
    hourly_microusd=0,
    error=None,
    parked=False,
    submitted_at=START,
    sent_at=START,
    created_at=START,
    running_at=START,
    ended_at=START,
    run_after=None,
    ending=None,
)
VIEW = WindowView("default", "t", CREATE, 0, 20, 15.0, 0, None, None, 0, None)


@pytest.mark.parametrize(
    ("states", "held", "title"),
    [
        ({}, False, "web"),
        ({"running": 2000}, False, "running · web"),
        ({"running": 197, "failed": 2, "rejected": 1}, True, "3 failed · web"),
        ({"running": 1, "booting": 2}, True, "1 of 3 runs · web"),
        ({"running": 12, "queued": 1188}, False, "12 of 1,200 run · web"),
        ({"running": 12, "queued": 8}, True, "paused · web"),
        ({"running": 1, "deleted": 2}, False, "running · web"),
        ({"cancelled": 2}, False, "cancelled or deleted · web"),
    ],
)
def test_a_tab_says_first_what_needs_a_look(states, held, title):
    """A fleet's tab says what failed, else that it is paused, else how far it is, before its name."""
    fleet = replace(FLEET, states=states, held_at=START if held else None)
    assert telling.title_of(fleet) == title


@pytest.mark.parametrize(
    ("proof", "plain"),
    [
        ("our own 200", None),
        ("our own 200, late", "Linode's answer came late"),
        ("a person's word", "a person said so"),
        ("tag nw:1.1", "tag nw:1.1"),
    ],
)
def test_a_proof_is_said_plainly(proof, plain):
    """How the engine knows that an instance is ours is said in everybody's words; what needs none is left alone."""
    assert telling.plain({"linode_id": 7, "proof": proof}) == {"linode_id": 7, "proof": plain}
    assert telling.plain({"send": 1}) == {"send": 1}


def test_the_key_without_a_name_is_said_plainly():
    """The key without a name is the installation's own, every other one is named."""
    assert telling.who("key settings") == "the key in NODEWRIGHT_API_KEY"
    assert telling.who("key nwk_abcdefgh") == "key nwk_abcdefgh"


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({}, "It has no jobs."),
        ({"running": 1}, "It runs."),
        ({"running": 2000}, "All 2,000 run."),
        ({"running": 197, "failed": 3}, "197 of 200 run, 3 failed."),
        ({"running": 1, "booting": 1}, "1 of 2 runs, 1 boots."),
        ({"queued": 3}, "All 3 wait."),
        ({"queued": 1}, "1 waits."),
        (
            {"queued": 2, "creating": 1, "uncertain": 1},
            "1 is being created, 1 is in doubt and looked up and 2 wait.",
        ),
        ({"failed": 2, "deleted": 1}, "2 failed and 1 was deleted."),
        ({"cancelled": 5}, "All 5 were cancelled."),
    ],
)
def test_a_fleet_is_a_sentence(states, words):
    """How a fleet stands is said in one sentence, what runs first."""
    assert telling.state_of(replace(FLEET, states=states)) == words


@pytest.mark.parametrize("state", list(State))
def test_every_state_of_a_job_is_a_sentence(state):
    """No state is without words of its own, and none leaves a gap in them."""
    said = telling.state_of_job(replace(JOB, state=state.value, linode_id=7), START)

    assert said.endswith(".")
    assert "  " not in said
    assert "None" not in said
    assert "{" not in said


def test_a_job_says_what_else_there_is_to_know():
    """A pause, a noted end, and an instance that goes on costing are said after how it stands."""
    paused = replace(JOB, error=ErrorView("paused", "everything is paused by a person", None))
    doubtful = replace(JOB, state="uncertain", ending="fail", run_after=START + 5 * SECOND)

    assert "everything is paused by a person" in telling.state_of_job(paused, START)
    assert "ends as soon as" in telling.state_of_job(doubtful, START)
    assert "goes on at 12:00:05" in telling.state_of_job(doubtful, START)
    assert "goes on" not in telling.state_of_job(doubtful, START + 5 * SECOND)
    assert "costs money" not in telling.state_of_job(replace(JOB, state="failed"), START)


def test_every_state_has_one_kind():
    """Pictures know every state, and each is in one group."""
    assert sorted(telling.KIND_OF) == sorted(State)
    assert telling.kinds_of({"queued": 2, "dispatched": 1, "rejected": 4}) == {"waiting": 3, "failed": 4}
    assert set(telling.MEANT) == set(telling.KINDS)


def test_todays_times_need_no_day():
    """A moment of today is a time of day; of this year it has its day too, and of another the year."""
    assert telling.clock(START - SECOND, START) == "11:59:59"
    assert telling.clock(START - timedelta(days=1), START) == "28 Feb 12:00:00"
    assert telling.clock(START - timedelta(days=100), START) == "21 Nov 2025 12:00:00"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than a minute ago"), (61, "1 min ago"), (7300, "2 h ago"), (3 * 86_400, "3 days ago")],
)
def test_ages_are_coarse(seconds, words):
    """How long ago something was is said so coarsely that it seldom changes."""
    assert telling.age(START - seconds * SECOND, START) == words


@pytest.mark.parametrize(
    ("microusd", "words"),
    [
        (0, "$0.00"),
        (7_500, "$0.0075"),
        (15_000, "$0.015"),
        (1_490_000, "$1.49"),
        (12_345_678_901, "$12,345.68"),
    ],
)
def test_money_is_exact_where_it_is_small(microusd, words):
    """What a small instance costs an hour is less than a cent, and is shown all the same."""
    assert telling.usd(microusd) == words


def test_words_for_numbers():
    """Counts and lists read as people write them."""
    assert [telling.counted(count, "job") for count in (0, 1, 2, 1234)] == [
        "0 jobs",
        "1 job",
        "2 jobs",
        "1,234 jobs",
    ]
    assert telling.counted(2, "duty", "duties") == "2 duties"
    assert [telling.listed(list(text)) for text in ("", "a", "ab", "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert telling.cause("label_taken") == "whose label is taken"
    assert telling.cause("new_code") == "with new_code"


def test_the_tightest_window_of_each_token_says_how_fast_it_goes():
    """Tokens add up; of one token's windows the slowest holds; others' calls and no limit count for nothing."""
    slow = replace(VIEW, bucket=1, allowed=60, seconds=60.0)
    other = replace(VIEW, token="u", withheld=10)

    assert telling.creates_per_minute([VIEW]) == 80
    assert telling.creates_per_minute([VIEW, slow]) == 60
    assert telling.creates_per_minute([VIEW, slow, other]) == 100
    assert telling.creates_per_minute([replace(VIEW, allowed=0), replace(VIEW, route="GET /x")]) is None


@pytest.mark.parametrize(
    ("waiting", "words"), [(20, "less than a minute"), (200, "about 2 min"), (100_000, "about 21 h")]
)
def test_what_waits_has_an_end(waiting, words):
    """The limit tells when the last one is sent at the earliest."""
    assert words in (telling.pace_of(replace(FLEET, states={"queued": waiting}), [VIEW]) or "")
    assert telling.pace_of(replace(FLEET, states={"running": waiting}), [VIEW]) is None
    assert telling.pace_of(replace(FLEET, states={"queued": waiting}), []) is None


def test_what_is_under_way_has_an_end():
    """An estimate is a sentence that names what it rests on; what is held up has none."""
    left = Estimate(
        jobs_ahead=0,
        creates_per_minute=80.0,
        boot_seconds=40.0,
        boot_seconds_known=True,
        last_create_seconds=150.0,
        all_running_seconds=190.0,
    )

    assert telling.outlook_of(left) == (
        "All run in about 3 min, if nothing else comes and nothing fails; the limit is 80 creates a minute."
    )
    assert "12 jobs of others wait before it" in (telling.outlook_of(replace(left, jobs_ahead=12)) or "")
    assert "limit" not in (telling.outlook_of(replace(left, last_create_seconds=0.0)) or "")
    assert telling.outlook_of(replace(left, holds=("paused",))) is None
    assert telling.outlook_of(None) is None


def test_a_window_says_when_more_may_go():
    """Room now, the next opening, a refusal, no limit: each in words."""
    spent = Window(20, 15.0, spent=20, opened_at=START, started_by=START)
    closed = replace(spent, closed_until=START + 9 * SECOND)

    assert opens(Window(20, 15.0, spent=5), START) == "15 may go now"
    assert opens(Window(0, 15.0), START) == "there is no limit"
    assert opens(spent, START + 5 * SECOND) == "opens in 10 s"
    assert opens(closed, START) == "refused; opens in 9 s"
    assert line_of(VIEW, spent, START + 5 * SECOND).shares == [("spent", 20), ("withheld", 0)]
    assert line_of(VIEW, spent, START + 60 * SECOND).spent == 0


def test_lately_ends_with_the_present_window():
    """Windows without creates are gaps, the present one is the last, and what is older is left out."""
    bursts = tuple(Burst(START - seconds * SECOND, count) for seconds, count in ((900, 9), (30, 20), (0, 3)))
    pace = Pace("default", "t", 20, 15.0, START, bursts, 0, None)

    lately = used(pace, START)

    assert lately.amounts[-3:] == [20, 0, 3]
    assert sum(lately.amounts) == 23
    assert lately.words == "23 creates in the last 10 min, in 2 windows; 20 of 20 in the fullest"
    assert used(replace(pace, windows=()), START).words.startswith("No creates")


def test_links_hold_whatever_they_are_given():
    """A name with any sign in it is one step of a path, and one value of a query."""
    assert link("/fleets/a b") == "/fleets/a%20b"
    assert link("/jobs", {"q": "a&b=c", "state": None, "tag": ""}) == "/jobs?q=a%26b%3Dc"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("since=2026-03-01", START - 12 * 3600 * SECOND),
        ("since=2026-03-01T13:00:00%2B01:00", START),
        ("since=9999-12-31T23:59:59-23:59", None),
        ("since=soon", None),
        ("", None),
    ],
)
def test_moments_of_a_query(text, found):
    """A day or a moment is understood, in UTC where nothing else is said; everything else is none."""
    assert filters.moment_in(filters.QueryParams(text), "since") == found


def test_a_query_may_hold_anything():
    """What no row can hold is left out of what is looked for, and numbers that are too large are none."""
    query = filters.QueryParams("q=%00a%0Ab%20&after=99999999999999999999&line=501&state=running")

    assert filters.text_in(query, "q") == "ab"
    assert filters.position_in(query, "after") is None
    assert filters.position_in(query, "line") == 501
    assert filters.state_in(query) is State.RUNNING
    assert filters.text_in(filters.QueryParams("q=" + "x" * 999), "q") == "x" * 128


def test_a_field_is_not_said_twice():
    """Where the field stands beside the API's words, its name at their end goes; other words are left alone."""
    assert telling.without("No room. (region)", "region") == "No room."
    assert telling.without("No room. (region)", "image") == "No room. (region)"
    assert telling.without("No room.", None) == "No room."
    assert telling.without(None, "region") is None

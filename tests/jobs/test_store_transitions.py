from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from jobs import transitions
from jobs.records import JobRecord, accounts, job_events
from jobs.states import TRANSITIONS, Event, IllegalTransition, State, sources
from jobs.transitions import InstanceFacts, Reason
from tests.support.clock import START
from tests.support.fleets import (
    ACTOR,
    add_fleet,
    add_job,
    job_columns,
    move_in,
    read_job,
    set_job,
    stale,
    timeline,
)

WHY = Reason("no_capacity", "sold out", "region")
WHY_COLUMNS = {"error_code": "no_capacity", "error_reason": "sold out", "error_field": "region"}
WHY_DETAIL = {"code": "no_capacity", "reason": "sold out", "field": "region"}
NO_ERROR = {"error_code": None, "error_reason": None, "error_field": None}
EARLIER = START - timedelta(seconds=30)
NOW = START + timedelta(seconds=2)
LATER = START + timedelta(seconds=9)
FACTS = InstanceFacts(77, "192.0.2.1", "2001:db8::1/128", "g6-standard-2", "eu-west", 36_000)
FACT_COLUMNS = {
    "linode_id": 77,
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1/128",
    "got_type": "g6-standard-2",
    "got_region": "eu-west",
    "hourly_microusd": 36_000,
    "created_at": NOW,
    "lease_until": None,
    "last_unknown_at": None,
    "parked_at": None,
}
PAID = {"created_at": EARLIER, "hourly_microusd": 7_500, "spent_microusd": 100_000}
USED = {
    "attempt": 2,
    "tries": 3,
    "looks": 4,
    "ipv4": "192.0.2.1",
    "got_type": "g6-nanode-1",
    "ended_at": EARLIER,
}
_CLEARED = (
    *("linode_id", "ipv4", "ipv6", "got_type", "got_region", "created_at", "running_at", "expires_at"),
    *("ended_at", "run_after", "lease_until", "send_before", "ending", "afterwards", "parked_at"),
    *("error_code", "error_reason", "error_field"),
)
ANEW = {**dict.fromkeys(_CLEARED), "attempt": 3, "tries": 0, "looks": 0}
LEASED = {"lease_until": EARLIER, "send_before": EARLIER, "run_after": EARLIER}


@dataclass(frozen=True)
class Case:
    """One named transition: from which row, by which call, to which columns and which line of the timeline."""

    name: str
    source: State
    act: Any
    target: State
    event: Event
    writes: dict[str, Any]
    detail: dict[str, Any] | None = None
    given: dict[str, Any] = field(default_factory=dict)

    def run(self, database, job):
        """Make the call in a transaction of its own."""
        with database.write() as tx:
            return self.act(tx, job)


def waiting_ends(event, source):
    """Return the case of an end while nothing is unknown."""
    return Case(
        f"ended_waiting {event} {source}",
        source,
        lambda tx, job: transitions.ended_waiting(tx, job, event, WHY, actor=ACTOR),
        State.FAILED,
        event,
        {**WHY_COLUMNS, "ended_at": NOW, "run_after": None, "lease_until": None},
        WHY_DETAIL,
    )


def waiting_end_noted(source):
    """Return the case of an end that is only noted, because an earlier send is unknown."""
    return Case(
        f"ended_waiting after unknown {source}",
        source,
        lambda tx, job: transitions.ended_waiting(tx, job, Event.ERASED, WHY, actor=ACTOR),
        State.UNCERTAIN,
        Event.ENDING_NOTED,
        {**WHY_COLUMNS, "ending": "fail", "run_after": NOW, "lease_until": None},
        WHY_DETAIL,
        {"last_unknown_at": EARLIER},
    )


def requeued(event, reason, run_after, columns, detail):
    """Return the case of a create that costs no attempt."""
    return Case(
        f"requeued {event}",
        State.CREATING,
        lambda tx, job: transitions.requeued(tx, job, event, reason, actor=ACTOR, run_after=run_after),
        State.QUEUED,
        event,
        {**columns, "lease_until": None, "run_after": run_after},
        detail,
        {"error_code": "old", "error_reason": "old"},
    )


def owned(name, source, event, ending, **writes):
    """Return the case of an instance that turns out to be the attempt's."""
    booting = ending != "cancel"
    return Case(
        name,
        source,
        lambda tx, job: transitions.owned(tx, job, FACTS, actor=ACTOR, proof="tag"),
        State.BOOTING if booting else State.DELETING,
        event,
        {**FACT_COLUMNS, **writes, "ending": None if booting else ending},
        {"linode_id": 77, "proof": "tag"},
        {
            "ending": ending,
            "last_unknown_at": EARLIER,
            "parked_at": EARLIER,
            "error_code": "old",
            "lease_until": EARLIER,
        },
    )


def unknown(event):
    """Return the case of a create that may have been applied."""
    return Case(
        f"unknown {event}",
        State.CREATING,
        lambda tx, job: transitions.unknown(tx, job, event, WHY, actor=ACTOR, run_after=LATER),
        State.UNCERTAIN,
        event,
        {
            **WHY_COLUMNS,
            "last_unknown_at": NOW,
            "tries": 3,
            "looks": 0,
            "lease_until": None,
            "run_after": LATER,
        },
        WHY_DETAIL,
        {"tries": 2, "looks": 5, "last_unknown_at": EARLIER},
    )


def inconclusive(name, given, asked, ending, unknown_at):
    """Return the case of an answer that ends nothing."""
    return Case(
        f"inconclusive {name}",
        State.CREATING,
        lambda tx, job: transitions.inconclusive(tx, job, WHY, actor=ACTOR, ending=asked, run_after=LATER),
        State.UNCERTAIN,
        Event.INCONCLUSIVE,
        {
            **WHY_COLUMNS,
            "last_unknown_at": unknown_at,
            "ending": ending,
            "lease_until": None,
            "run_after": LATER,
        },
        WHY_DETAIL,
        given,
    )


def absent(name, ending, target, event, **writes):
    """Return the case of an instance that is absent for the whole grace period."""
    return Case(
        f"absent {name}",
        State.UNCERTAIN,
        lambda tx, job: transitions.absent(tx, job, actor=ACTOR),
        target,
        event,
        {"run_after": None, "parked_at": None, **writes},
        None,
        {
            "ending": ending,
            "last_unknown_at": EARLIER,
            "run_after": EARLIER,
            "error_code": "x",
            "parked_at": EARLIER,
        },
    )


def cancelled(source):
    """Return the case of a cancel with nothing bought."""
    return Case(
        f"cancelled {source}",
        source,
        lambda tx, job: transitions.cancelled(tx, job, actor=ACTOR),
        State.CANCELLED,
        Event.CANCELLED,
        {"ending": "cancel", "ended_at": NOW, "run_after": None, "lease_until": None},
    )


def cancel_noted(source, given, target, writes):
    """Return the case of a cancel that has to wait."""
    return Case(
        f"cancel_noted {source}",
        source,
        lambda tx, job: transitions.cancel_noted(tx, job, actor=ACTOR),
        target,
        Event.CANCEL_NOTED,
        {"ending": "cancel", **writes},
        None,
        given,
    )


def found(source):
    """Return the case of a waiting job whose instance reconcile saw."""
    return Case(
        f"found {source}",
        source,
        lambda tx, job: transitions.found(tx, job, actor=ACTOR, account_id=job.account_id),
        State.UNCERTAIN,
        Event.FOUND,
        {"last_unknown_at": NOW, "lease_until": None, "run_after": NOW},
    )


def lost(event, source, **writes):
    """Return the case of an instance that did not come up or is gone."""
    return Case(
        f"lost {event} {source}",
        source,
        lambda tx, job: transitions.lost(tx, job, event, WHY, actor=ACTOR),
        State.FAILED,
        event,
        {**WHY_COLUMNS, "ended_at": NOW, "run_after": None, **writes},
        {**WHY_DETAIL, "linode_id": 4711},
        {"run_after": EARLIER},
    )


def delete_postponed(name, reason, columns, detail):
    """Return the case of a delete that is not over."""
    return Case(
        f"delete_postponed {name}",
        State.DELETING,
        lambda tx, job: transitions.delete_postponed(tx, job, reason, actor=ACTOR, run_after=LATER),
        State.DELETING,
        Event.DELETE_POSTPONED,
        {**columns, "run_after": LATER},
        detail,
        {"looks": 4, "error_code": "old"},
    )


def doomed(act, event, source):
    """Return the case of an instance that is to go."""
    return Case(
        f"{event} {source}",
        source,
        lambda tx, job: act(tx, job, actor=ACTOR),
        State.DELETING,
        event,
        {"afterwards": None, "run_after": NOW, "looks": 0, "ended_at": None},
        {"linode_id": 4711},
        {**WHY_COLUMNS, "linode_id": 4711, "looks": 3, "ended_at": EARLIER},
    )


def fell_back(source):
    """Return the case of a job that takes its next alternative."""
    next_one = {"choice": 1, "type": "g6-standard-2", "region": "eu-west", "hourly_microusd": 36_000}
    return Case(
        f"fell back {source}",
        source,
        lambda tx, job: transitions.fell_back(tx, job, WHY, transitions.Present(**next_one), actor=ACTOR),
        State.QUEUED,
        Event.FELL_BACK,
        {**ANEW, "last_unknown_at": None, **next_one},
        {**WHY_DETAIL, "from": "g6-nanode-1 in us-east", "to": "g6-standard-2 in eu-west"},
        {**LEASED, "attempt": 2, "tries": 3, "looks": 4},
    )


PRESENT = transitions.Present(1, "g6-standard-2", "us-east", 5)
CASES = [
    Case(
        "validated",
        State.SUBMITTED,
        lambda tx, job: transitions.validated(tx, job, PRESENT, dearest_microusd=7, actor=ACTOR),
        State.QUEUED,
        Event.VALIDATED,
        {**vars(PRESENT), "reserved_microusd": 7},
    ),
    Case(
        "invalid",
        State.SUBMITTED,
        lambda tx, job: transitions.invalid(tx, job, WHY, actor=ACTOR),
        State.REJECTED,
        Event.INVALID,
        {**WHY_COLUMNS, "ended_at": NOW},
        WHY_DETAIL,
    ),
    *(waiting_ends(Event.TURNED_INVALID, source) for source in sorted(sources(Event.TURNED_INVALID))),
    *(
        waiting_ends(event, source)
        for event in (Event.ERASED, Event.STOPPED, Event.DEADLINE_PASSED)
        for source in sorted(sources(event))
    ),
    *(waiting_end_noted(source) for source in sorted(sources(Event.ENDING_NOTED))),
    Case(
        "given_back",
        State.DISPATCHED,
        lambda tx, job: transitions.given_back(tx, job, "too late", actor=ACTOR),
        State.QUEUED,
        Event.GIVEN_BACK,
        {"send_before": None, "lease_until": None},
        {"why": "too late"},
        LEASED,
    ),
    Case(
        "sent",
        State.DISPATCHED,
        lambda tx, job: transitions.sent(tx, job, actor=ACTOR, lease=timedelta(seconds=60)),
        State.CREATING,
        Event.SENT,
        {"sent_at": NOW, "sends": 3, "lease_until": NOW + timedelta(seconds=60), "send_before": None},
        {"attempt": 2, "send": 3},
        {**LEASED, "sends": 2, "attempt": 2},
    ),
    owned("created", State.CREATING, Event.CREATED, None, run_after=None, **NO_ERROR),
    owned("created_unwanted", State.CREATING, Event.CREATED_UNWANTED, "cancel", run_after=NOW),
    owned("adopted", State.UNCERTAIN, Event.ADOPTED, None, run_after=None, **NO_ERROR),
    owned("adopted after cancel", State.UNCERTAIN, Event.ADOPTED_UNWANTED, "cancel", run_after=NOW),
    owned("adopted after a refusal", State.UNCERTAIN, Event.ADOPTED, "fail", run_after=None, **NO_ERROR),
    Case(
        "refused",
        State.CREATING,
        lambda tx, job: transitions.refused(tx, job, WHY, actor=ACTOR),
        State.FAILED,
        Event.REFUSED,
        {**WHY_COLUMNS, "lease_until": None, "ended_at": NOW},
        WHY_DETAIL,
    ),
    requeued(Event.THROTTLED, None, None, NO_ERROR, None),
    requeued(Event.NOT_SENT, WHY, LATER, WHY_COLUMNS, WHY_DETAIL),
    requeued(Event.ACCOUNT_PAUSED, WHY, None, WHY_COLUMNS, WHY_DETAIL),
    unknown(Event.UNKNOWN),
    unknown(Event.LAPSED),
    inconclusive("first doubt", {}, None, None, NOW),
    inconclusive("keeps the doubt's age", {"last_unknown_at": EARLIER}, "fail", "fail", EARLIER),
    inconclusive(
        "keeps the end", {"ending": "cancel", "last_unknown_at": EARLIER}, "fail", "cancel", EARLIER
    ),
    Case(
        "looked",
        State.UNCERTAIN,
        lambda tx, job: transitions.looked(tx, job, "nothing", actor=ACTOR, run_after=LATER),
        State.UNCERTAIN,
        Event.LOOKED,
        {"looks": 3, "run_after": LATER},
        {"saw": "nothing"},
        {"looks": 2},
    ),
    Case(
        "parked",
        State.UNCERTAIN,
        lambda tx, job: transitions.parked(tx, job, actor=ACTOR),
        State.UNCERTAIN,
        Event.PARKED,
        {"parked_at": NOW, "run_after": None},
        {"tries": 10},
        {"tries": 10, "run_after": EARLIER},
    ),
    absent("sends again, doubt kept", None, State.QUEUED, Event.ABSENT),
    absent(
        "after a cancel",
        "cancel",
        State.CANCELLED,
        Event.ABSENT_CANCELLED,
        ended_at=NOW,
        last_unknown_at=None,
    ),
    absent("after an end", "fail", State.FAILED, Event.ABSENT_FAILED, ended_at=NOW, last_unknown_at=None),
    Case(
        "label_taken",
        State.UNCERTAIN,
        lambda tx, job: transitions.label_taken(tx, job, WHY, actor=ACTOR),
        State.FAILED,
        Event.LABEL_TAKEN,
        {**WHY_COLUMNS, "ended_at": NOW, "last_unknown_at": None, "run_after": None, "parked_at": None},
        WHY_DETAIL,
        {"last_unknown_at": EARLIER, "run_after": EARLIER, "parked_at": EARLIER},
    ),
    *(found(source) for source in sorted(sources(Event.FOUND))),
    lost(Event.BOOT_TIMED_OUT, State.BOOTING),
    *(
        lost(Event.VANISHED, source, linode_id=None, spent_microusd=7_500, wasted_microusd=7_500)
        for source in sorted(sources(Event.VANISHED))
    ),
    *(cancelled(source) for source in sorted(sources(Event.CANCELLED))),
    cancel_noted(State.CREATING, {"lease_until": LATER}, State.CREATING, {}),
    cancel_noted(
        State.UNCERTAIN,
        {"parked_at": EARLIER, "ending": "fail"},
        State.UNCERTAIN,
        {"run_after": NOW, "lease_until": None},
    ),
    *(
        cancel_noted(
            source, {"last_unknown_at": EARLIER}, State.UNCERTAIN, {"run_after": NOW, "lease_until": None}
        )
        for source in (State.QUEUED, State.DISPATCHED)
    ),
    delete_postponed("taken", None, {**NO_ERROR, "looks": 0}, None),
    delete_postponed("refused", WHY, {**WHY_COLUMNS, "looks": 5}, WHY_DETAIL),
    Case(
        "gone",
        State.DELETING,
        lambda tx, job: transitions.gone(tx, job, actor=ACTOR),
        State.DELETED,
        Event.GONE,
        {"ended_at": NOW, "run_after": None, "spent_microusd": 107_500, "wasted_microusd": 0},
        {"linode_id": 4711},
        {"run_after": EARLIER, **PAID},
    ),
    Case(
        "gone, to be retried",
        State.DELETING,
        lambda tx, job: transitions.gone(tx, job, actor=ACTOR),
        State.QUEUED,
        Event.GONE_RETRIED,
        {**ANEW, "spent_microusd": 107_500},
        {"linode_id": 4711},
        {**USED, **PAID, **WHY_COLUMNS, "afterwards": "retry"},
    ),
    Case(
        "retried",
        State.FAILED,
        lambda tx, job: transitions.retried(tx, job, actor=ACTOR),
        State.QUEUED,
        Event.RETRIED,
        ANEW,
        None,
        {**USED, **WHY_COLUMNS, "linode_id": None},
    ),
    Case(
        "retried with an instance that was paid for",
        State.FAILED,
        lambda tx, job: transitions.retried(tx, job, actor=ACTOR),
        State.DELETING,
        Event.RETRY_NOTED,
        {"afterwards": "retry", "run_after": NOW, "looks": 0, "ended_at": None, "wasted_microusd": 7_500},
        {"linode_id": 4711},
        {**WHY_COLUMNS, "linode_id": 4711, **PAID},
    ),
    Case(
        "destroyed after it failed",
        State.FAILED,
        lambda tx, job: transitions.destroyed(tx, job, actor=ACTOR),
        State.DELETING,
        Event.DESTROYED,
        {"afterwards": None, "run_after": NOW, "looks": 0, "ended_at": None, "wasted_microusd": 7_500},
        {"linode_id": 4711},
        {**WHY_COLUMNS, "linode_id": 4711, **PAID},
    ),
    Case(
        "retried with an instance",
        State.FAILED,
        lambda tx, job: transitions.retried(tx, job, actor=ACTOR),
        State.DELETING,
        Event.RETRY_NOTED,
        {"afterwards": "retry", "run_after": NOW, "looks": 0, "ended_at": None},
        {"linode_id": 4711},
        {**WHY_COLUMNS, "linode_id": 4711, "looks": 3, "ended_at": EARLIER},
    ),
    *(doomed(transitions.destroyed, Event.DESTROYED, source) for source in sorted(sources(Event.DESTROYED))),
    *(doomed(transitions.ttl_over, Event.TTL_OVER, source) for source in sorted(sources(Event.TTL_OVER))),
    *(fell_back(source) for source in sorted(sources(Event.FELL_BACK) - {State.UNCERTAIN})),
    replace(
        fell_back(State.UNCERTAIN),
        given={
            **LEASED,
            "attempt": 2,
            "tries": 3,
            "looks": 4,
            "last_unknown_at": EARLIER,
            "parked_at": EARLIER,
        },
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


@pytest.fixture
def prepared(database, clock):
    """A database with an account, two seconds after its rows were made."""
    move_in(database)
    return database


@each_case
def test_a_transition_writes_its_columns_and_one_line(prepared, clock, case):
    """A named transition writes exactly the columns that it lists, and one line of the timeline."""
    job = add_job(prepared, case.source, **case.given)
    before = job_columns(prepared, job.id)
    clock.advance(2)
    moved = case.run(prepared, job)
    after = job_columns(prepared, job.id)
    assert after == {**before, **case.writes, "state": case.target, "version": 2, "changed_at": NOW}
    assert moved == read_job(prepared, job.id)
    line = {"at": NOW, "event": case.event, "state": case.target, "actor": ACTOR, "detail": case.detail}
    assert timeline(prepared, job.id) == [line]


@each_case
def test_whoever_comes_late_or_wrongly_changes_nothing(prepared, clock, case):
    """A stale version or another state is None, an illegal event raises; job, timeline and account stay as they are."""
    job = add_job(prepared, case.source, version=5, **case.given)
    before = everything(prepared, job)
    clock.advance(2)
    assert case.run(prepared, stale(job)) is None
    assert everything(prepared, job) == before
    wrong = next(state for state in (State.DELETED, State.REJECTED) if state not in sources(case.event))
    with prepared.write() as tx, pytest.raises(IllegalTransition):
        case.act(tx, replace(job, state=wrong))  # caught inside, so that the transaction commits
    assert everything(prepared, job) == before
    other = State.RUNNING if case.source is not State.RUNNING else State.BOOTING
    set_job(prepared, job.id, state=other.value, linode_id=4711)
    before = everything(prepared, job)
    assert case.run(prepared, job) is None
    assert everything(prepared, job) == before


def everything(database, job):
    """Return the job's row, its timeline and its account."""
    with database.read() as tx:
        account = tx.execute(select(accounts)).one()
    return job_columns(database, job.id), timeline(database, job.id), account


def test_every_row_of_the_law_is_some_transitions():
    """The cases above, admission, take-over and the watch cover every row of the law."""
    many = {(State.QUEUED, Event.ADMITTED), (State.QUEUED, Event.TAKEN_OVER)}
    elsewhere = many | {(State.BOOTING, Event.SEEN_RUNNING)}
    covered = {(case.source, case.event) for case in CASES} | elsewhere
    assert {(row.source, row.event) for row in TRANSITIONS} - covered == set()


# Many at once --------------------------------------------------------------------------------------------------------


def test_admitted_moves_many_and_skips_the_stale(prepared, clock):
    """A bulk transition moves the rows that are as they were read, each with its line, and returns their ids."""
    fleet = add_fleet(prepared)
    records = [
        add_job(prepared, State.QUEUED, fleet_id=fleet, position=n, run_after=EARLIER) for n in (1, 2, 3)
    ]
    records[1] = stale(set_job(prepared, records[1].id, version=4))
    before = job_columns(prepared, records[0].id)
    clock.advance(2)
    with prepared.write() as tx:
        moved = transitions.admitted(
            tx,
            records,
            actor=ACTOR,
            token_id="tok",
            generation=7,
            send_before=LATER,
            lease_until=LATER,
        )
    assert set(moved) == {records[0].id, records[2].id}
    assert job_columns(prepared, records[0].id) == {
        **before,
        "state": State.DISPATCHED,
        "version": 2,
        "changed_at": NOW,
        "dispatched_at": NOW,
        "send_before": LATER,
        "lease_until": LATER,
        "token_id": "tok",
        "window_generation": 7,
        "run_after": None,
    }
    assert [line["event"] for line in timeline(prepared, records[2].id)] == [Event.ADMITTED]
    assert timeline(prepared, records[1].id) == []


def test_seen_running_takes_thousands(prepared, clock):
    """Twenty thousand instances that came up are recorded in one call."""
    fleet = add_fleet(prepared)
    first = add_job(prepared, State.BOOTING, fleet_id=fleet, run_after=EARLIER)
    ghosts = [replace(first, id=f"00000000-0000-7000-8000-{number:012x}") for number in range(20_000)]
    clock.advance(2)
    with prepared.write() as tx:
        moved = transitions.seen_running(tx, [*ghosts, first], actor=ACTOR)
    assert [job.id for job in moved] == [first.id]
    assert read_job(prepared, first.id).state is State.RUNNING
    row = job_columns(prepared, first.id)
    assert (row["running_at"], row["run_after"]) == (NOW, None)


def test_moving_nobody_is_nothing(prepared):
    """An empty list of records asks the database nothing and returns nothing."""
    with prepared.write() as tx:
        assert transitions.seen_running(tx, [], actor=ACTOR) == []


# The account, orphans, words -----------------------------------------------------------------------------------------


def test_an_unknown_outcome_is_noted_on_the_account(prepared, clock):
    """Reconcile sees by the account's row that it should look more often for a while."""
    job = add_job(prepared, State.CREATING)
    clock.advance(2)
    with prepared.write() as tx:
        transitions.unknown(tx, job, Event.LAPSED, WHY, actor=ACTOR, run_after=LATER)
    with prepared.read() as tx:
        assert tx.execute(select(accounts.c.unknown_at)).scalar_one() == NOW


def test_an_orphan_is_a_line_only(prepared, clock):
    """That an ended job's late instance was removed stands in the timeline and moves nothing."""
    job = add_job(prepared, State.CANCELLED)
    with prepared.write() as tx:
        transitions.orphan_deleted(tx, job, 99, actor=ACTOR, tag="nw:x.1")
    assert read_job(prepared, job.id) == job
    line = timeline(prepared, job.id)[0]
    assert (line["event"], line["state"]) == (Event.ORPHAN_DELETED, State.CANCELLED)
    assert line["detail"] == {"linode_id": 99, "tag": "nw:x.1"}


def test_the_price_stays_where_the_instance_says_none(prepared):
    """An instance without a price keeps the price that the job was submitted at."""
    job = add_job(prepared, State.CREATING)
    with prepared.write() as tx:
        moved = transitions.owned(tx, job, InstanceFacts(5), actor=ACTOR, proof="our own 200")
    assert moved is not None
    assert moved.hourly_microusd == job.hourly_microusd > 0


@pytest.mark.parametrize("words", ["nul \x00 byte", "half a \ud800 pair", "\x00", "é ✓ 漢字"])
def test_no_words_of_the_api_can_break_a_row(prepared, words):
    """Whatever characters an answer holds, its outcome can be recorded, with the sound ones kept."""
    job = add_job(prepared, State.CREATING)
    with prepared.write() as tx:
        transitions.unknown(
            tx, job, Event.UNKNOWN, Reason("outcome_unknown", words, words), actor=ACTOR, run_after=NOW
        )
    kept = job_columns(prepared, job.id)["error_reason"]
    assert kept == words.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert timeline(prepared, job.id)[0]["detail"]["reason"] == kept
    facts = InstanceFacts(5, words, words, words, words)
    with prepared.write() as tx:
        assert transitions.owned(tx, read_job(prepared, job.id), facts, actor=ACTOR, proof="tag") is not None
    assert job_columns(prepared, job.id)["ipv6"] == kept


def test_nobody_knows_a_strange_id(prepared):
    """An id without a row is None."""
    with prepared.read() as tx:
        assert transitions.load(tx, "00000000-0000-7000-8000-000000000000") is None


def test_records_carry_their_tag(prepared):
    """The attempt's tag is made of the record's id and attempt."""
    job = add_job(prepared, State.QUEUED, attempt=3)
    assert isinstance(job, JobRecord)
    assert str(job.tag) == f"nw:{job.id}.3"


def test_a_transition_that_is_rolled_back_leaves_no_line(prepared):
    """Row and timeline are one transaction."""
    job = add_job(prepared, State.QUEUED)
    with pytest.raises(ZeroDivisionError), prepared.write() as tx:
        assert transitions.cancelled(tx, job, actor=ACTOR).version / 0
    assert read_job(prepared, job.id) == job
    with prepared.read() as tx:
        assert tx.execute(select(job_events)).all() == []

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import insert, update

from jobs import chores, house, overview
from jobs.identity import new_id
from jobs.records import job_events, rate_windows, webhook_deliveries, webhooks
from jobs.remedies import ENDED, remedy
from jobs.states import Event, State
from tests.support.fleets import (
    ACCOUNT,
    PARTS,
    TENANT,
    TOKEN,
    add_fleet,
    add_job,
    add_tenant,
    move_in,
)


@pytest.fixture
def look(database):
    """Reads in a transaction of its own."""

    def read(question, *arguments, **more):
        with database.read() as tx:
            return question(tx, *arguments, **more)

    return read


# What went wrong -----------------------------------------------------------------------------------------------------


def _fail(database, fleet, position, reason, **columns):
    usual = {"error_code": "rejected_by_api", "error_reason": reason, "label": f"web-{position:04d}"}
    return add_job(database, State.FAILED, fleet_id=fleet, position=position, **{**usual, **columns})


def test_a_reason_that_all_share_is_told_as_it_is(database, look):
    """Where jobs failed in the very same words nothing of them is left out: their numbers are worth reading."""
    fleet = add_fleet(database)
    words = "the image private/1002 needs 60000 MB and the disk has 25600 MB"
    for position in (1, 2):
        _fail(database, fleet, position, words)

    (only,) = look(overview.failures, fleet)

    assert (only.reason, only.count) == (words, 2)


def test_failures_are_brought_together_by_their_reason(database, look):
    """Jobs that failed alike are one group, whatever ids and labels their reasons name; the most frequent is first."""
    fleet = add_fleet(database)
    for position in range(1, 6):
        words = f"web-{position:04d}: instance {400_000 + position} is not yours (192.0.2.{position})"
        _fail(database, fleet, position, words, linode_id=position if position < 3 else None)
    _fail(database, fleet, 6, "no", error_field="tags")
    _fail(database, fleet, 7, None, error_code="vanished")
    add_job(database, State.REJECTED, fleet_id=fleet, position=8, error_code="vanished")
    add_job(database, State.RUNNING, fleet_id=fleet, position=9, linode_id=9)
    elsewhere = add_fleet(database, name="other")
    _fail(database, elsewhere, 1, "no", error_code="no_capacity")

    first, second, third = look(overview.failures, fleet)

    assert (first.code, first.reason, first.count) == ("rejected_by_api", "…: instance … is not yours (…)", 5)
    assert (first.owned, first.rejected, first.more) == (2, 0, False)
    assert [one.label for one in first.examples] == ["web-0001", "web-0002", "web-0003"]
    assert first.remedy == ENDED["rejected_by_api"]
    assert (second.code, second.count, second.rejected) == ("vanished", 2, 1)
    assert (third.field, third.reason) == ("tags", "no")
    assert third.to_json()["examples"][0]["label"] == "web-0006"


def test_a_fleet_without_failures_has_no_groups(database, look):
    """Nothing is made up for a fleet that is well."""
    fleet = add_fleet(database)
    add_job(database, State.QUEUED, fleet_id=fleet)
    assert look(overview.failures, fleet) == ()


def test_no_more_failures_are_looked_at_than_some(database, look, monkeypatch):
    """Beyond so many failures the counts are the least that there are, and say so."""
    monkeypatch.setattr(overview, "LOOKED_AT", 3)  # 20,000 rows would only take longer
    fleet = add_fleet(database)
    for position in range(1, 6):
        _fail(database, fleet, position, "no")
    (group,) = look(overview.failures, fleet)
    assert (group.count, group.more) == (3, True)


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("no room in us-east", "no room in us-east"),
        ("not up after 15 minutes", "not up after 15 minutes"),
        ("HTTP 502 Bad Gateway", "HTTP 502 Bad Gateway"),
        ("timed out after 20.13 s", "timed out after … s"),
        ("instance 123456 at 192.0.2.7", "instance … at …"),
        ("job 019b76da-a800-7226-b63c-5ab791b7584a is", "job … is"),
        ("type g6-standard-2 costs 0.36", "type g6-standard-2 costs …"),
    ],
)
def test_what_differs_from_job_to_job_is_left_out(reason, short):
    """Ids, addresses and measured times go; what tells reasons apart stays."""
    assert overview.gist(reason) == short


def test_an_unknown_code_has_a_remedy_too():
    """Whatever code a row carries, somebody is told what to do."""
    assert remedy("made_up")
    assert remedy("paused") != remedy("made_up")


# How it went ---------------------------------------------------------------------------------------------------------


def _counts(point):
    return (point.waiting, point.creating, point.booting, point.running, point.failed, point.ended)


def test_the_history_of_a_fleet(database, clock, look):
    """At each moment since the submit it says how many jobs waited, were created, booted, ran, failed or ended."""
    fleet = add_fleet(database)
    ran = {"sent_at": clock.at(10), "created_at": clock.at(20), "running_at": clock.at(30)}
    add_job(database, State.RUNNING, fleet_id=fleet, position=1, linode_id=1, **ran)
    add_job(database, State.QUEUED, fleet_id=fleet, position=2, sent_at=clock.at(10))
    add_job(database, State.FAILED, fleet_id=fleet, position=3, sent_at=clock.at(10), ended_at=clock.at(20))
    add_job(database, State.CANCELLED, fleet_id=fleet, position=4, ended_at=clock.at(30))
    add_job(database, State.UNCERTAIN, fleet_id=fleet, position=5, sent_at=clock.at(40))
    clock.advance(40)

    found = look(overview.history, fleet, points=5)

    assert [_counts(point) for point in found.points] == [
        (5, 0, 0, 0, 0, 0),
        (3, 2, 0, 0, 0, 0),
        (3, 0, 1, 0, 1, 0),
        (2, 0, 0, 1, 1, 1),
        (1, 1, 0, 1, 1, 1),
    ]
    assert [point.at for point in found.points] == [clock.at(second) for second in (-40, -30, -20, -10, 0)]
    assert not found.sampled


def test_the_history_of_a_large_fleet_is_a_sample(database, clock, look, monkeypatch):
    """Of a large fleet some jobs, evenly spread, stand for all."""
    monkeypatch.setattr(overview, "EXACT", 4)  # ten thousand rows would only take longer
    monkeypatch.setattr(overview, "SAMPLE", 4)
    fleet = add_fleet(database)
    for position in range(1, 13):
        state = State.CANCELLED if position > 6 else State.QUEUED
        add_job(database, state, fleet_id=fleet, position=position, label=f"web-{position}")
    clock.advance(1)
    found = look(overview.history, fleet, points=2)
    assert found.sampled
    assert _counts(found.points[-1]) == (6, 0, 0, 0, 0, 6)


def test_spans_are_paged_by_position(database, look):
    """A chart's lines come in the fleet's order, so many at a time."""
    fleet = add_fleet(database)
    for position in range(1, 6):
        add_job(database, State.QUEUED, fleet_id=fleet, position=position)
    first = look(overview.spans, fleet, limit=3)
    rest = look(overview.spans, fleet, limit=3, after=first[-1].position)
    assert [span.position for span in (*first, *rest)] == [1, 2, 3, 4, 5]
    assert first[0].to_json()["submitted_at"] == "2026-03-01T12:00:00.000Z"


# How fast it goes ----------------------------------------------------------------------------------------------------


def _send(database, job_id, at):
    with database.write() as tx:
        line = {"job_id": job_id, "at": at, "event": Event.SENT.value, "state": "creating", "actor": "w"}
        tx.execute(insert(job_events), line)


def test_the_pace_is_told_by_windows(database, clock, look):
    """Each token shows how many creates fell into each of its windows lately, beside its limit and last refusal."""
    move_in(database)
    fleet = add_fleet(database)
    job = add_job(database, State.CREATING, fleet_id=fleet)
    clock.advance(700)
    for second in (-650, -40, -39, -26, -25.1, -25, -20):
        _send(database, job.id, clock.at(second))
    with database.write() as tx:
        tx.execute(update(rate_windows).values(refused=3, refused_at=clock.at(-5)))

    (pace,) = look(overview.pace, [ACCOUNT])

    assert (pace.account, pace.token, pace.allowed, pace.seconds) == (ACCOUNT, TOKEN, 20, 15.0)
    assert [(burst.began_at, burst.creates) for burst in pace.windows] == [
        (clock.at(-40), 4),
        (clock.at(-25), 2),
    ]
    assert pace.since == clock.at(-600)
    assert (pace.refused, pace.refused_at) == (3, clock.at(-5))
    assert look(overview.pace, ["another"]) == ()


def test_the_pace_says_from_when_it_knows_all(database, clock, look, monkeypatch):
    """Where more happened than is looked at, it begins later, and says so."""
    monkeypatch.setattr(overview, "LOOKED_AT", 2)
    move_in(database)
    job = add_job(database, State.CREATING)
    clock.advance(60)
    for second in (-30, -20, -10):
        _send(database, job.id, clock.at(second))
    (pace,) = look(overview.pace, [ACCOUNT])
    assert pace.since == clock.at(-30)
    assert sum(burst.creates for burst in pace.windows) == 2


# The whole -----------------------------------------------------------------------------------------------------------


def test_workers_are_told_apart(database, clock, look):
    """Each worker that beats is alive; one that fell silent is shown as such, one that was stopped is not shown."""
    for worker in ("w1", "w2", "w3"):
        with database.write() as tx:
            house.heartbeat(tx, worker)
    clock.advance(40)
    with database.write() as tx:
        house.heartbeat(tx, "w1")
        house.leave(tx, "w3")
    found = look(overview.system)
    assert [(one.name, one.alive) for one in found.workers] == [("w1", True), ("w2", False)]
    assert (found.alive, found.workers[0].started_at) == (1, clock.at(-40))


def test_the_oldest_waiting_job(database, clock, look):
    """It is the one that waits longest, of whatever tenant, account and priority, ready or not."""
    move_in(database)
    add_tenant(database, "other")
    assert look(overview.system).oldest_waiting is None
    expected = []
    for number, (state, columns) in enumerate(
        (
            (State.QUEUED, {"run_after": clock.at(90)}),
            (State.QUEUED, {"priority": 5}),
            (State.QUEUED, {"priority": -5}),
            (State.QUEUED, {"tenant_id": "other"}),
            (State.SUBMITTED, {}),
        ),
        start=1,
    ):
        fleet = add_fleet(database, name=f"f{number}")
        job = add_job(database, state, fleet_id=fleet, label=f"l{number}", **columns)
        expected.append((job.id, clock.now))
        clock.advance(1)
    for job_id, at in expected:
        oldest = look(overview.system).oldest_waiting
        assert (oldest.id, oldest.since) == (job_id, at)
        with database.write() as tx:
            tx.execute(update(overview.jobs).where(overview.jobs.c.id == job_id).values(state="cancelled"))
    assert look(overview.system).oldest_waiting is None


def test_a_tenant_sees_its_own_part(database, look):
    """Jobs and endpoints of others are no tenant's business."""
    move_in(database)
    add_tenant(database, "other")
    add_job(database, State.QUEUED, fleet_id=add_fleet(database))
    add_job(database, State.UNCERTAIN, fleet_id=add_fleet(database, name="b"), position=2)
    mine, theirs = look(overview.system, TENANT), look(overview.system, "other")
    assert (mine.uncertain, mine.oldest_waiting is not None) == (1, True)
    assert (theirs.uncertain, theirs.unsettled, theirs.oldest_waiting) == (0, (), None)


def test_what_nobody_knows(database, clock, look):
    """The uncertain jobs are counted; the parked ones come first, then those that are so for longest."""
    fleet = add_fleet(database)
    for position, columns in enumerate(
        ({"last_unknown_at": clock.at(-5)}, {"last_unknown_at": clock.at(-9)}, {"parked_at": clock.at(-1)}),
        start=1,
    ):
        add_job(database, State.UNCERTAIN, fleet_id=fleet, position=position, label=f"l{position}", **columns)
    found = look(overview.system)
    assert (found.uncertain, found.parked) == (3, 1)
    assert [(one.label, one.parked) for one in found.unsettled] == [
        ("l3", True),
        ("l2", False),
        ("l1", False),
    ]


def test_catalogs_chores_and_deliveries(database, clock, look):
    """It says how old each catalog is, how each chore's last run went, and how deliveries to each endpoint go."""
    with database.write() as tx:
        house.store_catalogs(tx, ACCOUNT, PARTS)
        chores.ensure(tx, ["watch"])
        claim = chores.claim(tx, "watch", owner="w", lease=timedelta(seconds=5))
        chores.finish(tx, claim, due_at=clock.at(5), error="down")
        hook = {"id": new_id(tx.now, Random(1)), "tenant_id": TENANT, "url": "https://x.example", "kinds": []}
        tx.execute(
            insert(webhooks), {**hook, "sealed": b"x", "after_event": 0, "fence": 0, "created_at": tx.now}
        )
        for number, (state, tries) in enumerate(
            (("pending", 0), ("pending", 2), ("dead", 9), ("delivered", 1))
        ):
            line = {
                "id": new_id(tx.now, Random(number)),
                "webhook_id": hook["id"],
                "kind": "k",
                "payload": "{}",
            }
            due = tx.now if state == "pending" else None
            error = "refused" if tries > 1 else None
            more = {"subject": str(number), "state": state, "tries": tries, "due_at": due, "error": error}
            tx.execute(insert(webhook_deliveries), {**line, **more, "created_at": tx.now})
    found = look(overview.system)
    assert {one.kind for one in found.catalogs} == {"types", "regions", "images", "availability"}
    assert [(one.name, one.error, one.owner) for one in found.chores] == [("watch", "down", None)]
    (endpoint,) = found.endpoints
    assert (endpoint.pending, endpoint.failing, endpoint.dead, endpoint.last_error) == (2, 1, 1, "refused")

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, text, update

from jobs import admission, chores, transitions
from jobs.admission import CREATE, PROBE_SECONDS, Heard, Limit
from jobs.database import Database
from jobs.records import accounts, fleets, installation, jobs, rate_windows
from jobs.states import State
from jobs.transitions import Reason
from jobs.windows import GRANT_SECONDS, LAPSE_SECONDS, MARGIN_SECONDS, Call, RateFacts
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    TOKEN,
    add_fleet,
    add_job,
    add_tenant,
    admit,
    admit_in,
    move_in,
    read_job,
    records,
    set_job,
    submit,
)

WHY = Reason("unauthorized", "Invalid Token")


def window(database, bucket=0, route=CREATE):
    """Return a window as it is stored."""
    with database.read() as tx:
        return admission.read_windows(tx, TOKEN, route)[bucket]


def labels(admitted):
    """Return the labels of the jobs that were admitted, in alphabetical order."""
    return sorted(job.label for job in admitted.granted)


def send(database, job):
    """Commit the intent to create, as a worker does: window first, then the job."""
    with database.write() as tx:
        admission.open_window(tx, job)
        moved = transitions.sent(tx, job, actor=ACTOR, lease=timedelta(seconds=60))
    assert moved is not None
    return moved


def answer(database, job, facts=None, *, written_at=None):
    """Learn from a create's 200, as a worker does."""
    call = Call(job.sent_at, written_at or job.sent_at)
    with database.write() as tx:
        return admission.learn(tx, token_id=TOKEN, route=CREATE, replies=[Heard(facts or RateFacts(), call)])


# What is granted -----------------------------------------------------------------------------------------------------


def test_no_more_than_the_window_allows(database, clock):
    """A fresh window is granted in full and no further; the next one opens a window's length after the first send."""
    move_in(database, Limit(20, 15.0))
    submit(database, {"count": 45})
    first = admit(database)
    assert labels(first) == [f"web-{number:04d}" for number in range(1, 21)]
    for job in first.granted:
        assert job.state is State.DISPATCHED
        assert job.send_before == clock.at(GRANT_SECONDS)
        assert job.lease_until == clock.at(GRANT_SECONDS + 1)
        assert (job.token_id, job.window_generation) == (TOKEN, 1)
    again = admit(database)
    assert (again.granted, again.skipped) == ((), False)
    sent_at = clock.advance(0.5)
    for job in first.granted:
        answer(database, send(database, job), written_at=clock.at(0.25))
    assert (window(database).opened_at, window(database).started_by) == (sent_at, clock.at(0.25))
    waiting = admit(database)
    assert waiting.next_at == clock.at(15.25 + MARGIN_SECONDS)
    clock.advance(15.25)
    assert admit(database).granted == ()
    clock.advance(MARGIN_SECONDS)
    second = admit(database)
    assert labels(second) == [f"web-{number:04d}" for number in range(21, 41)]
    assert {job.window_generation for job in second.granted} == {2}


def test_what_is_left_of_an_open_window(database, clock):
    """Jobs that come while a window is open get what is left of it, to be sent before it ends."""
    move_in(database, Limit(5, 10.0))
    submit(database, {"count": 2})
    for job in admit(database).granted:
        send(database, job)
    opened = clock.now
    clock.advance(7)
    submit(database, {"count": 5}, name="more")
    granted = admit(database)
    assert labels(granted) == ["more-0001", "more-0002", "more-0003"]
    assert {job.send_before for job in granted.granted} == {opened + timedelta(seconds=10 - MARGIN_SECONDS)}


def test_the_end_of_a_window_is_left_alone(database, clock):
    """Nothing is granted so late that it could arrive in the server's next window."""
    move_in(database, Limit(5, 10.0))
    submit(database, {"count": 2})
    for job in admit(database).granted:
        answer(database, send(database, job))
    submit(database, {"count": 1}, name="more")
    clock.advance(10 - MARGIN_SECONDS)
    assert admit(database) == admission.Admission(next_at=clock.at(2 * MARGIN_SECONDS))
    clock.advance(2 * MARGIN_SECONDS)
    assert labels(admit(database)) == ["more-0001"]


def test_no_answer_yet(database, clock):
    """While no answer says when a call was written, the next window waits until the latest one must have left."""
    move_in(database, Limit(2, 10.0))
    submit(database, {"count": 4})
    sent = [send(database, job) for job in admit(database).granted]
    assert admit(database).next_at == clock.at(10 + MARGIN_SECONDS + GRANT_SECONDS)
    clock.advance(2)
    answer(database, sent[1], written_at=sent[1].sent_at)
    assert admit(database).next_at == sent[1].sent_at + timedelta(seconds=10 + MARGIN_SECONDS)


def test_priority_then_age(database, clock):
    """An urgent job that came last goes first; of equals the older one does."""
    move_in(database, Limit(3, 15.0))
    submit(database, {"count": 2}, name="slow", priority=-1)
    clock.advance(1)
    submit(database, {"count": 2}, name="early")
    clock.advance(1)
    submit(database, {"count": 1}, name="urgent", priority=5)
    assert labels(admit(database)) == ["early-0001", "early-0002", "urgent-0001"]


def test_priority_and_age_across_tenants(database, clock):
    """The order holds over all tenants of an account; another account's jobs are not touched."""
    move_in(database, Limit(3, 15.0))
    add_tenant(database, "other")
    submit(database, {"count": 3}, name="early")
    clock.advance(1)
    submit(database, {"count": 1}, name="late", tenant="other", priority=1)
    stranger = add_job(database, State.QUEUED, account_id="another", priority=9)
    assert labels(admit(database)) == ["early-0001", "early-0002", "late-0001"]
    assert read_job(database, stranger.id).state is State.QUEUED


def test_tenants_share_by_weight(database, clock):
    """Two tenants share each window by their weights, however long one's queue is, and over several windows."""
    move_in(database, Limit(10, 15.0))
    add_tenant(database, "other", weight=4)
    submit(database, {"count": 100}, name="first")
    submit(database, {"count": 100}, name="other", tenant="other")
    for _ in range(3):
        tenants = [job.tenant_id for job in admit(database).granted]
        assert (tenants.count("default"), tenants.count("other")) == (2, 8)
        with database.write() as tx:
            tx.execute(update(rate_windows).values(spent=0))


def test_an_urgent_job_behind_thousands(database, clock):
    """It is in the next window, whoever submitted it."""
    move_in(database, Limit(20, 15.0))
    add_tenant(database, "other")
    submit(database, {"count": 10_000}, name="many")
    clock.advance(1)
    submit(database, {"count": 3}, name="urgent", tenant="other", priority=9)
    granted = labels(admit(database))
    assert [label for label in granted if label.startswith("urgent")] == [
        "urgent-0001",
        "urgent-0002",
        "urgent-0003",
    ]


def test_no_more_than_asked_for(database):
    """However much the window allows, no more is granted at a time than whoever admits can use."""
    move_in(database, Limit(0, 15.0))
    submit(database, {"count": 30})
    assert [len(admit(database, most=most).granted) for most in (8, 1, 64)] == [8, 1, 21]


def test_what_was_taken_since_the_look_is_passed_over(database):
    """Of the jobs that a look found, those that moved in between get no grant, and no tenant is charged for them."""
    move_in(database, Limit(0, 15.0))
    add_tenant(database, "other")
    submit(database, {"count": 3})
    submit(database, {"count": 3}, name="theirs", tenant="other")
    with database.read() as tx:
        stale = admission.next_jobs(tx, ACCOUNT, 6)
    taken = admit(database, most=2)
    with database.read() as tx:
        (cancelled,) = transitions.select_records(tx, jobs.c.label == "theirs-0002")
    with database.write() as tx:
        assert transitions.cancelled(tx, cancelled, actor=ACTOR)
    with database.write() as tx:
        asked = {"account_id": ACCOUNT, "token_id": TOKEN, "actor": ACTOR}
        done = admission.admit(tx, stale, most=6, **asked)
        rest = replace(done, granted=records(tx, done.granted))
        assert admission.admit(tx, stale, most=6, **asked).granted == ()
    assert labels(taken) == ["theirs-0001", "web-0001"]
    assert labels(rest) == ["theirs-0003", "web-0002", "web-0003"]
    assert window(database).spent == 5
    with database.read() as tx:
        assert tx.execute(select(rate_windows.c.shares)).scalar() == {"default": 1.0}


@pytest.mark.parametrize("stop", ["held_at", "stopped_at"])
def test_a_fleet_that_was_stopped_since_the_look(database, stop):
    """A pause or a stop counts from its commit on, also for whoever looked before it."""
    move_in(database)
    fleet = submit(database, {"count": 2}).fleet
    submit(database, {"count": 1}, name="other")
    with database.read() as tx:
        stale = admission.next_jobs(tx, ACCOUNT, 3)
    with database.write() as tx:
        tx.execute(update(fleets).where(fleets.c.id == fleet.id).values({stop: tx.now}))
    with database.write() as tx:
        done = admission.admit(tx, stale, account_id=ACCOUNT, token_id=TOKEN, actor=ACTOR, most=3)
        assert labels(replace(done, granted=records(tx, done.granted))) == ["other-0001"]


def test_all_that_was_found_is_in_other_hands(postgres_database, clock):
    """Where somebody holds all that a look found, it is worth another look in a moment."""
    database = postgres_database
    move_in(database)
    submit(database, {"count": 2})
    with database.write() as cancelling:
        for job in transitions.select_records(cancelling):
            transitions.cancelled(cancelling, job, actor=ACTOR)
        later = admit(database).next_at
        assert clock.now < later <= clock.at(0.1)


def test_nothing_to_admit(database):
    """An empty queue spends nothing and asks for no early return."""
    move_in(database)
    assert admit(database) == admission.Admission()
    assert window(database).spent == 0
    with database.read() as tx:
        assert not admission.anything_ready(tx, ACCOUNT)


def test_a_route_without_a_window_is_held_by_somebody(database):
    """A token without rows admits nothing; the loop tries again."""
    move_in(database)
    submit(database)
    assert admit(database, token="unknown").skipped


# Grants that are not used --------------------------------------------------------------------------------------------


def test_lapsed_grants_come_back(database, clock):
    """Grants that nobody sent are granted anew once they lapse, in a new generation."""
    move_in(database, Limit(2, 15.0))
    submit(database, {"count": 2})
    for job in admit(database).granted:
        with database.write() as tx:
            transitions.given_back(tx, job, "lost", actor=ACTOR)
    assert admit(database).next_at == clock.at(GRANT_SECONDS + LAPSE_SECONDS)
    clock.advance(GRANT_SECONDS + LAPSE_SECONDS)
    assert {job.window_generation for job in admit(database).granted} == {2}


def test_snoozed_jobs_come_back_in_time(database, clock):
    """A snoozed job is neither ready nor granted before its time; then it takes its old place."""
    move_in(database)
    submit(database, {"count": 3})
    with database.read() as tx:
        first = transitions.select_records(tx, order_by=(jobs.c.position,))[0]
        others = transitions.select_records(tx, jobs.c.position > 1)
    set_job(database, first.id, run_after=clock.at(10))
    for job in others:
        set_job(database, job.id, state=State.CANCELLED.value)
    with database.read() as tx:
        assert not admission.anything_ready(tx, ACCOUNT)
        assert admission.next_snooze(tx, ACCOUNT) == clock.at(10)
    assert admit(database).granted == ()
    clock.advance(10)
    granted = admit(database).granted
    assert [job.id for job in granted] == [first.id]
    assert granted[0].run_after is None
    with database.read() as tx:
        assert admission.next_snooze(tx, ACCOUNT) is None


def test_a_crowd_that_wakes_together_keeps_its_order(database, clock):
    """Of thousands of snoozes that end at once the oldest jobs are granted, and none is lost."""
    move_in(database, Limit(20, 15.0))
    submit(database, {"count": 2_500})
    with database.write() as tx:
        tx.execute(update(jobs).values(run_after=clock.at(5)))
    clock.advance(5)
    granted = [label for _ in range(3) for label in labels(admit(database, most=10_000))]
    assert granted == [f"web-{number:04d}" for number in range(1, 21)]
    with database.read() as tx:
        assert admission.anything_ready(tx, ACCOUNT)


# Several buckets, several admitters ----------------------------------------------------------------------------------


def test_two_buckets_hold_together(database, clock):
    """Five in fifteen seconds and eight in thirty: the narrower one decides each time."""
    move_in(database, Limit(5, 15.0), Limit(8, 30.0))
    submit(database, {"count": 20})
    counts = []
    for _ in range(40):
        granted = admit(database).granted
        counts.append(len(granted))
        for job in granted:
            answer(database, send(database, job))
        clock.advance(1)
    assert {second: count for second, count in enumerate(counts) if count} == {0: 5, 16: 3, 32: 5}


def test_a_second_admitter_is_skipped(postgres_database):
    """While one admitter holds the window another one neither waits nor grants."""
    database = postgres_database
    move_in(database)
    submit(database, {"count": 5})
    with database.write() as tx:
        mine = admit_in(tx, actor="first", most=3)
        assert len(mine.granted) == 3
        assert admit(database) == admission.Admission(skipped=True)
    assert len(admit(database, most=5).granted) == 2


@pytest.mark.parametrize("held", [0, 1])
def test_half_a_lock_is_no_lock(postgres_database, held):
    """Where another transaction holds one bucket of the route, nobody admits by the other bucket alone."""
    database = postgres_database
    move_in(database, Limit(5, 15.0), Limit(8, 30.0))
    submit(database, {"count": 5})
    with database.write() as tx:
        tx.execute(select(rate_windows).where(rate_windows.c.bucket == held).with_for_update())
        assert admit(database) == admission.Admission(skipped=True)


def test_jobs_in_other_hands_are_passed_over(postgres_database):
    """A cancel that is under way holds its jobs; admission grants the others and does not wait."""
    database = postgres_database
    move_in(database)
    submit(database, {"count": 3})
    with database.read() as tx:
        first = transitions.select_records(tx, order_by=(jobs.c.position,))[0]
    with database.write() as cancelling:
        transitions.cancelled(cancelling, first, actor=ACTOR)
        with database.write() as tx:
            tx.execute(text("SET LOCAL lock_timeout = '2s'"))
            done = admit_in(tx)
            result = replace(done, granted=records(tx, done.granted))
    assert labels(result) == ["web-0002", "web-0003"]
    assert window(database).spent == 2


def test_snoozes_in_other_hands_are_passed_over(postgres_database, clock):
    """Neither does it wait for a job whose snooze is over and that somebody else holds."""
    database = postgres_database
    move_in(database)
    submit(database, {"count": 2})
    with database.write() as tx:
        tx.execute(update(jobs).values(run_after=clock.now))
    with database.read() as tx:
        first = transitions.select_records(tx, order_by=(jobs.c.position,))[0]
    with database.write() as cancelling:
        transitions.cancelled(cancelling, first, actor=ACTOR)
        with database.write() as tx:
            tx.execute(text("SET LOCAL lock_timeout = '2s'"))
            admission.wake(tx, ACCOUNT)
            done = admit_in(tx)
            result = replace(done, granted=records(tx, done.granted))
    assert labels(result) == ["web-0002"]


# The account's health ------------------------------------------------------------------------------------------------


def test_a_paused_account_gets_one_probe_at_a_time(database, clock):
    """A pause stops admission; one create now and then finds out whether it is over, and then all go on."""
    move_in(database)
    submit(database, {"count": 10})
    with database.write() as tx:
        admission.pause(tx, ACCOUNT, code=WHY.code, reason=WHY.reason)
    assert admit(database) == admission.Admission(next_at=clock.at(PROBE_SECONDS))
    paused_at = clock.now
    clock.advance(PROBE_SECONDS)
    probe = admit(database)
    assert len(probe.granted) == 1
    assert admit(database).granted == ()
    answer(database, send(database, probe.granted[0]))
    clock.advance(PROBE_SECONDS)
    with database.write() as tx:
        admission.pause(tx, ACCOUNT, code="missing_scope", reason="again")
        row = tx.execute(select(accounts)).one()
        assert (row.paused_at, row.paused_code) == (paused_at, "missing_scope")
    assert admit(database).granted == ()
    clock.advance(0.1)
    with database.write() as tx:
        admission.healthy(tx, ACCOUNT)
    assert len(admit(database).granted) == 9


def test_faults_in_a_row_lead_to_probing(database, clock):
    """The fifth fault in a row begins probing, each further one waits longer, a sensible answer ends it."""
    move_in(database)
    submit(database, {"count": 3})
    for number in range(1, 5):
        with database.write() as tx:
            admission.fault(tx, ACCOUNT)
            assert not admission.failing(tx, ACCOUNT), number
    waits = []
    for _ in range(6):
        with database.write() as tx:
            admission.fault(tx, ACCOUNT)
            assert admission.failing(tx, ACCOUNT)
        waits.append((admit(database).next_at - clock.now).total_seconds())
    assert waits == [1, 2, 4, 8, PROBE_SECONDS, PROBE_SECONDS]
    with database.write() as tx:
        admission.healthy(tx, ACCOUNT)
        assert not admission.failing(tx, ACCOUNT)
    assert len(admit(database).granted) == 3


def test_a_new_epoch_shuts_admission(database, clock):
    """After a restore nothing is bought until reconcile has been through the account."""
    move_in(database)
    submit(database)
    with database.write() as tx:
        tx.execute(update(installation).values(epoch=2))
    assert admit(database) == admission.Admission(next_at=clock.at(1))
    with database.write() as tx:
        tx.execute(update(accounts).values(epoch=2))
    assert len(admit(database).granted) == 1


def test_an_unknown_account_buys_nothing(database, clock):
    """An account without a row is as good as one before its reconcile."""
    move_in(database)
    add_job(database, State.QUEUED, account_id="another")
    assert admit(database, account="another") == admission.Admission(next_at=clock.at(1))
    with database.write() as tx:
        admission.fault(tx, "another")
        assert not admission.failing(tx, "another")


# Together ------------------------------------------------------------------------------------------------------------


def test_many_grants_are_locked_without_waiting(database):
    """Whoever takes several jobs waits for none of them: what somebody else holds is left out, or none is taken."""
    move_in(database)
    submit(database, {"count": 3})
    ids = [job.id for job in admit(database).granted]
    with database.write() as tx:
        assert list(admission.load_grants(tx, ids)) == ids
        transitions.hold(tx, ids)
    if database.on_sqlite:
        return  # one writer at a time: nobody else can hold anything
    with database.write() as other:
        other.execute(select(jobs.c.id).where(jobs.c.id == ids[1]).with_for_update())
        with database.write() as tx:
            assert sorted(admission.load_grants(tx, ids)) == [ids[0], ids[2]]
            with pytest.raises(transitions.OvertakenError):
                transitions.hold(tx, ids)
            transitions.hold(tx, [ids[0], ids[2]])


# Learning ------------------------------------------------------------------------------------------------------------


def learn(database, facts, sent_at, *, throttled=False, route=CREATE):
    """Teach the windows of a route."""
    call = Call(sent_at, sent_at, accepted=not throttled)
    with database.write() as tx:
        return admission.learn(
            tx, token_id=TOKEN, route=route, replies=[Heard(facts, call, throttled=throttled)]
        )


def test_headers_and_refusals_are_kept(database, clock):
    """What a reply taught is in the database, for every worker and the next start."""
    move_in(database, Limit(20, 15.0))
    submit(database, {"count": 30})
    first = admit(database, most=3).granted
    for job in first:
        send(database, job)
    learn(database, RateFacts(allowed=10, remaining=2), clock.now)
    assert (window(database).allowed, window(database).withheld) == (10, 5)
    assert len(admit(database).granted) == 2
    learn(database, RateFacts(retry_after=4), clock.now, throttled=True)
    assert admit(database).next_at == clock.at(5 + MARGIN_SECONDS)
    assert window(database).refused == 1
    move_in(database, Limit(20, 15.0))  # a restart keeps what was learnt
    assert window(database).allowed == 10


def test_a_reply_of_an_older_window_spoils_nothing(database, clock):
    """A late 429 of the last window does not close the present one."""
    move_in(database, Limit(2, 15.0))
    submit(database, {"count": 4})
    old = [send(database, job) for job in admit(database).granted]
    answer(database, old[0])
    clock.advance(15.1)
    for job in admit(database).granted:
        send(database, job)
    learn(database, RateFacts(retry_after=30), old[1].sent_at, throttled=True)
    assert (window(database).closed_until, window(database).rejected, window(database).refused) == (
        None,
        0,
        1,
    )


def test_another_bucket_is_added_and_forgotten(database, clock):
    """A 429 that names another limit adds its bucket; a worker that starts an hour after the last one drops it."""
    move_in(database, Limit(5, 15.0))
    submit(database, {"count": 10})
    for job in admit(database).granted:
        sent = send(database, job)
    learn(database, RateFacts(allowed=8), sent.sent_at, throttled=True)
    assert (window(database, 1).allowed, window(database, 1).seconds) == (8, 30.0)
    move_in(database, Limit(5, 15.0))
    assert window(database, 1).allowed == 8
    clock.advance(3601)
    move_in(database, Limit(5, 15.0))
    with database.read() as tx:
        assert len(admission.read_windows(tx, TOKEN, CREATE)) == 1


def test_most_replies_need_no_write(database, clock):
    """Only a reply that would change a window is worth a lock."""
    move_in(database, Limit(20, 15.0))
    submit(database, {"count": 4})
    first, *others = [send(database, job) for job in admit(database).granted]
    assert answer(database, first)
    for job in others:
        assert not answer(database, job, RateFacts(allowed=20, remaining=16), written_at=clock.at(0.1))
    assert not learn(database, RateFacts(remaining=0), clock.at(-5))
    assert answer(database, first, RateFacts(allowed=20, remaining=15))


def test_alone(database):
    """Whether the create that was answered is the only one under way."""
    move_in(database)
    submit(database, {"count": 2})
    first, second = admit(database).granted

    def alone():
        with database.read() as tx:
            return admission.alone(tx, ACCOUNT)

    assert not alone()
    set_job(database, second.id, state=State.QUEUED.value)
    assert alone()
    set_job(database, first.id, state=State.CANCELLED.value)
    assert alone()


def test_a_read_spends_its_own_window(database, clock):
    """Reads draw on their route's window; without a window they are free; a refusal closes it for all."""
    route = "GET /linode/instances"
    move_in(database, Limit(2, 10.0), route=route)

    def spend(which=route):
        with database.write() as tx:
            return admission.spend(tx, token_id=TOKEN, route=which)

    assert [spend(), spend()] == [None, None]
    learn(database, RateFacts(), clock.now, route=route)
    assert spend() == clock.at(10 + MARGIN_SECONDS)
    assert spend("GET /profile") is None
    clock.advance(10.1)
    assert spend() is None
    learn(database, RateFacts(retry_after=4), clock.now, throttled=True, route=route)
    opening = clock.at(5 + window(database, route=route).margin_seconds)
    assert spend() == opening
    with database.read() as tx:
        assert admission.next_opening(tx, TOKEN, route) == opening


def test_learning_on_a_route_without_windows(database, clock):
    """A reply on a route that has no window teaches nothing and breaks nothing."""
    move_in(database)
    learn(database, RateFacts(allowed=1, remaining=0), clock.now, route="GET /profile", throttled=True)
    with database.read() as tx:
        assert admission.read_windows(tx, TOKEN, "GET /profile") == []


def test_a_job_without_a_token_opens_nothing(database):
    """A job that was never granted leaves every window closed."""
    move_in(database)
    job = add_job(database, State.QUEUED)
    with database.write() as tx:
        admission.open_window(tx, job)
    assert window(database).opened_at is None


def test_a_timeline_of_one_job(database):
    """Each step of admission and send stands in the timeline with its actor."""
    move_in(database)
    fleet = add_fleet(database)
    job = add_job(database, State.QUEUED, fleet_id=fleet)
    send(database, admit(database).granted[0])
    with database.read() as tx:
        events = transitions.select_records(tx, jobs.c.id == job.id)
    assert events[0].sends == 1
    assert events[0].state is State.CREATING


def test_moments_do_not_depend_on_the_sessions_zone(postgres_url):
    """PostgreSQL's own clock is asked, in whatever zone its session is, and compared in UTC."""
    database = Database(postgres_url)
    move_in(database)
    with database.write() as tx:
        zone = tx.execute(text("SHOW timezone")).scalar_one()
        assert zone == "Pacific/Chatham"
        assert tx.now.utcoffset() == timedelta(0)
        tx.execute(update(accounts).values(probe_at=tx.now))
        assert tx.execute(select(accounts.c.probe_at)).scalar_one() == tx.now
    database.close()


@pytest.mark.postgres
def test_workers_that_start_together_register_once(postgres_database):
    """Workers that start at the same moment on an empty database all find the account and its windows."""
    ready = Barrier(8)

    def register(_number):
        ready.wait()
        with postgres_database.write() as tx:
            admission.register(
                tx, account_id="new", token_id="new-token", limits={CREATE: (Limit(20, 15.0),)}
            )
            chores.ensure(tx, ["sweep", "intake"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(register, range(8)))
    with postgres_database.read() as tx:
        assert len(admission.read_windows(tx, "new-token", CREATE)) == 1

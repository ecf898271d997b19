"""What there is to tell, read from what is written down anyway."""

import json
import threading
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import insert, select, update

from jobs import news, tenants, transitions, webhooks
from jobs.feed import Horizon
from jobs.news import FleetBusyError
from jobs.records import accounts, fleets, installation, job_events, jobs, webhook_deliveries
from jobs.states import SETTLED, TRANSITIONS, Event, State
from jobs.transitions import InstanceFacts, Reason
from jobs.vault import Vault, new_key
from jobs.webhooks import KINDS, EndpointRequest
from tests.support.clock import START
from tests.support.fleets import (
    ACTOR,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    move_in,
    read_job,
    set_job,
    submit,
)

VAULT = Vault([new_key()])
FACTS = InstanceFacts(4711, "192.0.2.1", "2001:db8::1", "g6-nanode-1", "us-east", 7500)


class Teller:
    """Tells as the chore does, with one horizon, from the beginning or from where it stopped."""

    def __init__(self, database):
        self.database, self.horizon, self.cursor, self.dice = database, Horizon(), 0, Random(5)

    def __call__(self, upto=None):
        """Tell everything up to the horizon, or up to an event; return how many messages were new."""
        with self.database.read() as tx:
            self.horizon.advance(tx)
            names = {one.tenant for one in news.endpoints(tx)}
            end = self.horizon.settled if upto is None else upto
            pieces, self.cursor = news.read(tx, names, after=self.cursor, upto=end)
        with self.database.write() as tx:
            return news.tell(tx, pieces, self.dice)

    def again(self):
        """Tell everything anew, as after a crash that lost the cursor."""
        self.cursor = 0
        return self()


@pytest.fixture
def tell(database):
    """Tells."""
    return Teller(database)


def endpoint(database, *kinds, tenant=TENANT):
    """Add an endpoint; return its id."""
    with database.write() as tx:
        request = EndpointRequest("https://example.com/", kinds or KINDS)
        dice = Random(f"{tenant}{kinds}{tx.now}")
        return webhooks.add(tx, request, tenant=tenant, vault=VAULT, dice=dice)[0]


def told(database, webhook_id=None):
    """Return the payloads that are enqueued, by sequence."""
    with database.read() as tx:
        rows = tx.execute(select(webhook_deliveries).order_by(webhook_deliveries.c.sequence))
        return [json.loads(row.payload) for row in rows if webhook_id in {None, row.webhook_id}]


def kinds_of(found):
    """Return sequence and type of each payload."""
    return [(one["data"]["sequence"], one["type"]) for one in found]


def act(database, move, job_id, *arguments, **options):
    """Move a job; return its record."""
    with database.write() as tx:
        return move(tx, read_in(tx, job_id), *arguments, actor=ACTOR, **options)


def read_in(tx, job_id):
    """Return a job's record within a transaction."""
    return transitions.load(tx, job_id)


def run_up(database, job_id):
    """Let a booting job run."""
    with database.write() as tx:
        transitions.seen_running(tx, [read_in(tx, job_id)], actor=ACTOR)


def booting(database, fleet_id, position=1):
    """Add a job that boots; return its id."""
    number = 4000 + position
    return add_job(
        database, State.BOOTING, fleet_id=fleet_id, position=position, linode_id=number, label=f"m-{number}"
    ).id


# Kinds ---------------------------------------------------------------------------------------------------------------


def test_every_end_is_news():
    """Each row of the law that ends a job is an event that is told, and none that keeps it where it is."""
    ends = {State.RUNNING, State.FAILED, State.CANCELLED, State.REJECTED, State.DELETED}
    leading = {row.event for row in TRANSITIONS if row.target in ends and row.source is not row.target}
    assert leading | {Event.PARKED, Event.INVALID} == set(news._EVENTS)
    assert ends == SETTLED
    assert {f"job.{state.value}" for state in ends} | {"job.parked"} == {
        kind for kind in KINDS if kind.startswith("job.")
    }


def test_a_job_that_runs_and_goes(database, tell):
    """Running and deleted are told with what the instance is, in the order in which they happened."""
    fleet = add_fleet(database, name="web")
    job = booting(database, fleet)
    set_job(database, job, ipv4="192.0.2.1", got_region="us-ord")
    endpoint(database)
    run_up(database, job)
    assert tell() == 2
    act(database, transitions.destroyed, job)
    act(database, transitions.gone, job)
    assert tell() == 2
    found = told(database)
    assert kinds_of(found) == [
        (1, "job.running"),
        (2, "fleet.settled"),
        (3, "job.deleted"),
        (4, "fleet.settled"),
    ]
    running = found[0]
    assert running["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert running["data"]["fleet"] == {"id": fleet, "name": "web"}
    shown = {
        name: running["data"]["job"][name] for name in ("id", "state", "linode_id", "ipv4", "region", "error")
    }
    assert shown == {
        "id": job,
        "state": "running",
        "linode_id": 4001,
        "ipv4": "192.0.2.1",
        "region": "us-ord",
        "error": None,
    }
    assert found[2]["data"]["job"]["linode_id"] == 4001
    assert found[3]["data"]["fleet"]["states"] == {"deleted": 1}


def test_a_job_that_fails_says_why(database, tell):
    """A failure is told with code, words and field of that very failure, also when the job has gone on since."""
    fleet = add_fleet(database)
    job = add_job(database, State.CREATING, fleet_id=fleet).id
    endpoint(database, "job.failed")
    act(database, transitions.refused, job, Reason("invalid_label", "no such label", "label"))
    act(database, transitions.retried, job)
    assert tell() == 1
    (failed,) = told(database)
    assert failed["data"]["event"] == "refused"
    assert failed["data"]["job"]["state"] == "failed"
    assert failed["data"]["job"]["error"] == {
        "code": "invalid_label",
        "reason": "no such label",
        "field": "label",
    }


def test_a_parked_job_asks_for_a_person(database, tell):
    """A parked job is told as such, with the unknown that led there."""
    job = add_job(database, State.UNCERTAIN, last_unknown_at=START, error_code="outcome_unknown").id
    endpoint(database)
    act(database, transitions.parked, job)
    tell()
    (parked,) = told(database)
    assert (parked["type"], parked["data"]["job"]["state"]) == ("job.parked", "uncertain")
    assert parked["data"]["job"]["error"]["code"] == "outcome_unknown"


def test_cancelled_and_rejected_jobs(database, tell):
    """What ends before anything was bought is told too: jobs that a submit rejects, and cancelled ones."""
    move_in(database)
    endpoint(database, "job.cancelled", "job.rejected")
    fleet = submit(database, {"count": 1}, {"count": 1, "type": "g6-none"}, on_invalid="skip").fleet
    with database.read() as tx:
        waiting = tx.execute(select(jobs.c.id).where(jobs.c.state == "queued")).scalar_one()
    act(database, transitions.cancelled, waiting)
    tell()
    found = told(database)
    assert [one["type"] for one in found] == ["job.rejected", "job.cancelled"]
    assert found[0]["data"]["job"]["error"]["code"] == "unknown_type"
    assert {one["data"]["fleet"]["id"] for one in found} == {fleet.id}


def test_an_orphans_end_is_no_jobs_end(database, tell):
    """A line of a job's timeline that ends nothing is no news, whatever state the job is in."""
    job = add_job(database, State.DELETED)
    endpoint(database)
    with database.write() as tx:
        transitions.orphan_deleted(tx, job, 5, actor=ACTOR, tag="nw:x.1")
    assert (tell(), told(database)) == (0, [])


# Who is told ---------------------------------------------------------------------------------------------------------


def test_only_its_tenant_is_told_and_only_what_it_asked_for(database, tell):
    """Each endpoint is told of its own tenant's fleets, of the kinds that it named; one number stands for one thing."""
    add_tenant(database, "other")
    everything, some = endpoint(database), endpoint(database, "fleet.settled")
    theirs = endpoint(database, tenant="other")
    fleet = add_fleet(database)
    run_up(database, booting(database, fleet))
    tell()
    assert kinds_of(told(database, everything)) == [(1, "job.running"), (2, "fleet.settled")]
    assert kinds_of(told(database, some)) == [(2, "fleet.settled")]
    assert told(database, theirs) == []


def test_what_happened_before_is_nobodys_news(database, tell):
    """An endpoint is told of what happens after it was made, not before; an older endpoint is told of both."""
    older = endpoint(database, "job.running")
    fleet = add_fleet(database)
    run_up(database, booting(database, fleet, 1))
    newer = endpoint(database, "job.running", "job.failed")
    run_up(database, booting(database, fleet, 2))
    tell()
    assert [len(told(database, one)) for one in (older, newer)] == [2, 1]


def test_a_disabled_endpoint_is_told_nothing(database, tell):
    """What happens while an endpoint is disabled is not told it, and not when it is enabled again either."""
    one = endpoint(database, "job.running")
    fleet = add_fleet(database)
    with database.write() as tx:
        webhooks.disable(tx, one, "x")
    run_up(database, booting(database, fleet, 1))
    with database.write() as tx:
        webhooks.enable(tx, one)
    run_up(database, booting(database, fleet, 2))
    tell()
    assert [found["data"]["job"]["position"] for found in told(database)] == [2]


def test_reading_begins_where_the_oldest_endpoint_does(database):
    """What happened before every endpoint is not even looked at, nor what is done already."""
    fleet = add_fleet(database)
    run_up(database, booting(database, fleet, 1))
    endpoint(database)
    with database.read() as tx:
        found, latest = news.endpoints(tx), webhooks.latest_event(tx)
    assert (news.start_of(found, 0), news.start_of(found, latest + 7)) == (latest, latest + 7)


# Once, and in numbers ------------------------------------------------------------------------------------------------


def test_telling_again_tells_nothing_new(database, tell):
    """After a crash everything may be read again: nothing is told twice, and no number is spent."""
    endpoint(database)
    fleet = add_fleet(database)
    run_up(database, booting(database, fleet))
    assert (tell(), tell.again(), tell.again()) == (2, 0, 0)
    with database.read() as tx:
        assert tx.execute(select(fleets.c.told)).scalar_one() == 2
    assert len(told(database)) == 2


def test_each_fleet_counts_for_itself(database, tell):
    """Sequence numbers are each fleet's own, from 1, without a gap."""
    endpoint(database)
    ids = [add_fleet(database, name=name) for name in ("a", "b")]
    for position in (1, 2, 3):
        for number, fleet in enumerate(ids):
            run_up(database, booting(database, fleet, position + 10 * number))
    tell()
    found = told(database)
    for fleet in ids:
        numbers = [one["data"]["sequence"] for one in found if one["data"]["fleet"]["id"] == fleet]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_fleet_settles_once_when_the_last_job_does(database, tell):
    """A fleet is told as settled after its last job, once, with its jobs counted, and again when it settles anew."""
    endpoint(database, "fleet.settled")
    fleet = add_fleet(database)
    first, second = booting(database, fleet, 1), booting(database, fleet, 2)
    run_up(database, first)
    assert tell() == 0
    lost = Reason("boot_timeout", "not up")
    act(database, transitions.lost, second, Event.BOOT_TIMED_OUT, lost)
    assert (tell(), tell.again()) == (1, 0)
    (settled,) = told(database)
    assert settled["data"]["fleet"]["states"] == {"failed": 1, "running": 1}
    act(database, transitions.retried, second)  # deletes its instance first
    act(database, transitions.gone, second)
    act(database, transitions.cancelled, second)
    assert (tell(), tell.again()) == (1, 0)
    assert told(database)[1]["data"]["fleet"]["states"] == {"cancelled": 1, "running": 1}


def test_a_fleet_that_is_read_in_parts_settles_once(database, tell):
    """Where the last events of a settled fleet are read one by one, it is told as settled once all the same."""
    endpoint(database, "fleet.settled")
    fleet = add_fleet(database)
    ids = [booting(database, fleet, position) for position in (1, 2, 3)]
    for one in ids:
        run_up(database, one)
    with database.read() as tx:
        events = tx.execute(select(job_events.c.id).order_by(job_events.c.id)).scalars().all()
    assert [tell(upto=one) for one in events] == [1, 0, 0]


def test_much_news_is_read_page_by_page(database, tell):
    """More news than fit a page are told in several, and none is left out."""
    endpoint(database, "job.running")
    fleet = add_fleet(database, count=250)
    for position in range(1, 251):
        booting(database, fleet, position)
    with database.write() as tx:
        found = transitions.select_records(tx, jobs.c.fleet_id == fleet)
        transitions.seen_running(tx, found, actor=ACTOR)
    assert [tell(), tell(), tell()] == [200, 50, 0]
    assert [one["data"]["sequence"] for one in told(database)] == list(range(1, 251))


def test_ids_that_become_visible_out_of_order(postgres_database):
    """An event whose lower id becomes visible after a higher one was told is told too, when its writer is done."""
    database, tell = postgres_database, Teller(postgres_database)
    endpoint(database, "job.running")
    fleet = add_fleet(database)
    slow, quick = booting(database, fleet, 1), booting(database, fleet, 2)
    moved, go_on = threading.Event(), threading.Event()

    def linger():
        with database.write() as tx:
            transitions.seen_running(tx, [read_in(tx, slow)], actor=ACTOR)
            moved.set()
            go_on.wait(30)

    writer = threading.Thread(target=linger)
    writer.start()
    assert moved.wait(30)
    run_up(database, quick)
    with database.read() as tx:
        latest = webhooks.latest_event(tx)
    assert tell() == 0  # the horizon waits for the writer
    cursor = tell.cursor
    assert tell(upto=latest) == 1  # what is seen is told all the same
    tell.cursor = cursor
    go_on.set()
    writer.join()
    assert [tell(), tell()] == [1, 0]
    assert [one["data"]["job"]["position"] for one in told(database)] == [2, 1]


def test_a_fleet_that_somebody_holds_is_not_waited_for(postgres_database):
    """Where another transaction holds the fleet, telling gives up at once and has enqueued nothing; later it can."""
    database, tell = postgres_database, Teller(postgres_database)
    endpoint(database)
    fleet = add_fleet(database)
    run_up(database, booting(database, fleet))
    with database.write() as tx:
        tx.execute(update(fleets).where(fleets.c.id == fleet).values(priority=1))
        with pytest.raises(FleetBusyError):
            tell(upto=webhooks.latest_event(tx))
        assert told(database) == []
    assert tell.again() == 2


def test_two_who_tell_at_once_tell_once(postgres_database):
    """Two workers that tell the same news at the same moment enqueue each once, under one number."""
    database = postgres_database
    endpoint(database)
    fleet = add_fleet(database)
    for position in range(1, 21):
        run_up(database, booting(database, fleet, position))
    tellers, barrier = [Teller(database) for _ in range(4)], threading.Barrier(4)

    def run(teller):
        barrier.wait()
        for _ in range(20):
            try:
                teller.again()
            except FleetBusyError:
                continue

    threads = [threading.Thread(target=run, args=(one,)) for one in tellers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["data"]["sequence"] for one in told(database)] == list(range(1, 22))


# Time to live --------------------------------------------------------------------------------------------------------


def soon(database):
    """Tell whose time to live is soon over; return how many messages were new."""
    with database.read() as tx:
        names = {one.tenant for one in news.endpoints(tx)}
        pieces = news.untold(tx, list(news.soon_over(news.expiring(tx, names=names), tx.now)))
    with database.write() as tx:
        return news.tell_soon(tx, pieces, Random(str(tx.now)))


@pytest.mark.parametrize(
    ("ttl", "lead"), [(600, 60), (6000, 600), (36_000, 3600), (864_000, 3600), (None, 0)]
)
def test_how_soon_is_soon(ttl, lead):
    """Soon is the last tenth of a time to live, and an hour at most."""
    assert news.soon_at(START, ttl) == START - timedelta(seconds=lead)


def test_an_end_is_announced_once_and_anew_when_it_moves(database, clock):
    """Nothing is said before it is soon; then once; and when the end is put off, once more before the new one."""
    endpoint(database)
    job = booting(database, add_fleet(database))
    set_job(database, job, ttl_seconds=6000, expires_at=clock.at(6000))
    clock.advance(5399)
    assert soon(database) == 0
    clock.advance(1)
    assert (soon(database), soon(database)) == (1, 0)
    set_job(database, job, expires_at=clock.at(1800))
    assert soon(database) == 0
    clock.advance(1200)
    assert soon(database) == 1
    found = told(database)
    assert kinds_of(found) == [(1, "instance.ttl_soon"), (2, "instance.ttl_soon")]
    assert found[0]["data"]["expires_at"] == "2026-03-01T13:40:00.000Z"
    assert found[0]["timestamp"] == "2026-03-01T13:30:00.000Z"
    assert found[0]["data"]["job"]["id"] == job


def test_no_announcement_of_what_is_over_or_gone(database, clock):
    """What is over, deleted, or was soon over before there was an endpoint is not announced."""
    fleet = add_fleet(database)
    early = booting(database, fleet, 1)
    set_job(database, early, ttl_seconds=6000, expires_at=clock.at(60))
    clock.advance(1)
    endpoint(database, "instance.ttl_soon")
    late, gone = booting(database, fleet, 2), booting(database, fleet, 3)
    set_job(database, late, ttl_seconds=6000, expires_at=clock.at(-1))
    set_job(database, gone, ttl_seconds=6000, expires_at=clock.at(600), state="deleting")
    assert soon(database) == 0


# Accounts ------------------------------------------------------------------------------------------------------------


def pause_news(database):
    """Tell of every pause; return the payloads, by account."""
    with database.write() as tx:
        news.tell_pauses(tx, news.pauses(tx).values(), Random(str(tx.now)))
    return sorted((one["data"]["account"]["id"], one["data"]["account"]["code"]) for one in told(database))


def test_a_paused_account_is_told_to_who_uses_it(database, clock):
    """A pause is told once to the tenants that may use the account, whether the API or a person made it, or all are."""
    move_in(database)
    add_tenant(database, "other")
    with database.write() as tx:
        row = {"id": "second", "epoch": 0, "faults": 0, "created_at": tx.now}
        tx.execute(insert(accounts), row)
        tenants.map_accounts(tx, "other", ("second",))
    endpoint(database)
    endpoint(database, "account.paused", tenant="other")
    clock.advance(60)
    with database.write() as tx:
        why = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": "Invalid Token"}
        tx.execute(update(accounts).where(accounts.c.id == "default").values(**why))
    expected = [("default", "unauthorized")]
    assert [pause_news(database), pause_news(database)] == [expected, expected]
    with database.write() as tx:
        tx.execute(update(accounts).where(accounts.c.id == "second").values(held_at=tx.now))
    assert pause_news(database) == [*expected, ("second", "paused")]
    clock.advance(1)
    with database.write() as tx:
        tx.execute(update(installation).values(held_at=tx.now))
    assert pause_news(database) == [("default", "paused"), *expected, *[("second", "paused")] * 2]
    (first,) = [one for one in told(database) if one["data"]["account"]["code"] == "unauthorized"]
    assert first["data"] == {
        "sequence": None,
        "account": {
            "id": "default",
            "code": "unauthorized",
            "reason": "Invalid Token",
            "since": "2026-03-01T12:01:00.000Z",
        },
    }


def test_a_second_pause_is_told_again(database, clock):
    """Each pause is told; one that began before there was an endpoint is not."""
    move_in(database)
    with database.write() as tx:
        tx.execute(update(accounts).values(held_at=tx.now))
    clock.advance(1)
    endpoint(database)
    assert pause_news(database) == []
    for _ in range(2):
        with database.write() as tx:
            tx.execute(update(accounts).values(held_at=tx.now))
        pause_news(database)
        clock.advance(60)
    assert len(told(database)) == 2


def test_no_secret_in_a_payload(database, tell):
    """What the request holds in secret stands in no payload."""
    move_in(database)
    endpoint(database)
    secret = "Str0ng-enough-password!"
    submit(database, {"count": 1, "root_pass": secret, "user_data": "topsecret"}, vault=VAULT)
    with database.read() as tx:
        job = tx.execute(select(jobs.c.id)).scalar_one()
    act(database, transitions.cancelled, job)
    tell()
    text = json.dumps(told(database))
    assert "job.cancelled" in text
    assert secret not in text
    assert "topsecret" not in text
    assert read_job(database, job).state is State.CANCELLED

import threading
from dataclasses import replace
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import event, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs import admission, house, transitions
from jobs import fleets as fleet_rows
from jobs.fleets import Guards, Trace
from jobs.records import accounts, fleets, job_events, jobs, tenants
from jobs.requests import InvalidRequest
from jobs.service import (
    AccountPaused,
    CatalogUnavailable,
    IdempotencyConflict,
    NotFound,
    SecretsRefused,
)
from jobs.states import Event, State
from jobs.transitions import InstanceFacts
from jobs.vault import Vault, new_key
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    NANODE_MICROUSD,
    PARTS,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    admit_in,
    catalog,
    fleet_request,
    job_columns,
    job_row,
    make_service,
    move_in,
    read_job,
    set_job,
    timeline,
)


def send(service, request=None, **options):
    """Submit a request as the default tenant."""
    return service.submit(request or fleet_request(), **{"tenant": TENANT, "actor": ACTOR, **options})


def counts(database):
    """Return how many fleets, jobs and events there are."""
    with database.read() as tx:
        return [
            tx.execute(select(func.count()).select_from(table)).scalar()
            for table in (fleets, jobs, job_events)
        ]


def guard(database, tenant=TENANT):
    """Return what a tenant's guard counts: instances and micro-dollars an hour."""
    with database.read() as tx:
        row = tx.execute(select(tenants).where(tenants.c.id == tenant)).one()
    return row.alive, row.hourly_microusd


def together(*acts):
    """Run acts in threads that start at the same moment; return their results or exceptions, in order."""
    barrier = threading.Barrier(len(acts))
    results = [None] * len(acts)

    def run(position, act):
        barrier.wait()
        try:
            results[position] = act()
        except Exception as error:  # noqa: BLE001 - the test judges it
            results[position] = error

    threads = [threading.Thread(target=run, args=(position, act)) for position, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


# A fleet becomes rows ------------------------------------------------------------------------------------------------


def test_a_fleet_becomes_rows(database, clock):
    """An accepted fleet is committed with its jobs in order, each with its first line, and the guard counts it."""
    woken = []
    service = make_service(database, notify=lambda: woken.append(1))
    done = send(
        service,
        fleet_request({"count": 2}, {"type": "g6-standard-2"}, priority=3, tags=["prod"]),
        trace=Trace("r1", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
    )
    assert done.fleet.states == {"queued": 3}
    assert (done.fleet.count, done.replayed, done.faults) == (3, False, ())
    assert (done.fleet.request_id, done.fleet.traceparent[:5]) == ("r1", "00-11")
    assert woken == [1]
    found = service.jobs(TENANT, fleet="web")
    assert [(job.position, job.label, job.type, job.hourly_microusd) for job in found] == [
        (1, "web-0001", "g6-nanode-1", 7_500),
        (2, "web-0002", "g6-nanode-1", 7_500),
        (3, "web-0003", "g6-standard-2", 36_000),
    ]
    assert [job.id for job in found] == sorted(job.id for job in found)
    row = job_columns(database, found[0].id)
    assert (row["priority"], row["counted"], row["submitted_at"], row["version"]) == (3, True, clock.now, 1)
    line = {"at": clock.now, "event": "validated", "state": "queued", "actor": ACTOR, "detail": None}
    assert timeline(database, found[2].id) == [line]
    assert guard(database) == (3, 51_000)
    with database.read() as tx:
        row = tx.execute(select(fleets)).one()
    assert (row.request_id, row.priority, row.groups[0]["tags"], row.sealed) == ("r1", 3, ["prod"], None)


def test_a_wrong_request_leaves_nothing(database):
    """A refused request stores no row, counts nothing and wakes nobody."""
    woken = []
    service = make_service(database, notify=lambda: woken.append(1))
    with pytest.raises(InvalidRequest) as caught:
        send(service, fleet_request({"count": 2}, {"region": "us-esat"}))
    assert [fault.code for fault in caught.value.faults] == ["unknown_region"]
    assert (counts(database), guard(database), woken) == ([0, 0, 0], (0, 0), [])


def test_a_big_fleet_with_a_wrong_part(database):
    """Of 5,000 jobs of three kinds the wrong kind is rejected with a code each; the others wait."""
    kinds = ({"count": 2000}, {"count": 1000, "type": "g6-nanno-1"}, {"count": 2000, "region": "eu-west"})
    done = send(make_service(database), fleet_request(*kinds, on_invalid="skip"))
    assert done.fleet.states == {"rejected": 1000, "queued": 4000}
    assert counts(database) == [1, 5000, 5000]
    with database.read() as tx:
        wrong = tx.execute(select(jobs).where(jobs.c.state == State.REJECTED.value)).all()
    assert {(row.error_code, row.counted, row.sends) for row in wrong} == {("unknown_type", False, 0)}
    assert all(row.ended_at and row.error_reason and "type" in row.error_field for row in wrong)
    line = timeline(database, wrong[0].id)[0]
    assert (line["event"], line["detail"]["code"]) == ("invalid", "unknown_type")
    assert guard(database) == (4000, 4000 * NANODE_MICROUSD)
    assert {fault.code for fault in done.faults} == {"unknown_type"}


def test_a_failure_half_way_leaves_nothing(database):
    """Fleet, jobs, events and the guard are one transaction: what breaks in its middle breaks all of it."""
    move_in(database)
    add_job(database, State.QUEUED, label="web-0002")
    before = (counts(database), guard(database))
    request = fleet_request({"count": 3})
    service = make_service(database)
    draft = service._draft(
        request, [["web-0001", "web-0002", "web-0003"]], None, catalog(), TENANT, ACTOR, str(uuid4()), Trace()
    )
    draft = replace(draft, homes=[ACCOUNT] * 3, pins=[False])
    with pytest.raises(IntegrityError), database.write() as tx:
        fleet_rows.insert_fleet(tx, draft, guards=Guards(), dice=Random(1))
    assert (counts(database), guard(database)) == before


def test_without_a_catalog(database):
    """Nothing can be validated before the first catalog: submit says so, accept keeps the jobs as submitted."""
    service = make_service(database, catalogs=lambda _account: None)
    with pytest.raises(CatalogUnavailable):
        send(service)
    done = service.accept(fleet_request({"count": 2}), fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    assert done.fleet.states == {"submitted": 2}
    assert guard(database) == (2, 0)
    assert counts(database) == [1, 2, 2]


def test_the_first_catalog_settles_what_waited(database):
    """Once a catalog is read, waiting jobs are queued at its price or rejected, and the guard learns both."""
    service = make_service(database, catalogs=lambda _account: None)
    request = fleet_request({"count": 2}, {"type": "g6-gone-1"}, {"region": "eu-west"})
    done = service.accept(request, fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    intake = {"account_id": ACCOUNT, "actor": ACTOR, "guards": Guards()}
    with database.write() as tx:
        assert fleet_rows.validate_submitted(tx, catalog(), **intake) == 4
        assert fleet_rows.validate_submitted(tx, catalog(), **intake) == 0
    assert service.fleet(done.fleet.id, TENANT).states == {"rejected": 1, "queued": 3}
    with database.write() as tx:
        fleet_rows.release(tx, TENANT)
    assert guard(database) == (3, 3 * NANODE_MICROUSD)


def test_accept_takes_wrong_jobs_but_no_secrets(database):
    """What comes by Celery may be partly wrong, as nobody waits; it may carry no secret."""
    service = make_service(database, vault=Vault([new_key()]))
    with pytest.raises(SecretsRefused):
        service.accept(fleet_request({"user_data": "x"}), fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    request = fleet_request({}, {"type": "g6-gone-1"})
    done = service.accept(request, fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    assert done.fleet.states == {"rejected": 1, "queued": 1}


def test_secrets_need_a_key_and_are_sealed(database):
    """Without an encryption key secrets are refused; with one the row holds ciphertext only."""
    request = fleet_request({"user_data": "#cloud-config s3cr3t", "root_pass": "Str0ng-enough-password!"})
    with pytest.raises(SecretsRefused, match="NODEWRIGHT_ENCRYPTION_KEYS"):
        send(make_service(database), request)
    vault = Vault([new_key()])
    done = send(make_service(database, vault=vault), request)
    with database.read() as tx:
        row = tx.execute(select(fleets)).one()
        group, sealed, erased = fleet_rows.load_group(tx, done.fleet.id, 0)
    assert vault.open(sealed)["0"]["root_pass"] == "Str0ng-enough-password!"
    assert not erased
    assert "s3cr3t" not in repr(row) + repr(group)


def test_a_token_that_is_not_accepted(database):
    """While the token is refused by the API nobody waits in vain: submit says why."""
    move_in(database)
    with database.write() as tx:
        tx.execute(
            update(accounts).values(
                paused_at=tx.now, paused_code="unauthorized", paused_reason="Invalid Token"
            )
        )
        assert house.paused(tx, ACCOUNT) == ("unauthorized", "Invalid Token")
    with pytest.raises(AccountPaused) as caught:
        send(make_service(database))
    assert (caught.value.code, caught.value.reason) == ("unauthorized", "Invalid Token")
    with database.write() as tx:
        tx.execute(update(accounts).values(paused_code="account_limit"))
    assert send(make_service(database)).fleet.count == 1


# Again, and at the same time -----------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_fleet(database):
    """A second send with its key returns the first one's fleet; with another body it is a conflict."""
    service = make_service(database)
    first = send(service, idempotency_key="k")
    again = send(service, idempotency_key="k")
    assert (again.fleet.id, again.replayed) == (first.fleet.id, True)
    with pytest.raises(IdempotencyConflict):
        send(service, fleet_request({"count": 2}), idempotency_key="k")
    assert counts(database) == [1, 1, 1]


def test_another_password_is_another_request(database):
    """The secrets take part in what a key stands for."""
    service = make_service(database, vault=Vault([new_key()]))
    first = fleet_request({"root_pass": "Str0ng-enough-password!"})
    send(service, first, idempotency_key="k")
    assert send(service, first, idempotency_key="k").replayed
    with pytest.raises(IdempotencyConflict):
        send(service, fleet_request({"root_pass": "An0ther-strong-password!"}), idempotency_key="k")


def test_keys_belong_to_tenants(database):
    """Two tenants may use the same key; a fleet id of another tenant is a conflict that shows nothing."""
    add_tenant(database, "other")
    service = make_service(database)
    mine = send(service, idempotency_key="k")
    yours = send(service, fleet_request(name="yours"), idempotency_key="k", tenant="other")
    assert mine.fleet.id != yours.fleet.id
    with pytest.raises(IdempotencyConflict):
        send(service, fleet_request(), fleet_id=mine.fleet.id, tenant="other")


@pytest.mark.parametrize("spell", [str, str.upper, lambda text: text.replace("-", ""), "{{{}}}".format])
def test_a_chosen_id_is_the_same_however_it_is_spelt(database, spell):
    """A fleet id that a client chose replays in any spelling of a UUID."""
    chosen = str(uuid4())
    service = make_service(database)
    first = send(service, fleet_id=spell(chosen))
    assert first.fleet.id == chosen
    assert send(service, fleet_id=chosen).replayed
    assert send(service, fleet_id=spell(chosen)).fleet.id == chosen
    assert counts(database) == [1, 1, 1]
    assert service.fleet(chosen.upper(), TENANT).id == chosen


@pytest.mark.parametrize("chosen", ["", "web", "0" * 31, "\x00"])
def test_a_chosen_id_must_be_one(database, chosen):
    """Anything else than a UUID is refused: without a fleet id a message that comes twice would be two fleets."""
    service = make_service(database)
    with pytest.raises(ValueError, match="expected a UUID as fleet id"):
        service.accept(fleet_request(), fleet_id=chosen, tenant=TENANT, actor=ACTOR)
    with pytest.raises(ValueError, match="expected a UUID as fleet id"):
        send(service, fleet_id=chosen)
    assert counts(database) == [0, 0, 0]


def test_two_sends_with_one_key_at_once(database):
    """Of two simultaneous sends with one key one stores the fleet, and both return it."""
    services = [make_service(database, dice=Random(seed)) for seed in range(4)]
    done = together(*(lambda service=service: send(service, idempotency_key="k") for service in services))
    assert len({submission.fleet.id for submission in done}) == 1
    assert sorted(submission.replayed for submission in done) == [False, True, True, True]
    assert counts(database) == [1, 1, 1]
    assert guard(database)[0] == 1


@pytest.mark.parametrize("guards", [Guards(), Guards(max_instances=1)])
def test_a_send_that_is_overtaken_by_itself(database, guards):
    """A send whose twin is stored between its look and its own check returns the twin, not a fault about its labels."""

    def catalogs(_account):
        if twin:
            done.append(send(twin.pop(), idempotency_key="k", fleet_id=chosen))
        return catalog()

    chosen, done = str(uuid4()), []
    twin = [make_service(database, guards=guards, dice=Random(1))]
    late = make_service(database, guards=guards, catalogs=catalogs, dice=Random(2))
    assert send(late, idempotency_key="k", fleet_id=chosen).replayed
    assert not done[0].replayed
    with pytest.raises(InvalidRequest):
        send(make_service(database, guards=guards), idempotency_key="another")
    assert counts(database) == [1, 1, 1]


def test_two_fleets_with_one_label_at_once(database):
    """Of two simultaneous fleets that want one label one gets it; the other is told which, and leaves nothing."""
    services = [make_service(database, dice=Random(seed)) for seed in range(2)]
    wanted = [fleet_request({"label_pattern": "same-{index}"}, name=name) for name in ("one", "other")]
    pairs = zip(services, wanted, strict=True)
    done = together(*(lambda service=service, one=one: send(service, one) for service, one in pairs))
    refused = [one for one in done if isinstance(one, InvalidRequest)]
    assert len(refused) == 1, done
    assert [fault.code for fault in refused[0].faults] == ["label_taken"]
    assert counts(database) == [1, 1, 1]
    assert guard(database)[0] == 1


def test_a_label_is_free_again_after_its_end(database):
    """A cancelled job's label can be asked for again; a failed one's with an instance cannot."""
    service = make_service(database)
    send(service, fleet_request({"count": 2}))
    service.cancel("web", TENANT, actor=ACTOR)
    again = send(service, fleet_request({"count": 2}))
    assert again.fleet.states == {"queued": 2}
    first, second = service.jobs(TENANT, fleet=again.fleet.id)
    set_job(database, first.id, state="failed", error_code="boot_timeout", linode_id=7)
    set_job(database, second.id, state="failed", error_code="no_capacity")
    with pytest.raises(InvalidRequest) as caught:
        send(service, fleet_request({"count": 2}, on_existing="new"))
    assert [fault.code for fault in caught.value.faults] == ["label_taken"]
    assert "web-0001" in str(caught.value)


# A name that is in use -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [None, "other-{index}"])
def test_a_name_in_use_is_refused(database, pattern):
    """While a fleet has instances, or may get some, its name refuses a submit; it says what there is, what to do."""
    service = make_service(database)
    first = send(service, fleet_request({"count": 2}), idempotency_key="k")
    group = {"count": 3} | ({"label_pattern": pattern} if pattern else {})
    with pytest.raises(InvalidRequest) as caught:
        send(service, fleet_request(group))
    (fault,) = caught.value.faults
    assert (fault.code, fault.pointer, fault.value) == ("fleet_exists", "/name", "web")
    assert first.fleet.id in fault.message
    assert "2 instances" in fault.message
    assert "--to 5" in fault.remedy
    assert counts(database) == [1, 2, 2]
    assert send(service, fleet_request({"count": 2}), idempotency_key="k").replayed
    service.cancel("web", TENANT, actor=ACTOR)
    assert send(service, fleet_request(group)).fleet.states == {"queued": 3}


def test_a_second_fleet_of_the_name_may_be_wanted(database):
    """With `on_existing: new` a name in use is no matter, as long as the labels are free."""
    service = make_service(database)
    first = send(service).fleet
    second = send(service, fleet_request({"label_pattern": "more-{index}"}, on_existing="new")).fleet
    assert first.id != second.id
    assert service.fleet("web", TENANT).id == second.id


def test_a_name_in_use_is_the_tenants_own_matter(database):
    """Another tenant's fleet of the same name refuses nothing."""
    add_tenant(database, "other")
    service = make_service(database)
    send(service)
    group = {"label_pattern": "theirs-{index}"}
    assert send(service, fleet_request(group), tenant="other").fleet.name == "web"


def test_two_submits_of_one_name_at_once(database):
    """Of two simultaneous submits of one name one is accepted, the other refused, whatever their labels."""
    services = [make_service(database, dice=Random(seed)) for seed in range(2)]
    wanted = [fleet_request({"label_pattern": pattern}) for pattern in ("a-{index}", "b-{index}")]
    pairs = zip(services, wanted, strict=True)
    done = together(*(lambda service=service, one=one: send(service, one) for service, one in pairs))
    refused = [one for one in done if isinstance(one, InvalidRequest)]
    assert [fault.code for one in refused for fault in one.faults] == ["fleet_exists"], done
    assert counts(database) == [1, 1, 1]


def test_a_fleet_that_is_being_deleted_is_still_there(database):
    """While the last instances of a fleet are being deleted its name is in use, and the answer says to wait."""
    add_job(database, State.DELETING, fleet_id=add_fleet(database, name="web"))
    with pytest.raises(InvalidRequest, match="wait until they are gone"):
        send(make_service(database))


# The tenant's guards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        (Guards(max_instances=4), "3 instances are more than the 2 left of 4"),
        (Guards(max_hourly_microusd=30_000), r"\$0.0225 an hour are more than the \$0.015 left of \$0.03"),
    ],
)
def test_over_a_guard(database, guards, words):
    """What would exceed a guard is refused as a whole, and told how much is left; what fits goes through."""
    service = make_service(database, guards=guards)
    send(service, fleet_request({"count": 2}))
    with pytest.raises(InvalidRequest, match=words) as caught:
        send(service, fleet_request({"count": 3}, name="more"))
    assert [fault.code for fault in caught.value.faults] == ["quota_exceeded"]
    assert guard(database)[0] == 2
    send(service, fleet_request({"count": 2}, name="more"))
    assert guard(database) == (4, 4 * NANODE_MICROUSD)


def test_a_tenants_own_guard_goes_first(database):
    """A tenant's row may allow less, or more, than the setting."""
    add_tenant(database, "small", max_instances=1)
    add_tenant(database, "large", max_instances=5, max_hourly_microusd=10**9)
    service = make_service(database, guards=Guards(max_instances=2, max_hourly_microusd=8_000))
    with pytest.raises(InvalidRequest):
        send(service, fleet_request({"count": 2}), tenant="small")
    assert send(service, fleet_request({"count": 5}), tenant="large").fleet.count == 5


def test_rejected_jobs_do_not_count(database):
    """Only what may become an instance counts against a guard."""
    service = make_service(database, guards=Guards(max_instances=2))
    done = send(service, fleet_request({"count": 2}, {"count": 9, "type": "g6-gone-1"}, on_invalid="skip"))
    assert done.fleet.states == {"rejected": 9, "queued": 2}


def test_what_ended_without_an_instance_is_free_again(database):
    """Cancelled, rejected and deleted jobs, and failed ones without an instance, stop counting at the next submit."""
    service = make_service(database, guards=Guards(max_instances=6))
    send(service, fleet_request({"count": 6}))
    first, second, third, fourth, fifth, _ = service.jobs(TENANT, fleet="web")
    set_job(database, first.id, state="failed", error_code="no_capacity")
    set_job(database, second.id, state="failed", error_code="boot_timeout", linode_id=1)
    set_job(database, third.id, state="deleted", linode_id=2)
    set_job(database, fourth.id, state="cancelled")
    set_job(database, fifth.id, state="running", linode_id=3)
    with pytest.raises(InvalidRequest, match="3 left of 6"):
        send(service, fleet_request({"count": 4}, name="more"))
    send(service, fleet_request({"count": 3}, name="more"))
    assert guard(database) == (6, 6 * NANODE_MICROUSD)


def test_the_guard_never_falls_below_nothing(database):
    """Should the count have been lost, releasing more than it holds leaves it at zero, not in an error."""
    service = make_service(database)
    send(service, fleet_request({"count": 2}))
    with database.write() as tx:
        tx.execute(update(tenants).values(alive=0, hourly_microusd=0))
    service.cancel("web", TENANT, actor=ACTOR)
    with database.write() as tx:
        fleet_rows.release(tx, TENANT)
    assert guard(database) == (0, 0)


def test_twenty_submits_race_for_one_guard(database):
    """However many submits race, the guard holds exactly, and each loser is told what was left."""
    guards = Guards(max_instances=10, max_hourly_microusd=10**9)

    def act(number):
        service = make_service(database, guards=guards, dice=Random(number))
        return lambda: send(service, fleet_request({"count": 3}, name=f"f{number}"))

    done = together(*(act(number) for number in range(20)))
    won = [one for one in done if not isinstance(one, Exception)]
    lost = [one for one in done if isinstance(one, InvalidRequest)]
    assert (len(won), len(lost)) == (3, 17), [one for one in done if isinstance(one, Exception)]
    assert {fault.code for one in lost for fault in one.faults} == {"quota_exceeded"}
    assert guard(database)[0] == 9


def test_submits_cancels_and_admissions_do_not_block_each_other(database):
    """Submit, cancel and admission of the same fleets in many threads all end, without a deadlock."""
    move_in(database)
    service = make_service(database)
    names = [f"f{number}" for number in range(4)]
    for name in names:
        send(make_service(database, dice=Random(name)), fleet_request({"count": 60}, name=name))

    def admit_some(seed):
        def act():
            for _ in range(10):
                with database.write() as tx:
                    tx.execute(update(accounts).values(probe_at=None, faults=0))
                from_window(database)
            return seed

        return act

    acts = [lambda name=name: service.cancel(name, TENANT, actor=ACTOR) for name in names]
    acts += [admit_some(seed) for seed in range(3)]
    acts += [
        lambda n=n: send(make_service(database, dice=Random(n)), fleet_request({"count": 5}, name=f"g{n}"))
        for n in range(3)
    ]
    done = together(*acts)
    assert not [one for one in done if isinstance(one, Exception) or one is None], done
    assert sum(cancelled.cancelled for cancelled in done[:4]) == 240


def from_window(database):
    """Admit a few jobs, then open the window and give them back, so that the next turn has some again."""
    with database.write() as tx:
        done = admit_in(tx, most=5)
        granted = [transitions.load(tx, job_id) for job_id in done.granted]
    for job in granted:
        with database.write() as tx:
            admission.open_window(tx, job)
            transitions.given_back(tx, job, "test", actor=ACTOR)


# Cancel --------------------------------------------------------------------------------------------------------------


def test_cancel_ends_what_waits_and_notes_what_is_under_way(database):
    """Waiting jobs end at once, creates and doubts are noted, what boots or runs stays; a second cancel finds none."""
    service = make_service(database)
    done = send(service, fleet_request({"count": 9}))
    ids = [job.id for job in service.jobs(TENANT, fleet="web")]
    with database.read() as tx:
        now = tx.now
    set_job(database, ids[1], state="dispatched", lease_until=now)
    set_job(database, ids[2], state="creating", lease_until=now)
    set_job(database, ids[3], state="uncertain", last_unknown_at=now)
    set_job(database, ids[4], state="queued", last_unknown_at=now)
    set_job(database, ids[5], state="booting", linode_id=1)
    set_job(database, ids[6], state="running", linode_id=2)
    set_job(database, ids[7], state="failed", error_code="no_capacity")
    set_job(database, ids[8], state="submitted")
    result = service.cancel("web", TENANT, actor="ann")
    assert (result.cancelled, result.noted) == (3, 3)
    states = [read_job(database, job_id).state for job_id in ids]
    assert states == [
        State.CANCELLED,
        State.CANCELLED,
        State.CREATING,
        State.UNCERTAIN,
        State.UNCERTAIN,
        State.BOOTING,
        State.RUNNING,
        State.FAILED,
        State.CANCELLED,
    ]
    assert [read_job(database, job_id).ending for job_id in ids[2:5]] == ["cancel"] * 3
    assert timeline(database, ids[4])[-1]["event"] == Event.CANCEL_NOTED
    assert timeline(database, ids[0])[-1]["actor"] == "ann"
    again = service.cancel(done.fleet.id, TENANT, actor=ACTOR)
    assert (again.cancelled, again.noted) == (0, 0)
    with pytest.raises(NotFound):
        service.cancel("nobody", TENANT, actor=ACTOR)


def test_a_cancel_under_way_ends_in_a_delete(database):
    """A create that was cancelled meanwhile leads its instance straight to its deletion."""
    job = add_job(database, State.CREATING)
    make_service(database).cancel("made", TENANT, actor=ACTOR)
    with database.write() as tx:
        assert transitions.owned(tx, job, InstanceFacts(5), actor=ACTOR, proof="our own 200") is None
        now = transitions.load(tx, job.id)
        moved = transitions.owned(tx, now, InstanceFacts(5), actor=ACTOR, proof="our own 200")
    assert (moved.state, moved.linode_id) == (State.DELETING, 5)


def test_a_cancel_of_many(database):
    """A fleet larger than one transaction's share is cancelled whole, in a few statements for each share."""
    service = make_service(database)
    send(service, fleet_request({"count": 1100}))
    executed = []
    event.listen(database.engine, "before_cursor_execute", lambda *_: executed.append(1))
    assert service.cancel("web", TENANT, actor=ACTOR).cancelled == 1100
    assert len(executed) < 40
    assert service.fleet("web", TENANT).states == {"cancelled": 1100}


# Secrets are forgotten -----------------------------------------------------------------------------------------------


def test_secrets_are_erased_once_nothing_needs_them(database):
    """A fleet's secrets stay while any of its jobs may still be created, and go with the last one."""
    vault = Vault([new_key()])
    fleet = add_fleet(database, sealed=vault.seal({"0": {"user_data": "x"}}))
    rows = [
        job_row(database, fleet, state, position=number, linode_id=number if state is State.RUNNING else None)
        for number, state in enumerate([State.RUNNING, State.FAILED, State.UNCERTAIN], start=1)
    ]
    columns = set().union(*rows)
    with database.write() as tx:
        tx.execute(insert(jobs), [{name: row.get(name) for name in columns} for row in rows])
        assert not fleet_rows.keeps_secrets(tx)
        assert fleet_rows.erase_secrets(tx) == 0
    set_job(database, rows[2]["id"], state="cancelled")
    with database.write() as tx:
        assert fleet_rows.keeps_secrets(tx)
        assert fleet_rows.erase_secrets(tx) == 1
        assert not fleet_rows.keeps_secrets(tx)
        assert fleet_rows.load_group(tx, fleet, 0)[1:] == (None, True)


# Catalogs ------------------------------------------------------------------------------------------------------------


def test_catalogs_are_kept(database, clock):
    """The last good copy comes back as it was stored, with the version of its content; a new one replaces it."""
    with database.write() as tx:
        assert house.load_catalog(tx, ACCOUNT) is None
        assert house.catalog_version(tx, ACCOUNT) is None
        version = house.store_catalogs(tx, ACCOUNT, PARTS)
    clock.advance(60)
    with database.write() as tx:
        kept = house.load_catalog(tx, ACCOUNT)
        assert (kept.version, house.catalog_version(tx, ACCOUNT)) == (version, version)
        assert kept.types == catalog().types
        assert kept.fetched_at == clock.at(-60)
        assert house.store_catalogs(tx, ACCOUNT, PARTS) == version
        assert house.store_catalogs(tx, ACCOUNT, {**PARTS, "images": []}) != version
        assert house.load_catalog(tx, ACCOUNT).fetched_at == clock.now
        assert house.load_catalog(tx, "another") is None


def test_boot_times_and_doubts_are_remembered(database):
    """What an account taught is read back."""
    move_in(database)
    with database.write() as tx:
        assert (house.boot_seconds(tx, ACCOUNT), house.unknown_at(tx, ACCOUNT)) == (None, None)
        house.learn_boot_seconds(tx, ACCOUNT, 41.5)
        assert house.boot_seconds(tx, ACCOUNT) == 41.5

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import select, update

from jobs import fleets as fleet_rows
from jobs import transitions
from jobs.fleets import Guards
from jobs.listing import JobFilter
from jobs.records import fleets, jobs, tenants
from jobs.regiven import read_given
from jobs.requests import InvalidRequest
from jobs.retrying import Deadline, Wishes
from jobs.service import NotFound, SecretsRefused
from jobs.states import State
from jobs.vault import Vault, new_key
from tests.support.fleets import (
    ACTOR,
    NANODE_MICROUSD,
    TENANT,
    add_tenant,
    catalog,
    fleet_request,
    job_columns,
    make_service,
    read_job,
    set_job,
    timeline,
)

PASSWORD = "Gl4di0lus+Kn1fe/7"
DATA = "#cloud-config\npackages: [nginx]\n"


def retry(service, ref="web", **options):
    """Retry as the default tenant."""
    return service.retry(ref, TENANT, actor="person", **options)


def failed(database, service, count=2, code="no_capacity", **columns):
    """Submit a fleet whose jobs all fail; return their ids, by position."""
    service.submit(fleet_request({"count": count}), tenant=TENANT, actor=ACTOR)
    ids = [job.id for job in service.jobs(TENANT, fleet="web")]
    for job_id in ids:
        fail(database, job_id, code, **columns)
    return ids


def fail(database, job_id, code="no_capacity", **columns):
    """Let a job have failed."""
    set_job(database, job_id, state="failed", error_code=code, error_reason="no", sends=1, **columns)


def guard(database):
    """Return what the tenant's guard counts."""
    with database.write() as tx:
        fleet_rows.release(tx, TENANT)
        row = tx.execute(select(tenants).where(tenants.c.id == TENANT)).one()
    return row.alive, row.hourly_microusd


def set_fleet(database, **columns):
    """Overwrite columns of every fleet."""
    with database.write() as tx:
        tx.execute(update(fleets).values(**columns))


def fleet_row(database):
    """Return the only fleet's row."""
    with database.read() as tx:
        return tx.execute(select(fleets)).one()


def erase(database):
    """Let the chore erase what no job needs."""
    with database.write() as tx:
        return fleet_rows.erase_secrets(tx)


# Which jobs ----------------------------------------------------------------------------------------------------------


def test_the_failed_ones_are_retried(database):
    """A retry of a fleet queues its failed jobs in a new attempt; what runs or waits is not touched."""
    woken = []
    service = make_service(database, notify=lambda: woken.append(1))
    ids = failed(database, service, 3, tries=7)
    set_job(database, ids[1], state="running", linode_id=5, error_code=None)
    woken.clear()
    done = retry(service)
    assert (done.queued, done.deleting, done.refused, woken) == (2, 0, (), [1])
    states = [read_job(database, one).state for one in ids]
    assert states == [State.QUEUED, State.RUNNING, State.QUEUED]
    first = job_columns(database, ids[0])
    assert (first["attempt"], first["tries"], first["error_code"], first["counted"]) == (2, 0, None, True)
    line = timeline(database, ids[0])[-1]
    assert (line["event"], line["actor"]) == ("retried", "person")
    assert retry(service).queued == 0


def test_an_instance_is_deleted_before_the_next_attempt(database):
    """A failed job with an instance has it deleted first, is still counted, and waits again once that is gone."""
    service = make_service(database)
    (job_id,) = failed(database, service, 1, "boot_timeout", linode_id=7)
    assert guard(database) == (1, NANODE_MICROUSD)
    done = retry(service)
    assert (done.queued, done.deleting) == (0, 1)
    job = read_job(database, job_id)
    assert (job.state, job.afterwards, job.attempt) == (State.DELETING, "retry", 1)
    with database.write() as tx:
        transitions.gone(tx, job, actor=ACTOR)
    job = read_job(database, job_id)
    assert (job.state, job.attempt, job.linode_id) == (State.QUEUED, 2, None)
    assert guard(database) == (1, NANODE_MICROUSD)


def test_a_part_is_retried(database):
    """Filters and ids narrow a retry, alone and together."""
    service = make_service(database)
    ids = failed(database, service, 4)
    fail(database, ids[3], "boot_timeout")
    assert retry(service, where=JobFilter(error_code="boot_timeout")).queued == 1
    assert retry(service, ids=(ids[0],)).queued == 1
    assert retry(service, ids=(ids[1],), where=JobFilter(label="web-0003")).queued == 0
    assert [read_job(database, one).attempt for one in ids] == [2, 1, 1, 2]


@pytest.mark.parametrize(
    ("state", "columns", "words", "remedy"),
    [
        (State.RUNNING, {"linode_id": 7}, "it is running", "goes on by itself"),
        (State.QUEUED, {}, "it is queued", "goes on by itself"),
        (
            State.REJECTED,
            {"error_code": "unknown_type", "counted": False},
            "it is rejected",
            "submit it again",
        ),
        (State.CANCELLED, {"counted": False}, "it is cancelled", "submit it again"),
        (State.DELETING, {"linode_id": 7}, "it is deleting", "wait"),
    ],
)
def test_what_did_not_fail_is_refused_by_name(database, state, columns, words, remedy):
    """A job that is named and did not fail is left alone, and the answer says why; the others are retried."""
    service = make_service(database)
    ids = failed(database, service)
    set_job(database, ids[0], **{"state": state.value, "error_code": None, **columns})
    before = job_columns(database, ids[0])
    done = retry(service, ids=tuple(ids))
    (refused,) = done.refused
    assert (done.queued, refused.job_id, refused.code, refused.label) == (1, ids[0], "not_failed", "web-0001")
    assert words in refused.message
    assert remedy in refused.remedy
    assert job_columns(database, ids[0]) == before


def test_unknown_jobs(database):
    """An id of no job, of another fleet or of another tenant is not found, and nothing is done for the others."""
    service = make_service(database)
    (job_id,) = failed(database, service, 1)
    add_tenant(database, "other")
    theirs = service.submit(fleet_request({"label_pattern": "x-{index}"}), tenant="other", actor=ACTOR)
    (their,) = service.jobs("other", fleet=theirs.fleet.id)
    mine = service.submit(fleet_request(name="mine"), tenant=TENANT, actor=ACTOR).fleet
    (other,) = service.jobs(TENANT, fleet=mine.id)
    for unknown in ("018f0000-0000-7000-8000-000000000000", their.id, other.id):
        with pytest.raises(NotFound, match=unknown):
            retry(service, ids=(job_id, unknown))
    with pytest.raises(NotFound):
        retry(service, theirs.fleet.id)
    assert read_job(database, job_id).attempt == 1


def test_a_dry_run_changes_nothing(database):
    """A dry run answers what would be done, and does not do it."""
    service = make_service(database)
    ids = failed(database, service)
    set_job(database, ids[1], linode_id=7, error_code="boot_timeout")
    before = [job_columns(database, one) for one in ids]
    done = retry(service, wishes=Wishes(dry_run=True))
    assert (done.queued, done.deleting, done.dry_run) == (1, 1, True)
    assert [job_columns(database, one) for one in ids] == before


# What refuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        (Guards(max_instances=4), "2 instances are more than the 1 left of 4"),
        (Guards(max_hourly_microusd=4 * NANODE_MICROUSD), r"\$0.015 an hour are more than the \$0.0075 left"),
    ],
)
def test_a_guard_refuses_the_whole_retry(database, guards, words):
    """The guard must hold them again: where it cannot, nothing is retried, and the answer says how much is left."""
    service = make_service(database)
    ids = failed(database, service)
    service.submit(fleet_request({"count": 3}, name="more"), tenant=TENANT, actor=ACTOR)
    before = guard(database)
    with pytest.raises(InvalidRequest, match=words) as caught:
        retry(make_service(database, guards=guards))
    assert {fault.code for fault in caught.value.faults} == {"quota_exceeded"}
    assert (guard(database), [read_job(database, one).attempt for one in ids]) == (before, [1, 1])


def test_the_guard_counts_what_is_retried(database):
    """What is retried counts again, each once, and at today's price."""
    service = make_service(database)
    failed(database, service, 3)
    assert guard(database) == (0, 0)
    dear = catalog(
        types=[{"id": "g6-nanode-1", "class": "nanode", "price": {"hourly": 0.01, "monthly": 5.0}}]
    )
    retry(make_service(database, catalogs=lambda _account: dear))
    assert guard(database) == (3, 30_000)


def test_a_label_that_another_job_has_by_now(database):
    """A job whose label was taken meanwhile is refused, by name; the others are retried."""
    service = make_service(database)
    ids = failed(database, service)
    pattern = {"label_pattern": "web-{index:04d}"}
    service.submit(fleet_request(pattern, name="next"), tenant=TENANT, actor=ACTOR)
    done = retry(service)
    assert (done.queued, [(one.job_id, one.code) for one in done.refused]) == (1, [(ids[0], "label_taken")])


def test_two_failed_jobs_with_one_label(database):
    """Of two failed jobs of a fleet that have one label, one at most gets a new attempt."""
    service = make_service(database)
    ids = failed(database, service)
    set_job(database, ids[1], label="web-0001")
    done = retry(service)
    assert (done.queued, [one.code for one in done.refused]) == (1, ["label_taken"])


def test_the_catalog_must_still_allow_it(database):
    """What the catalog does not offer any more is refused as a submit would be, with its code and what to do."""
    service = make_service(database)
    failed(database, service)
    poor = catalog(types=[{"id": "g6-standard-2", "class": "standard"}])
    done = retry(make_service(database, catalogs=lambda _account: poor))
    assert (done.queued, {one.code for one in done.refused}) == (0, {"unknown_type"})
    assert all("choose" in one.remedy for one in done.refused)


def test_a_retry_begins_with_the_first_alternative(database):
    """A job that fell back begins anew with the first alternative, at its price; the dearest one is reserved."""
    service = make_service(database)
    types = ["g6-nanode-1", "g6-standard-2"]
    service.submit(fleet_request({"type": types}), tenant=TENANT, actor=ACTOR)
    (job,) = service.jobs(TENANT, fleet="web")
    fail(database, job.id, choice=1, type="g6-standard-2", hourly_microusd=36_000)
    retry(service)
    row = job_columns(database, job.id)
    assert (row["choice"], row["type"], row["hourly_microusd"]) == (0, "g6-nanode-1", NANODE_MICROUSD)
    assert row["reserved_microusd"] == 36_000
    assert guard(database) == (1, 36_000)


def test_a_stop_is_lifted(database, clock):
    """A retry lifts the stop by the fleet's own policy; one that retries nothing leaves it."""
    service = make_service(database)
    ids = failed(database, service, 2, "stopped_by_policy")
    set_fleet(database, stopped_at=clock.now, stop_reason="5 failed")
    retry(service, where=JobFilter(label="no-such"))
    assert fleet_row(database).stopped_at is not None
    assert retry(service, ids=(ids[0],)).queued == 1
    row = fleet_row(database)
    assert (row.stopped_at, row.stop_reason) == (None, None)


def test_a_passed_deadline_must_be_given_anew(database, clock):
    """Behind its deadline a fleet is retried only with a new one, or with none."""
    service = make_service(database)
    ids = failed(database, service)
    fail(database, ids[1], "deadline_exceeded")
    done = retry(service)
    assert (done.queued, [one.code for one in done.refused]) == (1, ["deadline_exceeded"])
    fail(database, ids[0])
    set_fleet(database, deadline_at=clock.now)
    assert [one.code for one in retry(service).refused] == ["deadline_exceeded"] * 2
    with pytest.raises(InvalidRequest, match="has passed"):
        retry(service, wishes=Wishes(deadline=Deadline(clock.now)))
    later = clock.now + timedelta(hours=1)
    assert retry(service, ids=(ids[0],), wishes=Wishes(deadline=Deadline(later))).queued == 1
    assert fleet_row(database).deadline_at == later
    assert retry(service, wishes=Wishes(deadline=Deadline(None))).queued == 1
    assert fleet_row(database).deadline_at is None


# Secrets -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secretive(database):
    """A service with a key, and a fleet of three groups (two with secrets) whose jobs failed and whose secrets went."""
    service = make_service(database, vault=Vault([new_key()]))
    groups = [{"root_pass": PASSWORD, "user_data": DATA}, {"user_data": DATA}, {}]
    service.submit(fleet_request(*groups), tenant=TENANT, actor=ACTOR)
    ids = [job.id for job in service.jobs(TENANT, fleet="web")]
    for job_id in ids:
        fail(database, job_id)
    assert erase(database) == 1
    return service, ids


def test_erased_secrets_refuse_their_groups_only(database, secretive):
    """Where secrets were erased their groups' jobs are refused, and told what to give; a group without is retried."""
    service, ids = secretive
    done = retry(service)
    assert done.queued == 1
    assert read_job(database, ids[2]).state is State.QUEUED
    assert [(one.job_id, one.code) for one in done.refused] == [
        (ids[0], "credentials_erased"),
        (ids[1], "credentials_erased"),
    ]
    assert "root_pass and user_data of group 0" in done.refused[0].message
    with database.read() as tx:
        erased = [fleet_rows.load_group(tx, fleet_row(database).id, group)[2] for group in range(3)]
    assert erased == [True, True, False]


def test_secrets_that_are_given_again_are_sealed_again(database, secretive):
    """Given again with the retry they are sealed with the fleet, until nothing needs them once more."""
    service, ids = secretive
    given = read_given([{"root_pass": PASSWORD, "user_data": DATA}])
    done = retry(service, wishes=Wishes(secrets=given))
    assert (done.queued, done.refused) == (3, ())
    row = fleet_row(database)
    assert not row.secrets_erased
    opened = service._vault.open(row.sealed)
    assert opened == {"0": {"root_pass": PASSWORD, "user_data": DATA}, "1": {"user_data": DATA}}
    assert erase(database) == 0
    for job_id in ids:
        fail(database, job_id)
    assert erase(database) == 1


def test_secrets_of_one_group(database, secretive):
    """Given for one group they serve that one; the others' are still missed, now and at the next retry."""
    service, ids = secretive
    given = read_given([{"group": 1, "user_data": DATA}])
    done = retry(service, wishes=Wishes(secrets=given))
    assert (done.queued, [one.job_id for one in done.refused]) == (2, [ids[0]])
    row = fleet_row(database)
    assert (row.secrets_erased, service._vault.open(row.sealed)) == (True, {"1": {"user_data": DATA}})
    part = retry(service, wishes=Wishes(secrets=read_given([{"group": 0, "root_pass": PASSWORD}])))
    assert [one.message for one in part.refused] == ["user_data of group 0 was erased once nothing needed it"]


def test_secrets_are_kept_while_an_instance_is_deleted_for_a_retry(database):
    """Between the retry and the next attempt the job owns a dying instance; its secrets wait for it."""
    service = make_service(database, vault=Vault([new_key()]))
    service.submit(fleet_request({"root_pass": PASSWORD}), tenant=TENANT, actor=ACTOR)
    (job,) = service.jobs(TENANT, fleet="web")
    fail(database, job.id, "boot_timeout", linode_id=7)
    assert retry(service).deleting == 1
    assert erase(database) == 0
    set_job(database, job.id, afterwards=None)
    assert erase(database) == 1


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ([{"stackscript_data": {"a": "b"}}], "secrets[0].stackscript_data", "was not given with the fleet"),
        ([{"group": 3, "user_data": DATA}], "secrets[0].group", "there is no group 3"),
        ([{"group": 2, "user_data": DATA}], "secrets[0].user_data", "was not given"),
    ],
)
def test_secrets_that_do_not_fit(database, secretive, given, field, words):
    """What no group lacks is refused with its place, and nothing is retried."""
    service, ids = secretive
    with pytest.raises(InvalidRequest, match=words) as caught:
        retry(service, wishes=Wishes(secrets=read_given(given)))
    assert [fault.field for fault in caught.value.faults] == [field]
    assert read_job(database, ids[2]).attempt == 1


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ([{"root_pass": "short"}], "secrets[0].root_pass", "weak_password"),
        ([{"user_data": DATA}, {"user_data": "x" * 70_000}], "secrets[1].user_data", "user_data_too_large"),
        ([{"group": 1}], "secrets[0]", "invalid_request"),
        ([{"root_pass": "Gl4di0lus+Kn1fe/7\x00"}], "secrets[0].root_pass", "invalid_request"),
    ],
)
def test_secrets_that_are_wrong_in_themselves(given, field, code):
    """A weak password and the like are refused as a submit refuses them, without being repeated."""
    with pytest.raises(InvalidRequest) as caught:
        read_given(given)
    (fault,) = caught.value.faults
    assert (fault.field, fault.code, fault.value) == (field, code, None)
    assert "Gl4di0lus" not in str(caught.value)


def test_without_a_key_no_secret_is_taken(database):
    """Where nothing can be sealed, secrets are refused before anything else."""
    service = make_service(database, dice=Random(1))
    failed(database, service)
    with pytest.raises(SecretsRefused):
        retry(service, wishes=Wishes(secrets=read_given([{"root_pass": PASSWORD}])))


def test_thousands_at_once(database):
    """A fleet of thousands is retried as a whole, in one transaction."""
    service = make_service(database)
    service.submit(fleet_request({"count": 2_000}), tenant=TENANT, actor=ACTOR)
    with database.write() as tx:
        tx.execute(update(jobs).values(state="failed", error_code="no_capacity"))
    done = retry(service)
    assert (done.queued, service.fleet("web", TENANT).states) == (2_000, {"queued": 2_000})
    assert guard(database) == (2_000, 2_000 * NANODE_MICROUSD)

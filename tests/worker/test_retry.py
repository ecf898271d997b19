import pytest

from jobs import transitions
from jobs.regiven import read_given
from jobs.retrying import Wishes
from jobs.states import Event, State
from jobs.transitions import Reason
from tests.support.fleets import job_columns, make_service
from worker.removal import Removal
from worker.sweep import Sweep

PASSWORD = "aComplexP@ssw0rd-of-mine"


@pytest.fixture
def sent(rig):
    """The bodies of the creates that left, as the API got them."""
    found = []
    create = rig.client.instances.create

    def note(request):
        found.append(request)
        return create(request)

    rig.client.instances.create = note
    return found


def retry(rig, *given):
    """Retry the only fleet's failed jobs, with secrets given again."""
    service = make_service(rig.database, vault=rig.vault)
    wishes = Wishes(secrets=read_given(list(given)))
    return service.retry("web", "default", actor="person", wishes=wishes)


def refuse(rig):
    """Let a job with a password be refused for good, and its secrets be erased; return its id."""
    job_id = rig.job(root_pass=PASSWORD)
    rig.spoil("no_capacity", nth=1)
    assert rig.engine.create(job_id) == "failed"
    rig.do(Sweep(rig.engine))
    assert rig.group(job_id)[1:] == (None, True)
    return job_id


def test_a_password_given_again_reaches_the_worker(rig, sent):
    """After a retry that gives the erased password again, the same worker creates with it, under the next tag."""
    job_id = refuse(rig)
    assert [one.code for one in retry(rig).refused] == ["credentials_erased"]
    assert retry(rig, {"root_pass": PASSWORD}).queued == 1
    assert rig.admit() == [job_id]
    assert rig.engine.create(job_id) == "booting"
    assert sent[-1].root_pass.get_secret_value() == PASSWORD
    assert f"nw:{job_id}.2" in sent[-1].tags
    assert len(rig.alive()) == 1


def test_a_group_without_secrets_outlives_the_erasure_of_others(rig):
    """In a fleet of which another group's password was erased, a group that was given none is retried and created."""
    rig.submit({"root_pass": PASSWORD}, {"count": 1})
    first, second = rig.admit()
    rig.spoil("no_capacity")
    assert [rig.engine.create(one) for one in (first, second)] == ["failed", "failed"]
    rig.mend()
    rig.do(Sweep(rig.engine))
    done = retry(rig)
    assert (done.queued, [one.job_id for one in done.refused]) == (1, [first])
    assert rig.admit() == [second]
    assert rig.engine.create(second) == "booting"


def test_a_failed_instance_goes_before_the_next_attempt_is_sent(rig):
    """A retry after a boot timeout deletes the instance, sees it gone, and only then creates: never are there two."""
    job_id = rig.job()
    assert rig.engine.create(job_id) == "booting"
    with rig.database.write() as tx:
        why = Reason("boot_timeout", "not up in time")
        transitions.lost(tx, rig.row(job_id), Event.BOOT_TIMED_OUT, why, actor="test")
    assert retry(rig).deleting == 1
    assert rig.admit() == []
    for _ in range(5):
        rig.do(Removal(rig.engine))
        rig.clock.advance(10)
        assert len(rig.alive()) <= 1
    assert rig.state(job_id) is State.QUEUED
    assert rig.alive() == []
    assert rig.admit() == [job_id]
    assert rig.engine.create(job_id) == "booting"
    assert [one.shown["tags"][-1] for one in rig.alive()] == [f"nw:{job_id}.2"]
    row = job_columns(rig.database, job_id)
    assert (row["spent_microusd"], row["wasted_microusd"]) == (7_500, 7_500)

import pytest

from api_client import Instance
from jobs.states import State
from tests.support.fleets import add_job, set_job
from worker.removal import Removal, not_ours


@pytest.fixture
def deleting(rig):
    """A job whose instance is to go; its id."""
    fleet = rig.submit({"count": 1})
    (job_id,) = rig.admit()
    rig.spoil("reset_after", nth=1)
    rig.engine.create(job_id)
    rig.cancel(fleet)
    (one,) = rig.alive()
    set_job(rig.database, job_id, state="deleting", linode_id=one.ident, run_after=rig.clock.now)
    rig.mend()
    return job_id


def remove(rig, after=0.0):
    """Let time pass, and remove what is due."""
    rig.clock.advance(after)
    rig.do(Removal(rig.engine))


def test_deleted_is_said_after_404_only(rig, deleting):
    """A delete that was answered is confirmed: the job is deleted once the API answers 404 for its instance."""
    remove(rig)
    assert rig.alive() == []
    assert rig.state(deleting) is State.DELETING
    remove(rig, 1)
    assert rig.state(deleting) is State.DELETED


def test_anothers_instance_is_left_alone(rig, deleting):
    """An id whose instance carries another job's tag by now is not deleted, and the row says why."""
    (one,) = rig.alive()
    for tag in list(one.shown["tags"]):
        rig.world.untag(one.ident, tag)
    other = rig.foreign("other", rig.ours(), "nw:01890000-0000-7000-8000-000000000001.1")
    set_job(rig.database, deleting, linode_id=other)
    remove(rig)
    assert {found.ident for found in rig.alive()} == {one.ident, other}
    assert (rig.state(deleting), rig.row(deleting).error_code) == (State.DELETING, "not_ours")


def test_without_tags_the_id_is_proof(rig, deleting):
    """An instance whose tags a person took off is still ours by the id that our own 200 gave."""
    (one,) = rig.alive()
    for tag in list(one.shown["tags"]):
        rig.world.untag(one.ident, tag)
    remove(rig)
    assert rig.alive() == []


def test_a_delete_that_fails_backs_off(rig, deleting):
    """A delete that the API refuses or does not answer stays due, ever later, with its words in the row."""
    rig.spoil("server_error", method="DELETE", route="/linode/instances/{id}")
    waits = []
    for _ in range(4):
        remove(rig)
        job = rig.row(deleting)
        assert (job.state, job.error_code) == (State.DELETING, "delete_failed")
        waits.append((job.run_after - rig.clock.now).total_seconds())
        rig.clock.now = job.run_after
    assert waits == sorted(waits)
    assert waits[-1] > 4
    rig.mend()
    remove(rig)
    remove(rig, 1)
    assert rig.state(deleting) is State.DELETED


def test_what_is_not_due_waits(rig, deleting):
    """Nothing is asked of the API before a job is due again."""
    set_job(rig.database, deleting, run_after=rig.clock.at(10))
    removal = Removal(rig.engine)
    with rig.database.read() as tx:
        assert removal.wanted(tx) == rig.clock.at(10)
    remove(rig)
    assert rig.calls("GET /linode/instances/{id}") == 0


@pytest.mark.parametrize(
    ("tags", "foreign"),
    [
        ([], False),
        (["theirs"], False),
        (["nw:{job}.1"], False),
        (["nw:{job}.9"], False),
        (["nw:01890000-0000-7000-8000-000000000001.1"], True),
        (["nw:01890000-0000-7000-8000-000000000001.1", "nw:{job}.1"], False),
    ],
)
def test_whose_instance_it_is(rig, tags, foreign):
    """Only another job's tag, without this job's beside it, makes an instance somebody else's."""
    job = add_job(rig.database, State.DELETING)
    assert not_ours(job, Instance(id=1, tags=[tag.format(job=job.id) for tag in tags])) is foreign

import pytest
from sqlalchemy import update

from api_client import Instance
from jobs import transitions
from jobs.records import jobs, rate_windows
from jobs.states import State
from tests.support.fleets import add_job, set_job
from worker.config import DELETE_INSTANCE
from worker.engine import Engine
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


# Many at once --------------------------------------------------------------------------------------------------------


@pytest.fixture
def doomed(rig):
    """Fifteen jobs whose instances are all to go."""
    rig.submit({"count": 15}, name="many")
    for job_id in rig.admit():
        rig.engine.create(job_id)
    with rig.database.read() as tx:
        found = transitions.select_records(tx, order_by=(jobs.c.position,))
    with rig.database.write() as tx:
        transitions.all_destroyed(tx, found, actor="person")
    return [job.id for job in found]


def states(rig):
    """Return how many jobs are in which state."""
    return {state: rig.count(state) for state in (State.DELETING, State.DELETED) if rig.count(state)}


def test_many_are_seen_by_one_list(rig, doomed):
    """Many instances are proven ours by one list; after their deletes each is seen as 404 by its own id."""
    remove(rig)
    assert (rig.alive(), states(rig)) == ([], {State.DELETING: 15})
    assert (rig.calls("GET /linode/instances"), rig.calls("GET /linode/instances/{id}")) == (1, 0)
    remove(rig, 1)
    assert states(rig) == {State.DELETED: 15}
    assert (rig.calls("GET /linode/instances"), rig.calls("GET /linode/instances/{id}")) == (2, 15)
    assert rig.calls("DELETE /linode/instances/{id}") == 15


def test_a_list_shows_whose_they_are(rig, doomed):
    """Of many, one that carries another job's tag by now is left alone, and one without any tag goes by its id."""
    theirs, bare, *_ = rig.alive()
    for one in (theirs, bare):
        for tag in list(one.shown["tags"]):
            rig.world.untag(one.ident, tag)
    theirs.shown["tags"] += [rig.ours(), "nw:01890000-0000-7000-8000-000000000001.1"]
    remove(rig)
    remove(rig, 1)
    assert [one.ident for one in rig.alive()] == [theirs.ident]
    assert states(rig) == {State.DELETING: 1, State.DELETED: 14}
    assert rig.row(doomed[0]).error_code == "not_ours"


def test_look_alikes_are_not_touched(rig, doomed):
    """Instances that only look like ours, by label or by another job's tag, stay."""
    strangers = {
        rig.foreign("many-0016"),
        rig.foreign("many-0017", rig.ours(), "nw:01890000-0000-7000-8000-000000000001.1"),
    }
    remove(rig)
    remove(rig, 1)
    assert {one.ident for one in rig.alive()} == strangers
    assert states(rig) == {State.DELETED: 15}


@pytest.mark.parametrize("action", ["server_error", "throttle", "reset_before", "truncate"])
def test_without_a_list(rig, doomed, action):
    """Where the list cannot be had, each instance is asked for by its id; nothing waits for the list."""
    rig.spoil(action, method="GET", route="/linode/instances")
    remove(rig)
    assert (rig.alive(), states(rig)) == ([], {State.DELETING: 15})
    remove(rig, 1)
    assert states(rig) == {State.DELETED: 15}


@pytest.mark.parametrize("lag", [5.0])
def test_a_list_that_lags(rig, doomed, lag):
    """A list that still shows what is gone costs a delete that answers 404, and nothing else."""
    remove(rig)
    rig.spoil("list_lag", method="GET", route="/linode/instances", after=lag)
    remove(rig, 1)
    assert states(rig) == {State.DELETED: 15}


def test_a_spent_window_is_waited_for(rig, doomed):
    """Deletes keep to their own window: what it does not allow now goes once it opens."""
    with rig.database.write() as tx:
        row = {"allowed": 10, "seconds": 60.0}
        tx.execute(update(rate_windows).where(rate_windows.c.route == DELETE_INSTANCE).values(**row))
    remove(rig)
    assert len(rig.alive()) == 5
    assert rig.chore(Removal(rig.engine).name).due_at > rig.clock.at(50)
    remove(rig, 61)
    remove(rig, 1)
    assert (rig.alive(), rig.calls("DELETE /linode/instances/{id}")) == ([], 15)


def test_several_at_once(rig, doomed):
    """A worker has several deletes under way at once; they come to the same."""
    rig.do(Removal(rig.engine, at_once=4))
    rig.clock.advance(1)
    rig.do(Removal(rig.engine, at_once=4))
    assert (rig.alive(), states(rig)) == ([], {State.DELETED: 15})


def test_another_worker_goes_on(rig, doomed):
    """What a killed worker had begun stands in the rows: another one confirms it and does the rest."""
    sent = []

    def die(route, call):
        sent.append(route)
        if sent.count(DELETE_INSTANCE) == 7:
            raise KeyboardInterrupt
        return Engine.read(rig.engine, route, call)

    rig.engine.read = die
    with pytest.raises(KeyboardInterrupt):
        rig.do(Removal(rig.engine))
    assert len(rig.alive()) == 9
    other = Removal(rig.worker("worker-2"))
    for _ in range(3):
        rig.clock.advance(1)
        rig.do(other)
    assert (rig.alive(), states(rig)) == ([], {State.DELETED: 15})

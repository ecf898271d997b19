from dataclasses import replace

import pytest

from jobs import house
from jobs.identity import AttemptTag
from jobs.states import State
from tests.support.fleets import ACCOUNT, add_job
from tests.worker.conftest import BOOT
from worker.reconcile import Kind, Reconcile, classify
from worker.watch import Watch

GRACE = 70.0
"""The grace period, and the seconds for which the lists' window may be closed at its end."""


@pytest.mark.parametrize(
    ("state", "attempt", "linode_id", "kind"),
    [
        (State.UNCERTAIN, 2, None, Kind.ADOPT),
        (State.QUEUED, 2, None, Kind.FOUND),
        (State.DISPATCHED, 2, None, Kind.FOUND),
        (State.CREATING, 2, None, Kind.OPEN),
        (State.SUBMITTED, 2, None, Kind.OPEN),
        (State.UNCERTAIN, 1, None, Kind.ORPHAN),
        (State.CREATING, 1, None, Kind.ORPHAN),
        (State.BOOTING, 2, 4711, Kind.ORPHAN),
        (State.RUNNING, 2, 4711, Kind.ORPHAN),
        (State.FAILED, 2, None, Kind.ORPHAN),
        (State.FAILED, 2, 4711, Kind.ORPHAN),
        (State.CANCELLED, 2, None, Kind.ORPHAN),
        (State.REJECTED, 2, None, Kind.ORPHAN),
        (State.DELETING, 2, 4711, Kind.ORPHAN),
        (State.DELETED, 2, None, Kind.ORPHAN),
    ],
)
def test_what_an_instance_is(rig, state, attempt, linode_id, kind):
    """The tag and the job that it names decide; an id that some row owns is that row's, whatever the tag says."""
    job = replace(add_job(rig.database, state, attempt=2), linode_id=linode_id)
    tag = AttemptTag(job.id, attempt)
    assert classify(tag, job, owned=False, account=job.account_id) is kind
    assert classify(tag, job, owned=True, account=job.account_id) is Kind.OWNED
    assert classify(tag, None, owned=False, account=job.account_id) is Kind.STRANGE


def reconcile(rig, after=0.0):
    """Let time pass, and reconcile."""
    rig.clock.advance(after)
    return rig.do(Reconcile(rig.engine))


def running(rig, count=1):
    """Bring a fleet to running; return its jobs' ids."""
    rig.submit({"count": count})
    found = rig.admit()
    for job_id in found:
        rig.engine.create(job_id)
    rig.clock.advance(BOOT + 1)
    rig.do(Watch(rig.engine))
    return found


def ended(rig):
    """A cancelled job, and an instance of its attempt that comes late; return the id of each."""
    fleet = rig.submit({"count": 1})
    (job_id,) = rig.admit()
    rig.cancel(fleet)
    return job_id, rig.foreign("web-0001", rig.ours(), f"nw:{job_id}.1")


def test_an_orphan_is_deleted_when_seen_twice(rig):
    """An instance of an ended job goes once it was seen twice, a grace period apart, and its job's timeline says so."""
    job_id, late = ended(rig)
    row = reconcile(rig)
    assert row.due_at <= rig.clock.at(30)
    reconcile(rig, 30)
    assert [one.ident for one in rig.alive()] == [late]
    reconcile(rig, 40)
    assert rig.alive() == []
    assert rig.detail(job_id, "orphan_deleted") == {"linode_id": late, "tag": f"nw:{job_id}.1"}
    assert reconcile(rig, 30).state["orphans"] == {}


def test_an_orphan_whose_delete_fails_is_tried_again(rig):
    """A delete that is refused or lost leaves the orphan on the list, until it is gone."""
    _, late = ended(rig)
    reconcile(rig)
    rig.spoil("server_error", method="DELETE", route="/linode/instances/{id}")
    row = reconcile(rig, GRACE)
    assert list(row.state["orphans"]) == [str(late)]
    rig.mend()
    reconcile(rig, 30)
    assert rig.alive() == []


def test_an_orphan_that_somebody_else_removed(rig):
    """An orphan that is gone by the time of its delete is no error."""
    ended(rig)
    reconcile(rig)
    rig.spoil("not_found", method="DELETE", route="/linode/instances/{id}")
    assert reconcile(rig, GRACE).state["orphans"] == {}


def test_strangers_are_never_touched(rig):
    """Machines without our tag, and those of an installation or a job that we do not know, are left alone."""
    running(rig)
    no_job = "01890000-0000-7000-8000-000000000001"
    left = [
        rig.foreign("theirs"),
        rig.foreign("other-installation", "nodewright:0123456789ab", f"nw:{no_job}.1"),
        rig.foreign("forgotten", rig.ours(), f"nw:{no_job}.1"),
        rig.foreign("nearly", rig.ours(), "nw:not-a-job.1"),
    ]
    for _ in range(3):
        row = reconcile(rig, GRACE)
    assert {one.ident for one in rig.alive()} > set(left)
    assert row.state["strange"] == left[2:]
    assert rig.calls("DELETE /linode/instances/{id}") == 0


def test_what_its_row_owns_stays(rig):
    """An instance that its row owns is never removed, whatever else carries its tag."""
    (job_id,) = running(rig)
    owned = rig.row(job_id).linode_id
    twin = rig.foreign("twin", rig.ours(), f"nw:{job_id}.1")
    reconcile(rig)
    reconcile(rig, GRACE)
    assert [one.ident for one in rig.alive()] == [owned]
    assert rig.detail(job_id, "orphan_deleted")["linode_id"] == twin


def test_an_uncertain_job_adopts(rig):
    """Reconcile adopts for an uncertain job what carries its attempt's tag."""
    job_id = rig.uncertain("reset_after")
    reconcile(rig)
    assert rig.state(job_id) is State.BOOTING


def test_a_waiting_job_whose_send_was_forgotten(rig):
    """A job that waits though its attempt's instance exists is looked up, and buys nothing more."""
    rig.submit({"count": 1})
    job_id = rig.only()
    forgotten = rig.foreign("web-0001", rig.ours(), f"nw:{job_id}.1")
    reconcile(rig)
    assert rig.state(job_id) is State.UNCERTAIN
    reconcile(rig)
    assert (rig.state(job_id), rig.row(job_id).linode_id) == (State.BOOTING, forgotten)


def test_lost_tags_are_reported(rig):
    """An instance that lost its tags but exists is reported; its row stays as it is."""
    (job_id,) = running(rig)
    number = rig.row(job_id).linode_id
    rig.world.untag(number, rig.ours())
    row = reconcile(rig, GRACE)
    assert row.state["untagged"] == [number]
    assert rig.state(job_id) is State.RUNNING


def test_vanished_only_after_404(rig):
    """A row without its instance is vanished only once the API answers 404 for the id."""
    (job_id,) = running(rig)
    number = rig.row(job_id).linode_id
    rig.world.remove(number, rig.wall())
    rig.spoil("server_error", method="GET", route="/linode/instances/{id}")
    reconcile(rig, GRACE)
    assert rig.state(job_id) is State.RUNNING
    rig.mend()
    reconcile(rig)
    job = rig.row(job_id)
    assert (job.state, job.error_code, job.linode_id) == (State.FAILED, "vanished", None)


def test_a_young_instance_is_not_missed(rig):
    """An instance that lists do not show yet is not asked for within the grace period."""
    rig.submit({"count": 1})
    (job_id,) = rig.admit()
    rig.spoil("list_lag", after=30)
    rig.engine.create(job_id)
    reconcile(rig)
    assert rig.calls("GET /linode/instances/{id}") == 0
    assert rig.state(job_id) is State.BOOTING


def test_a_new_epoch_opens_after_reconcile(rig):
    """In a new epoch nothing is admitted before reconcile has been through."""
    rig.submit({"count": 1})
    rig.clock.advance(house.ASLEEP.total_seconds() + 1)
    with rig.database.write() as tx:
        assert house.heartbeat(tx)
    assert rig.admit() == []
    reconcile(rig)
    with rig.database.read() as tx:
        assert len(set(house.epochs(tx, ACCOUNT))) == 1
    assert len(rig.admit()) == 1


def test_how_often_it_looks(rig):
    """It looks twice a minute while something unknown happened lately, else every five minutes."""
    assert reconcile(rig).due_at == rig.clock.at(300)
    rig.uncertain("reset_after")
    assert reconcile(rig).due_at == rig.clock.at(30)
    assert reconcile(rig, 11 * 60).due_at == rig.clock.at(300)

from random import Random

import pytest
from sqlalchemy import delete

from jobs import house
from jobs.records import catalogs
from jobs.states import State
from tests.support.fleets import PARTS, catalog, fleet_request, make_service
from worker.sweep import Intake, Sweep

FLEET = "01890000-0000-7000-8000-000000000001"


def test_a_lost_wake_up_is_sent_again(rig):
    """A grant that nobody picked up goes back to the queue, and is admitted anew."""
    job_id = rig.job()
    sweep = Sweep(rig.engine)
    with rig.database.read() as tx:
        due = sweep.wanted(tx)
    rig.clock.now = due
    rig.do(sweep)
    assert rig.state(job_id) is State.QUEUED
    assert rig.row(job_id).sends == 0
    rig.clock.advance(1)
    assert rig.admit() == [job_id]


def test_a_dead_workers_create_is_looked_up(rig, make_rig):
    """A job whose worker died in mid-create becomes uncertain: it is looked up, never simply sent again."""
    job_id = rig.job()

    class Dead(BaseException):
        """The worker is gone."""

    def die(*_):
        raise Dead

    rig.client.instances.create, alive = die, rig.client.instances.create
    with pytest.raises(Dead):
        rig.engine.create(job_id)
    rig.client.instances.create = alive
    assert rig.state(job_id) is State.CREATING
    rig.clock.advance(30)
    rig.do(Sweep(rig.engine))
    assert rig.state(job_id) is State.CREATING
    rig.clock.advance(31)
    rig.do(Sweep(rig.engine))
    job = rig.row(job_id)
    assert job.state is State.UNCERTAIN
    assert job.last_unknown_at is not None
    assert rig.events(job_id)[-1] == "lapsed"


def test_nothing_to_sweep(rig):
    """Without leases and secrets there is nothing to do."""
    with rig.database.read() as tx:
        assert Sweep(rig.engine).wanted(tx) is None


def test_secrets_are_erased_when_nobody_needs_them(rig):
    """A fleet's sealed secrets go as soon as none of its creates is still to come."""
    job_id = rig.job(root_pass="aComplexP@ssw0rd-of-mine")
    assert rig.group(job_id)[1] is not None
    rig.engine.create(job_id)
    with rig.database.read() as tx:
        assert Sweep(rig.engine).wanted(tx) == tx.now
    rig.do(Sweep(rig.engine))
    assert rig.group(job_id)[1:] == (None, True)


def accept(rig, *groups, catalogs=lambda _account: None):
    """Accept a fleet as it comes by Celery."""
    service = make_service(rig.database, catalogs=catalogs, dice=Random(1))
    return service.accept(fleet_request(*groups), fleet_id=FLEET, tenant="default", actor="celery")


def test_intake_waits_for_a_catalog(rig):
    """Rows that came before the first catalog stay submitted; with it good ones queue and wrong ones are rejected."""
    accept(rig, {"count": 2, "name": "a"}, {"count": 1, "type": "g6-nope", "name": "b"})
    intake = Intake(rig.engine)
    with rig.database.read() as tx:
        assert intake.wanted(tx) is None
    assert rig.count("submitted") == 3
    with rig.database.write() as tx:
        house.store_catalogs(tx, "default", PARTS)
    with rig.database.read() as tx:
        assert intake.wanted(tx) == tx.now
    rig.do(intake)
    assert (rig.count("queued"), rig.count("rejected"), rig.count("submitted")) == (2, 1, 0)


def test_intake_without_its_catalog(rig):
    """A catalog that cannot be had after all changes nothing."""
    accept(rig, {"count": 1})
    with rig.database.write() as tx:
        house.store_catalogs(tx, "default", PARTS)
        tx.execute(delete(catalogs))
    rig.catalog = None
    rig.do(Intake(rig.engine))
    assert rig.count("submitted") == 1
    rig.catalog = catalog()
    rig.do(Intake(rig.engine))
    assert rig.count("queued") == 1

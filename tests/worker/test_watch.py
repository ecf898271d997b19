from dataclasses import replace

import pytest

from api_client import Instance
from jobs import house
from jobs.states import State
from tests.support.fleets import ACCOUNT, add_job
from tests.worker.conftest import BOOT
from worker.watch import Watch, is_up


@pytest.mark.parametrize(
    ("status", "booted", "image", "up"),
    [
        ("running", True, "linode/debian12", True),
        ("running", False, None, True),
        ("offline", False, "linode/debian12", True),
        ("offline", True, None, True),
        ("offline", True, "linode/debian12", False),
        ("provisioning", False, None, False),
        ("booting", True, "linode/debian12", False),
        ("a status of the future", True, "linode/debian12", False),
    ],
)
def test_what_counts_as_up(rig, status, booted, image, up):
    """Up is running, or offline where that was asked for; any other status is waited for."""
    job = replace(add_job(rig.database, State.BOOTING), booted=booted, image=image)
    assert is_up(job, Instance(id=1, status=status)) is up


def booting(rig, count):
    """Create a fleet whose instances boot."""
    rig.submit({"count": count})
    for job_id in rig.admit():
        assert rig.engine.create(job_id) == "booting"


def test_one_list_serves_all(rig):
    """A whole fleet is seen running by one call, never one per instance."""
    booting(rig, 20)
    rig.clock.advance(BOOT + 1)
    rig.do(Watch(rig.engine))
    assert rig.count("running") == 20
    assert rig.calls("GET /linode/instances") == 1
    assert rig.calls("GET /linode/instances/{id}") == 0


def test_what_is_not_up_yet_is_waited_for(rig):
    """An instance that still boots stays booting, and the next look comes when the chore says that it is wanted."""
    booting(rig, 1)
    rig.clock.advance(2)
    watch = Watch(rig.engine)
    rig.do(watch)
    assert rig.count("booting") == 1
    with rig.database.read() as tx:
        assert watch.wanted(tx) == rig.clock.at(2.2)


def test_nothing_boots_nothing_is_asked(rig):
    """Without booting jobs the watch wants nothing, and makes no call."""
    watch = Watch(rig.engine)
    with rig.database.read() as tx:
        assert watch.wanted(tx) is None
    rig.do(watch)
    assert rig.calls("GET /linode/instances") == 0


def test_the_boot_time_is_learnt(rig):
    """Once an instance was seen up its age is expected of the others."""
    booting(rig, 1)
    rig.clock.advance(BOOT + 2)
    rig.do(Watch(rig.engine))
    with rig.database.read() as tx:
        assert house.boot_seconds(tx, ACCOUNT) == BOOT + 2


def test_boot_timeout(rig):
    """An instance that is not up in time fails its job with its status, and stays the job's own."""
    rig.spoil("boot_stuck")
    booting(rig, 1)
    rig.clock.advance(15 * 60 + 1)
    rig.do(Watch(rig.engine))
    assert rig.row(rig.only()).state == State.BOOTING  # a clock that was set forward looks just like this
    rig.clock.advance(61)
    rig.do(Watch(rig.engine))
    with rig.database.read() as tx:
        watch = Watch(rig.engine)
        assert watch.wanted(tx) is None
    (one,) = rig.alive()
    failed = rig.row(rig.only())
    assert (failed.state, failed.error_code, failed.linode_id) == (State.FAILED, "boot_timeout", one.ident)
    assert "the API says provisioning" in failed.error_reason


def test_an_instance_that_is_not_listed_times_out_too(rig):
    """What is listed no more is reconcile's to judge; the watch only says so when the time is over."""
    booting(rig, 1)
    (one,) = rig.alive()
    rig.world.remove(one.ident, rig.wall())
    rig.clock.advance(60)
    rig.do(Watch(rig.engine))
    assert rig.count("booting") == 1
    rig.clock.advance(15 * 60)
    rig.do(Watch(rig.engine))
    rig.clock.advance(61)
    rig.do(Watch(rig.engine))
    assert "the API does not list it" in rig.row(rig.only()).error_reason

from dataclasses import replace
from datetime import timedelta
from itertools import islice, pairwise

import pytest

from api_client import Instance
from jobs import house
from jobs.states import State
from tests.support.clock import START
from tests.support.fleets import ACCOUNT, add_job
from tests.worker.conftest import BOOT
from worker.watch import Watch, is_up, learned_boot_seconds, look_ages, next_look


def test_ages_of_looks():
    """Without knowledge the looks begin after a second; with it at the expected age; and they grow rarer, to 10 s."""
    assert list(islice(look_ages(None), 3)) == pytest.approx([1.0, 2.0, 3.3])
    ages = list(islice(look_ages(60.0), 40))
    gaps = [later - earlier for earlier, later in pairwise(ages)]
    assert ages[0] == 60.0
    assert gaps[0] == pytest.approx(2.4)
    assert all(later > earlier - 0.001 for earlier, later in pairwise(gaps))
    assert gaps[-1] == pytest.approx(10.0)
    quick = list(islice(look_ages(0.1), 2))
    assert quick[1] - quick[0] == pytest.approx(0.25)


def test_when_to_look_next():
    """The next look is the first moment after the last one at which some instance is likely to be up."""
    births = [START, START + timedelta(seconds=5)]
    assert next_look([], looked_at=None, expected=60.0) is None
    assert next_look(births, looked_at=None, expected=60.0) == START + timedelta(seconds=60)
    looked = START + timedelta(seconds=60)
    assert next_look(births, looked_at=looked, expected=60.0) == START + timedelta(seconds=62.4)
    later = START + timedelta(seconds=64)
    assert next_look(births, looked_at=later, expected=60.0) == START + timedelta(seconds=65)


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


@pytest.mark.parametrize(
    ("expected", "seen", "first", "learned"),
    [
        (60.0, [], False, 60.0),
        (None, [], False, None),
        (None, [48.0, 45.0], False, 45.0),
        (60.0, [70.0, 80.0], False, 65.0),
        (60.0, [60.5], True, 58.8),
    ],
)
def test_learning_how_long_a_boot_takes(expected, seen, first, learned):
    """The expectation moves towards the youngest that was up, and a little earlier where the first look found it."""
    assert learned_boot_seconds(expected, seen, at_first_look=first) == pytest.approx(learned)


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
        assert watch.wanted(tx) == rig.clock.at(1.3)


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
    assert "not listed" in rig.row(rig.only()).error_reason

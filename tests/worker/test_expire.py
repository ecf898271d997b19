from datetime import timedelta

import pytest

from jobs.states import State
from tests.support.fleets import job_columns
from worker.expire import Expire
from worker.removal import Removal
from worker.watch import Watch

HOUR = 3600


def loop_of(rig, engine):
    """Return the loop of a worker with the chores that matter here."""
    loop = rig.make_loop(Expire(engine), Removal(engine), Watch(engine), engine=engine)
    loop.prepare()
    return loop


def turn_for(rig, loop, seconds, step=1.0):
    """Let the loop turn for so long, and create what it publishes."""
    for _ in range(int(seconds / step)):
        rig.published.clear()
        loop.turn()
        for job_id in list(rig.published):
            rig.engine.create(job_id)
        rig.clock.advance(step)


def test_nothing_is_sent_before_its_time(rig):
    """A fleet with `not_before` waits until then, and then goes."""
    rig.submit({"count": 2}, not_before=rig.clock.at(100).isoformat())
    assert rig.admit() == []
    rig.clock.advance(99)
    assert rig.admit() == []
    rig.clock.advance(1)
    assert len(rig.admit()) == 2


def test_a_deadline_ends_what_is_not_bought(rig):
    """What is not bought at the deadline ends with the reason; what is bought stays."""
    rig.submit({"count": 30}, deadline=rig.clock.at(10).isoformat())
    for job_id in rig.admit():
        rig.engine.create(job_id)
    rig.clock.advance(11)
    duty = Expire(rig.engine)
    with rig.database.read() as tx:
        assert duty.wanted(tx) <= tx.now
    rig.do(duty)
    assert (rig.count("booting"), rig.count("failed"), rig.count("queued")) == (20, 10, 0)
    with rig.database.read() as tx:
        assert duty.wanted(tx) is None


def test_a_create_that_comes_back_after_the_deadline(rig):
    """A create under way at the deadline that is sent back to the queue ends there."""
    rig.submit({"count": 1}, deadline=rig.clock.at(1).isoformat())
    (job_id,) = rig.admit()
    send = rig.engine._send
    rig.spoil("throttle")

    def send_late(*given):
        rig.clock.advance(1.5)
        rig.do(Expire(rig.engine))
        return send(*given)

    rig.engine._send = send_late
    assert rig.engine.create(job_id) == "queued"
    rig.do(Expire(rig.engine))
    assert (rig.state(job_id), rig.row(job_id).error_code) == (State.FAILED, "deadline_exceeded")


def test_fifty_with_a_time_to_live_are_gone_on_time(rig):
    """A fleet of fifty is gone when its time is over, although every worker was down for an hour in between."""
    rig.submit({"count": 50}, ttl="2h")
    turn_for(rig, loop_of(rig, rig.engine), 60)
    assert rig.count("running") == 50
    created = [one.created for one in rig.alive()]
    rig.clock.advance(HOUR)
    loop = loop_of(rig, rig.worker("worker-2"))
    until = min(created) + 2 * HOUR - rig.wall() - 1
    turn_for(rig, loop, until, step=30.0)
    assert len(rig.alive()) == 50
    turn_for(rig, loop, max(created) - min(created) + 60)
    assert (len(rig.alive()), rig.count("deleted")) == (0, 50)


def test_what_fell_due_while_nobody_worked_goes_at_once(rig):
    """After an hour without any worker everything whose time is over goes at once."""
    rig.submit({"count": 50}, ttl="10m")
    turn_for(rig, loop_of(rig, rig.engine), 60)
    assert rig.count("running") == 50
    rig.clock.advance(HOUR)
    turn_for(rig, loop_of(rig, rig.worker("worker-2")), 10)
    assert (len(rig.alive()), rig.count("deleted")) == (0, 50)


def test_a_fleets_own_boot_timeout(rig):
    """A fleet's own boot timeout ends what is not up by then; others have the setting's."""
    rig.spoil("boot_stuck")
    rig.submit({"count": 1}, boot_timeout="2m")
    rig.submit({"count": 1}, name="other")
    mine, other = rig.admit()
    for job_id in (mine, other):
        rig.engine.create(job_id)
    rig.clock.advance(121)
    duty = Watch(rig.engine)
    rig.do(duty)
    rig.clock.advance(61)
    rig.do(duty)
    assert (rig.state(mine), rig.state(other)) == (State.FAILED, State.BOOTING)
    job = job_columns(rig.database, mine)
    assert job["error_code"] == "boot_timeout"
    assert "Not up 2 min after its create" in job["error_reason"]
    assert timedelta(minutes=2) < rig.engine.pace.boot_timeout


@pytest.mark.parametrize("wait", [0, 100])
def test_an_idle_worker_has_nothing_to_expire(rig, wait):
    """Without times and policies there is never anything to do."""
    rig.submit({"count": 1})
    rig.clock.advance(wait)
    with rig.database.read() as tx:
        assert Expire(rig.engine).wanted(tx) is None

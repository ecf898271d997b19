from sqlalchemy import select

from jobs.records import fleets
from jobs.states import State
from tests.support.fleets import job_columns
from worker.expire import Expire
from worker.lookup import Lookup

WINDOW = 20
BAD_IMAGE = "image is not valid"


def spoil_image(rig):
    """Let the API refuse every create for its image."""
    rig.spoil("no_capacity", reason=BAD_IMAGE)


def stop_reason(rig):
    """Return why the newest fleet is stopped."""
    with rig.database.read() as tx:
        return tx.execute(select(fleets.c.stop_reason)).scalars().first()


def test_one_bad_image_does_not_burn_a_thousand_creates(rig):
    """With `stop_after: 5` a bad image costs five creates and at most the window that was under way."""
    spoil_image(rig)
    rig.submit({"count": 1000}, on_failure={"stop_after": 5, "same_cause": True})
    duty = Expire(rig.engine)
    for _ in range(10):
        for job_id in rig.admit():
            rig.engine.create(job_id)
        rig.do(duty)
        rig.clock.advance(16)
    spent = rig.calls("POST /linode/instances")
    assert 5 <= spent <= 5 + WINDOW
    assert rig.count("failed") == 1000
    assert stop_reason(rig).startswith("5 jobs failed with ")
    with rig.database.read() as tx:
        assert duty.wanted(tx) is None


def test_grants_that_were_not_used_end(rig):
    """A job that was admitted and not yet sent when its fleet stops ends unsent."""
    spoil_image(rig)
    rig.submit({"count": 30}, on_failure={"stop_after": 1})
    granted = rig.admit()
    rig.engine.create(granted[0])
    rig.do(Expire(rig.engine))
    assert [rig.engine.create(job_id) for job_id in granted[1:]] == ["not mine"] * (len(granted) - 1)
    assert rig.calls("POST /linode/instances") == 1
    assert job_columns(rig.database, granted[1])["error_code"] == "stopped_by_policy"


def test_what_runs_in_a_stopped_fleet_stays(rig):
    """A stopped fleet keeps what it has; only what waits ends."""
    rig.submit({"count": 3}, on_failure={"stop_after": 1})
    first, second, third = rig.admit()
    rig.engine.create(first)
    spoil_image(rig)
    rig.engine.create(second)
    rig.do(Expire(rig.engine))
    assert [rig.state(one).value for one in (first, second, third)] == ["booting", "failed", "failed"]


def test_an_unknown_create_of_a_stopped_fleet_is_looked_up(rig):
    """What may have been bought is looked up before it ends; found, it is the fleet's."""
    rig.submit({"count": 2}, on_failure={"stop_after": 1})
    first, second = rig.admit()
    rig.spoil("reset_after", nth=1)
    assert rig.engine.create(first) == "uncertain"
    rig.mend()
    spoil_image(rig)
    rig.engine.create(second)
    rig.do(Expire(rig.engine))
    assert (rig.row(first).ending, rig.row(first).error_code) == ("fail", "stopped_by_policy")
    rig.clock.advance(2)
    rig.do(Lookup(rig.engine))
    assert rig.state(first) is State.BOOTING

import pytest

from api_client import LinodeError
from jobs.states import State
from worker.config import LIST_INSTANCES
from worker.engine import SnoozeError
from worker.lookup import Lookup

GRACE = 70.0
"""The grace period, and the seconds for which the lists' window may be closed at its end."""


def look(rig, after=2.0):
    """Let time pass, and look."""
    rig.clock.advance(after)
    rig.do(Lookup(rig.engine))


def settle(rig, job_id, *, seconds=GRACE):
    """Look as often as it is due for so long."""
    for _ in range(round(seconds)):
        look(rig, 1.0)
        if rig.state(job_id) is not State.UNCERTAIN:
            return


def test_an_instance_with_this_attempts_tag_is_adopted(rig):
    """A create whose reply was lost is found by its tag and becomes the job's own, as the instance says it is."""
    job_id = rig.uncertain("reset_after")
    look(rig)
    (one,) = rig.alive()
    job = rig.row(job_id)
    assert (job.state, job.linode_id, job.last_unknown_at) == (State.BOOTING, one.ident, None)
    assert rig.detail(job_id, "adopted") == {"linode_id": one.ident, "proof": f"tag {job.tag}"}


def test_absence_is_believed_after_the_grace_period_only(rig):
    """What is not listed may come late: for the whole grace period it is looked for, then the job is sent again."""
    job_id = rig.uncertain("reset_before")
    settle(rig, job_id, seconds=59)
    assert rig.state(job_id) is State.UNCERTAIN
    settle(rig, job_id)
    assert rig.state(job_id) is State.QUEUED
    assert rig.row(job_id).attempt == 1
    assert rig.row(job_id).last_unknown_at is not None, "unknown stays sticky until something is known"


def test_a_late_create_is_found(rig):
    """A 504 whose create is applied seconds later is adopted, and nothing is bought twice."""
    job_id = rig.uncertain("gateway_timeout", applied="later", after=8)
    settle(rig, job_id)
    assert rig.state(job_id) is State.BOOTING
    assert len(rig.alive()) == 1


def test_a_list_that_lags(rig):
    """An instance that lists do not show yet is waited for."""
    job_id = rig.job()
    rig.spoil("list_lag", nth=1, after=20)
    rig.spoil("truncate", nth=1)
    rig.engine.create(job_id)
    if rig.state(job_id) is State.UNCERTAIN:
        settle(rig, job_id)
    assert rig.state(job_id) is State.BOOTING
    assert len(rig.alive()) == 1


def test_many_at_once_cost_one_list(rig):
    """All that is due is settled by one list of the installation's instances."""
    rig.submit({"count": 5})
    rig.spoil("reset_after")
    for job_id in rig.admit():
        assert rig.engine.create(job_id) == "uncertain"
    look(rig)
    assert rig.count("booting") == 5
    assert rig.calls(LIST_INSTANCES) == 1


def test_many_absent_at_once_cost_two_lists(rig):
    """After an outage hundreds may be absent: their labels are asked for together, each judged on its own."""
    rig.submit({"count": 5})
    rig.spoil("reset_before")
    for job_id in rig.admit():
        assert rig.engine.create(job_id) == "uncertain"
    rig.foreign(rig.row(job_id).label)
    look(rig, GRACE)
    assert rig.calls(LIST_INSTANCES) == 2
    assert (rig.count("queued"), rig.count("failed")) == (4, 1)


def test_a_strangers_label_ends_the_job(rig):
    """A label that belongs to a machine without our tags is taken: said only after its tags were seen."""
    rig.submit({"count": 1}, name="web")
    stranger = rig.foreign("web-0001", "theirs")
    (job_id,) = rig.admit()
    assert rig.engine.create(job_id) == "uncertain"
    look(rig)
    job = rig.row(job_id)
    assert (job.state, job.error_code) == (State.FAILED, "label_taken")
    assert str(stranger) in job.error_reason
    assert [one.ident for one in rig.alive()] == [stranger]


def test_an_earlier_attempts_instance_is_not_adopted(rig):
    """An instance of an older attempt of the same job has the label: the job waits until it is gone."""
    rig.submit({"count": 1}, name="web")
    (job_id,) = rig.admit()
    rig.foreign("web-0001", rig.ours(), f"nw:{job_id}.7")
    assert rig.engine.create(job_id) == "uncertain"
    look(rig)
    assert rig.state(job_id) is State.UNCERTAIN
    assert "earlier attempt" in str(rig.detail(job_id, "looked"))


def test_in_use_but_not_listed_stays_uncertain(rig):
    """The API says that the label is in use, and lists nothing: lists lag, so it is looked for again."""
    job_id = rig.job()
    rig.spoil("label_taken", nth=1)
    assert rig.engine.create(job_id) == "uncertain"
    look(rig)
    assert rig.state(job_id) is State.UNCERTAIN
    assert "no instance with it is listed" in str(rig.detail(job_id, "looked"))
    settle(rig, job_id, seconds=120)
    assert rig.state(job_id) is State.QUEUED


def test_a_noted_cancel_ends_it(rig):
    """A cancel during the look-up ends an absent job as cancelled, and a found one by its deletion."""
    absent = rig.submit({"count": 1}, name="absent")
    (first,) = rig.admit()
    rig.spoil("reset_before", nth=1)
    rig.engine.create(first)
    rig.cancel(absent)
    settle(rig, first)
    assert rig.state(first) is State.CANCELLED
    rig.mend()
    there = rig.submit({"count": 1}, name="there")
    (second,) = rig.admit()
    rig.spoil("reset_after", nth=1)
    rig.engine.create(second)
    rig.cancel(there)
    look(rig)
    assert rig.state(second) is State.DELETING


def test_too_many_tries_park_the_job(rig):
    """After ten sends of unknown outcome, each followed by a whole grace period of absence, a person decides."""
    job_id = rig.uncertain("reset_before")
    rig.mend()
    rig.spoil("request_timeout", applied="no")
    for _ in range(12):
        settle(rig, job_id)
        if rig.state(job_id) is not State.QUEUED:
            break
        rig.clock.advance(25)
        (again,) = rig.admit()
        rig.engine.create(again)
    job = rig.row(job_id)
    assert (job.state, job.tries) == (State.UNCERTAIN, rig.engine.pace.tries)
    assert job.parked_at is not None
    assert not rig.alive()


def test_an_api_that_fails_settles_nothing(rig):
    """While the list cannot be read nothing is concluded from it."""
    job_id = rig.uncertain("reset_after")
    rig.clock.advance(GRACE + 5)
    rig.spoil("server_error", method="GET")
    row = rig.do(Lookup(rig.engine))
    assert rig.state(job_id) is State.UNCERTAIN
    assert "500" in row.error or "Internal server error" in row.error
    with pytest.raises(LinodeError):
        Lookup(rig.engine).run(None)


def test_a_spent_window_snoozes_the_look(rig):
    """A list that the rate limit refuses is tried again when the window opens, and nothing sleeps."""
    job_id = rig.uncertain("reset_after")
    rig.clock.advance(2)
    rig.spoil("throttle", method="GET", nth=1)
    row = rig.do(Lookup(rig.engine))
    assert rig.state(job_id) is State.UNCERTAIN
    assert rig.clock.now < row.due_at <= rig.clock.at(61)
    with pytest.raises(SnoozeError):
        Lookup(rig.engine).run(None)
    assert rig.calls(LIST_INSTANCES) == 1, "no call is sent that is known to be refused"

import threading

import pytest
from sqlalchemy import select, update

from jobs import chores, expiry, policy, transitions
from jobs.records import chores as chore_rows
from jobs.records import fleets
from jobs.states import Event, State
from jobs.transitions import Reason
from tests.support.fleets import add_fleet, add_job, read_job, submit, timeline

NO_IMAGE = Reason("unknown_image", "image is not valid", "image")


def fleet_of(database, states, *, name="made", **on_failure):
    """Add a fleet with a policy and one job in each state; return its id and the jobs."""
    given = {"on_failure": on_failure} if on_failure else {}
    fleet_id = add_fleet(database, name=name, count=len(states), **given)
    found = [
        add_job(database, state, fleet_id=fleet_id, position=at, label=f"{name}-{at}")
        for at, state in enumerate(states, 1)
    ]
    return fleet_id, found


def stopped(database, fleet_id):
    """Return since when and why the fleet is stopped."""
    with database.read() as tx:
        found = select(fleets.c.stopped_at, fleets.c.stop_reason).where(fleets.c.id == fleet_id)
        return tuple(tx.execute(found).one())


def refuse(database, job, why=NO_IMAGE):
    """Let a create be refused."""
    with database.write() as tx:
        transitions.refused(tx, job, why, actor="worker")


def test_the_failing_that_reaches_the_number_stops_the_fleet(database, clock):
    """The fleet is stopped in the transaction of the failing that reaches the number, with its reason."""
    fleet_id, found = fleet_of(database, [State.CREATING] * 3, stop_after=3, same_cause=True)
    refuse(database, found[0])
    refuse(database, found[1])
    assert stopped(database, fleet_id) == (None, None)
    refuse(database, found[2])
    assert stopped(database, fleet_id) == (clock.now, "3 jobs failed with unknown_image")


def test_another_cause_is_not_counted(database):
    """With `same_cause` only jobs that failed with the same code count; without it every one does."""
    for same, stops in ((True, False), (False, True)):
        asked = {"stop_after": 2, "same_cause": same}
        fleet_id, (first, second) = fleet_of(database, [State.CREATING] * 2, name=f"same-{same}", **asked)
        refuse(database, first)
        refuse(database, second, Reason("no_capacity", "sold out"))
        assert (stopped(database, fleet_id)[0] is not None) is stops


def test_what_we_ended_ourselves_is_not_counted(database):
    """A deadline's and a policy's own ends say nothing of the request."""
    fleet_id, found = fleet_of(database, [State.QUEUED, State.CREATING], stop_after=2)
    with database.write() as tx:
        why = Reason("deadline_exceeded", "too late")
        transitions.ended_waiting(tx, found[0], Event.DEADLINE_PASSED, why, actor="chore")
    refuse(database, found[1])
    assert stopped(database, fleet_id) == (None, None)


FAILINGS = {
    "refused": (State.CREATING, lambda tx, job: transitions.refused(tx, job, NO_IMAGE, actor="x")),
    "turned invalid": (
        State.DISPATCHED,
        lambda tx, job: transitions.ended_waiting(tx, job, Event.TURNED_INVALID, NO_IMAGE, actor="x"),
    ),
    "label taken": (State.UNCERTAIN, lambda tx, job: transitions.label_taken(tx, job, NO_IMAGE, actor="x")),
    "boot timed out": (
        State.BOOTING,
        lambda tx, job: transitions.lost(tx, job, Event.BOOT_TIMED_OUT, NO_IMAGE, actor="x"),
    ),
    "vanished": (
        State.RUNNING,
        lambda tx, job: transitions.lost(tx, job, Event.VANISHED, NO_IMAGE, actor="x"),
    ),
}


@pytest.mark.parametrize("name", FAILINGS)
def test_every_failing_counts(database, name):
    """Whatever fails a job passes the policy."""
    state, fail = FAILINGS[name]
    fleet_id, (job,) = fleet_of(database, [state], stop_after=1, same_cause=True)
    with database.write() as tx:
        assert fail(tx, job).state is State.FAILED
    assert stopped(database, fleet_id)[1] == "1 jobs failed with unknown_image"


def test_a_noted_end_counts_when_it_comes(database):
    """A job whose noted end comes true counts with the code that was noted."""
    fleet_id = add_fleet(database, on_failure={"stop_after": 1, "same_cause": True})
    noted = {"ending": "fail", "error_code": "no_capacity", "error_reason": "none left"}
    with database.read() as tx:
        now = tx.now
    job = add_job(database, State.UNCERTAIN, fleet_id=fleet_id, last_unknown_at=now, **noted)
    with database.write() as tx:
        transitions.absent(tx, job, actor="look-up")
    assert stopped(database, fleet_id)[1] == "1 jobs failed with no_capacity"


def test_a_fleet_without_a_policy_costs_no_statement_more(database):
    """A failing of a fleet without a policy is the same two statements as before: the guarded update and its line."""
    _, (job,) = fleet_of(database, [State.CREATING])
    with database.write() as tx:
        assert tx.now
        seen = []
        execute = tx.execute
        tx.execute = lambda *arguments: seen.append(arguments) or execute(*arguments)
        transitions.refused(tx, job, NO_IMAGE, actor="x")
    assert len(seen) == 2


def test_a_stopped_fleet_hastens_the_chore(database, clock):
    """The chore that ends what waits is due at once."""
    with database.write() as tx:
        chores.ensure(tx, [policy.CHORE])
        tx.execute(update(chore_rows).values(due_at=clock.at(60)))
    _, (job,) = fleet_of(database, [State.CREATING], stop_after=1)
    refuse(database, job)
    with database.read() as tx:
        assert chores.due(tx) == [policy.CHORE]


@pytest.mark.postgres
def test_two_that_fail_at_the_same_moment(postgres_database):
    """Of two jobs that fail in transactions of their own at the same moment, the second one counts the first."""
    database = postgres_database
    fleet_id, found = fleet_of(database, [State.CREATING] * 2, stop_after=2)
    meet = threading.Barrier(2)

    def fail(job):
        with database.write() as tx:
            assert tx.now
            meet.wait(10)
            transitions.refused(tx, job, NO_IMAGE, actor="x")

    threads = [threading.Thread(target=fail, args=(job,)) for job in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert stopped(database, fleet_id)[0] is not None


def test_what_waits_in_a_stopped_fleet_ends(database):
    """Waiting jobs of a stopped fleet end as `stopped_by_policy`, granted ones too; unknown ones are looked up."""
    states = [State.CREATING, State.SUBMITTED, State.QUEUED, State.DISPATCHED, State.RUNNING, State.CREATING]
    fleet_id, found = fleet_of(database, states, stop_after=1)
    with database.read() as tx:
        now = tx.now
    unknown = add_job(database, State.QUEUED, fleet_id=fleet_id, position=7, last_unknown_at=now)
    refuse(database, found[0])
    with database.read() as tx:
        assert expiry.next_due(tx) == now
    with database.write() as tx:
        assert expiry.end_stopped(tx, actor="chore") == 4
        assert expiry.end_stopped(tx, actor="chore") == 0
        assert expiry.next_due(tx) is None
    ended = [read_job(database, job.id) for job in found]
    assert [job.state.value for job in ended] == [
        "failed",
        "failed",
        "failed",
        "failed",
        "running",
        "creating",
    ]
    assert [job.error_code for job in ended[1:4]] == ["stopped_by_policy"] * 3
    assert "1 jobs failed, the last one with unknown_image" in ended[1].error_reason
    noted = read_job(database, unknown.id)
    assert (noted.state, noted.ending) == (State.UNCERTAIN, "fail")
    assert timeline(database, found[2].id)[-1]["event"] == "stopped"


def test_only_the_stopped_fleet_ends(database):
    """Another fleet of the same tenant goes on."""
    fleet_id, (job,) = fleet_of(database, [State.CREATING], stop_after=1)
    other = submit(database, name="other").fleet
    refuse(database, job)
    with database.write() as tx:
        assert expiry.end_stopped(tx, actor="chore") == 0
    assert stopped(database, fleet_id)[0] is not None
    assert stopped(database, other.id)[0] is None

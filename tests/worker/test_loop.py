from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy.exc import OperationalError

from jobs import house, overview
from jobs.states import State
from tests.support.fleets import ACCOUNT
from tests.worker.conftest import BOOT
from worker.lookup import Lookup
from worker.reconcile import Reconcile
from worker.removal import Removal
from worker.sweep import Intake, Sweep
from worker.watch import Watch


class Duty:
    """A chore that does what a test says, and counts."""

    lease = timedelta(seconds=30)

    def __init__(self, rig, name="duty", act=lambda: None, pause=60.0):
        self.rig, self.name, self.act, self.pause, self.runs = rig, name, act, pause, 0

    def wanted(self, tx):
        """Say now."""
        return tx.now

    def run(self, claim):
        """Do what the test says."""
        self.runs += 1
        self.act()
        return self.rig.clock.at(self.pause)


def prepared(rig, *duties, **options):
    """Return a loop with its rows made."""
    loop = rig.make_loop(*duties, **options)
    loop.prepare()
    return loop


def test_a_turn_admits_and_starts_what_is_due(rig):
    """One turn beats, admits and does the due chores; it says when the next one is worth it, at most a tick later."""
    duty = Duty(rig)
    loop = prepared(rig, duty)
    rig.submit({"count": 2})
    wait = loop.turn()
    assert (rig.count("dispatched"), duty.runs) == (2, 1)
    assert 0 <= wait <= rig.engine.pace.tick.total_seconds()
    loop.turn()
    assert duty.runs == 1
    rig.clock.advance(61)
    loop.turn()
    assert duty.runs == 2


def test_one_worker_at_a_time_does_a_chore(rig):
    """While one worker does a chore another one starts its own loop past it."""
    other = prepared(rig, Duty(rig), engine=rig.worker("worker-2"))
    nested = []
    duty = Duty(rig, act=lambda: nested.append(other.turn()))
    prepared(rig, duty).turn()
    assert nested
    assert other._chores["duty"].runs == 0


def test_a_chore_that_fails_does_not_stop_admission(rig, lines):
    """A chore that breaks off is logged, given back and tried again soon; admission goes on meanwhile."""

    def fail():
        raise RuntimeError("no such luck\nwith a second line")

    duty = Duty(rig, act=fail)
    loop = prepared(rig, duty, log=lines)
    rig.submit({"count": 1})
    loop.turn()
    assert rig.count("dispatched") == 1
    facts = {"chore": "duty", "error": "RuntimeError", "reason": "no such luck"}
    assert lines == [("warning", "a chore broke off", facts)]
    loop.turn()
    row = rig.chore("duty")
    assert (row.lease_until, row.due_at) == (None, rig.clock.at(5))
    assert "broke off" in row.error
    rig.clock.advance(5)
    loop.turn()
    assert duty.runs == 2


def test_a_chore_that_cannot_reach_the_api(rig, lines):
    """An error of the API is kept in the chore's row with the API's words."""
    rig.uncertain("reset_after")
    rig.clock.advance(5)
    rig.spoil("server_error", method="GET")
    lookup = Lookup(rig.engine)
    prepared(rig, lookup, log=lines).turn()
    row = rig.chore(lookup.name)
    assert "Internal server error" in row.error
    assert row.due_at == rig.clock.at(5)
    assert lines[-1][1] == "a chore could not reach the API"


def test_a_new_epoch_calls_reconcile(rig, lines):
    """A database on which no loop ran for a minute begins a new epoch: reconcile comes first, then admission."""
    reconcile = Reconcile(rig.engine)
    loop = prepared(rig, reconcile, log=lines)
    loop.turn()
    rig.submit({"count": 1})
    rig.clock.advance(house.ASLEEP.total_seconds() + 10)
    loop.turn()
    assert lines[0][1].startswith("a new epoch begins")
    with rig.database.read() as tx:
        assert len(set(house.epochs(tx, ACCOUNT))) == 1
    loop.turn()
    assert rig.count("dispatched") == 1


def test_a_new_epoch_while_reconcile_runs(rig):
    """A call for reconcile that comes while it runs is not forgotten when it ends."""
    loops = []

    def new_epoch():
        rig.clock.advance(house.ASLEEP.total_seconds() + 1)
        loops.pop().turn()

    reconcile = Duty(rig, name=f"reconcile:{ACCOUNT}", act=new_epoch, pause=300.0)
    loop = prepared(rig, reconcile)
    loops.append(prepared(rig, engine=rig.worker("worker-2")))
    loop.turn()
    assert rig.chore(reconcile.name).due_at <= rig.clock.now


def test_an_outage_of_the_database_is_survived(rig, lines):
    """While the database is away the loop says so and goes on; when it is back the work goes on by itself."""
    loop = prepared(rig, log=lines)
    turn, outages = loop.turn, []

    def turn_or_fail():
        if len(outages) < 2:
            outages.append(1)
            loop.wake()
            raise OperationalError(
                "SELECT secret", {"p": "secret"}, Exception("server closed the connection")
            )
        loop.stop()
        return turn()

    loop.turn = turn_or_fail
    rig.submit({"count": 1})
    thread = Thread(target=loop.run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert rig.count("dispatched") == 1
    assert [line[1] for line in lines] == ["the loop could not turn"] * 2
    assert "secret" not in str(lines)


def test_a_loop_that_cannot_begin_tries_again(rig, lines):
    """A database that is away at the start is waited for."""
    loop = rig.make_loop(log=lines)
    prepare, tries = loop.prepare, []

    def prepare_late():
        tries.append(1)
        loop.wake()
        if len(tries) < 3:
            raise OperationalError("SELECT 1", {}, Exception("starting up"))
        prepare()
        loop.stop()

    loop.prepare = prepare_late
    loop.run()
    assert len(tries) == 3


def test_a_worker_is_there_while_its_loop_runs(rig):
    """Each worker's loop says that it is there; ended in good order, the worker is not there any more."""
    loop = prepared(rig)

    def there():
        with rig.database.read() as tx:
            return [worker.name for worker in overview.system(tx).workers]

    turn, seen = loop.turn, []

    def turn_once():
        wait = turn()
        seen.append(there())
        loop.stop()
        return wait

    loop.turn = turn_once
    loop.run()
    loop.leave()
    assert (seen, there()) == ([["worker-1"]], [])


@pytest.mark.parametrize("headers", ["all", "limit-only", "none"])
def test_a_fleet_from_submit_to_running(make_rig, headers):
    """Two workers carry a fleet that meets every kind of trouble to running, each instance once, no call refused."""
    rig = make_rig(headers=headers)
    engines = [rig.worker(name) for name in ("worker-1", "worker-2")]
    kinds = (Watch, Lookup, Removal, Reconcile, Sweep, Intake)
    loops = [prepared(rig, *(kind(engine) for kind in kinds), engine=engine) for engine in engines]
    rig.submit({"count": 45})
    rig.spoil("reset_after", nth=[2, 30])
    rig.spoil("request_timeout", nth=[4], applied="no")
    rig.spoil("gateway_timeout", nth=[6], applied="later", after=4)
    for turns in range(1200):
        engine, loop = engines[turns % 2], loops[turns % 2]
        loop.turn()
        while rig.published:
            engine.create(rig.published.pop(0))
        rig.clock.advance(0.25)
        if rig.count(State.RUNNING) == 45:
            break
    assert rig.count(State.RUNNING) == 45
    assert len(rig.alive()) == 45
    assert rig.world.audit.traffic()["refused"] == 0
    assert rig.clock.monotonic() < 60 + 45 + BOOT * 2

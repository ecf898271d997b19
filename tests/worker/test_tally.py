from contextlib import suppress

import pytest

from jobs import house, tallies
from tests.worker.conftest import BOOT
from worker.config import LIST_REGIONS
from worker.tally import Counts, Tally
from worker.watch import Watch

CREATE = ("POST", "/linode/instances")
LIST = ("GET", "/linode/instances")


@pytest.fixture
def counts():
    """What a worker counts."""
    return Counts()


@pytest.fixture
def counting(rig, counts):
    """A loop whose engine's calls are counted, with the chores that matter here."""
    rig.engine = rig.worker("worker-1", called=counts.called)
    tally = Tally(rig.database, monotonic=rig.clock.monotonic)
    loop = rig.make_loop(tally, Watch(rig.engine), engine=rig.engine, counts=counts)
    loop.prepare()
    return loop


def read(rig, metric):
    """Return a counter by the values of its labels."""
    with rig.database.read() as tx:
        return {tuple(labels.values()): value for labels, value in tallies.read(tx).get(metric, [])}


def turn_for(rig, loop, seconds):
    """Let the loop turn once a second for so long, and create what it publishes."""
    for _ in range(int(seconds)):
        rig.published.clear()
        loop.turn()
        for job_id in list(rig.published):
            rig.engine.create(job_id)
        rig.clock.advance(1)


def test_a_worker_counts_its_calls_and_its_jobs(rig, counting):
    """Within a heartbeat the calls to the API are in the database, by route and status; the events within seconds."""
    rig.submit({"count": 3})
    turn_for(rig, counting, BOOT + 20)
    calls = read(rig, tallies.REQUESTS)
    assert calls[*CREATE, "200"] == rig.calls("POST /linode/instances") == 3
    assert calls[*LIST, "200"] == rig.calls("GET /linode/instances")
    assert read(rig, tallies.ENDED) == {("", "running"): 3}
    assert read(rig, tallies.EVENTS)["created",] == 3


def test_calls_are_counted_by_what_came_of_them(rig, counting, counts):
    """A refusal, a fault of the server and an answer that never came count as such."""
    for action in ("no_capacity", "server_error", "reset_after"):
        rig.spoil(action, count=1)
        rig.engine.create(rig.job(name=action.replace("_", "-")))
        rig.mend()
    with counts.taken() as taken:
        assert {key[1]: value for key, value in taken.items()} == {
            tallies.labelled(method="POST", route="/linode/instances", status=status): 1
            for status in ("400", "500", "none")
        }


def test_what_could_not_be_kept_is_kept_later(rig, counts):
    """Counts that were taken, and could not be committed, are handed out again beside the newer ones."""
    counts.called(LIST_REGIONS, 200)
    with suppress(ZeroDivisionError), counts.taken() as taken:
        counts.called(LIST_REGIONS, 200)
        assert list(taken.values()) == [1]
        raise ZeroDivisionError
    with counts.taken() as taken:
        assert list(taken.values()) == [2]
    with counts.taken() as taken:
        assert not taken


def test_a_worker_that_ends_hands_over_its_counts(rig, counting, counts):
    """In good order nothing is lost, and the worker is not counted as alive any more."""
    counting.turn()
    counts.called(LIST_REGIONS, 200)
    with rig.database.read() as tx:
        assert set(house.workers_seen(tx)) == {"worker-1"}
    counting.leave()
    assert read(rig, tallies.REQUESTS) == {("GET", "/regions", "200"): 1}
    with rig.database.read() as tx:
        assert house.workers_seen(tx) == {}


def test_a_worker_dies_and_another_counts_on(rig, counting):
    """What one worker has counted no other counts again, and what it had not, the next one does."""
    rig.submit({"count": 2}, name="first")
    turn_for(rig, counting, 5)
    other = rig.make_loop(Tally(rig.database, monotonic=rig.clock.monotonic), engine=rig.worker("worker-2"))
    rig.submit({"count": 2}, name="second")
    for _ in range(5):
        other.turn()
        rig.clock.advance(1)
    assert read(rig, tallies.EVENTS)["validated",] == 4


def test_where_nothing_happens_nothing_is_written(rig, counting):
    """Without events the chore stays due and is not done: idling costs no write."""
    turn_for(rig, counting, 5)
    before = rig.chore("tally").fence
    turn_for(rig, counting, 5)
    assert rig.chore("tally").fence == before

import pytest

from jobs import house
from jobs.chores import Claim
from tests.support.fleets import ACCOUNT
from worker.refresh import Refresh

LISTS = ["GET /linode/types", "GET /regions", "GET /images", "GET /regions/availability"]


@pytest.fixture
def offered():
    """What was offered to the cache, as (account, catalog)."""
    return []


@pytest.fixture
def refresh(rig, offered):
    """The chore; what it offers is kept."""
    return Refresh(rig.engine, lambda account, catalog, _parts: offered.append((account, catalog)))


def stored(rig):
    """Return the last good copy."""
    with rig.database.read() as tx:
        return house.load_catalog(tx, ACCOUNT)


def test_it_reads_page_by_page(rig, refresh, offered):
    """One refresh reads each list once, 500 a page: six calls for catalogs of the real API's size."""
    row = rig.do(refresh)
    assert [rig.calls(one) for one in LISTS] == [1, 1, 1, 3]
    found = stored(rig)
    assert (len(found.types), len(found.regions), len(found.images)) == (37, 34, 37)
    assert offered == [(ACCOUNT, found)]
    assert row.due_at == rig.clock.at(15 * 60)
    assert (row.error, row.state) == (None, {"failures": 0})


def test_the_same_content_is_the_same_version(rig, refresh):
    """Reading again what did not change changes its age and not its version: nothing is validated again."""
    rig.do(refresh)
    first = stored(rig)
    rig.clock.advance(900)
    rig.do(refresh)
    again = stored(rig)
    assert again.version == first.version
    assert again.fetched_at > first.fetched_at


def test_the_last_good_copy_is_kept(rig, refresh, offered):
    """A refresh that fails half-way leaves the copy before it, whole, and says why."""
    rig.do(refresh)
    good = stored(rig)
    rig.clock.advance(900)
    rig.spoil("server_error", method="GET", route="/regions/availability", nth=2)
    row = rig.do(refresh)
    assert stored(rig) == good
    assert len(offered) == 1
    assert "Internal server error" in row.error
    assert row.due_at == rig.clock.at(1)


def test_it_tries_again_ever_later(rig, refresh):
    """While the API is down the tries come after 1, 2, 4 … seconds, at most a minute apart; a success forgets that."""
    rig.spoil("down", how="reset", method=None, route=None)
    waits = []
    for _ in range(6):
        row = rig.do(refresh)
        waits.append((row.due_at - rig.clock.now).total_seconds())
        rig.clock.now = row.due_at
    assert waits == [1, 2, 4, 8, 16, 32]
    worn = Claim(refresh.name, 1, rig.clock.now, {"failures": 20})
    assert refresh.retry(worn, rig.clock.now) == rig.clock.at(60)
    rig.mend()
    rig.clock.advance(10)  # past the end of the lists' window
    rig.do(refresh)
    assert stored(rig) is not None
    rig.spoil("down", how="503", method=None, route=None)
    assert rig.do(refresh).due_at == rig.clock.at(1)


def test_a_spent_window_waits(rig, refresh):
    """A list that the rate limit refuses is read again when its window opens; what is stored stays."""
    rig.spoil("throttle", method="GET", route="/images", nth=1)
    row = rig.do(refresh)
    assert row.error is None
    assert rig.clock.at(1) <= row.due_at <= rig.clock.at(62)
    assert stored(rig) is None
    rig.clock.now = row.due_at
    for _ in range(4):  # each of the four lists has a window of its own
        rig.clock.now = max(rig.clock.now, rig.do(refresh).due_at)
    assert stored(rig) is not None


def test_its_due_date_is_its_only_condition(rig, refresh):
    """A refresh is wanted whenever it is due."""
    with rig.database.read() as tx:
        assert refresh.wanted(tx) == tx.now

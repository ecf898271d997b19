import pytest

from jobs import picks
from jobs.listing import JobFilter
from jobs.picks import Pick
from jobs.states import State
from tests.support.fleets import TENANT, add_fleet, add_job, add_tenant, submit


@pytest.fixture
def fleets(database):
    """Two fleets of the tenant, with a job in each of some states, and one fleet of another tenant."""
    made = {}
    for name, states in {
        "first": (State.QUEUED, State.FAILED, State.FAILED),
        "second": (State.RUNNING, State.FAILED),
    }.items():
        made[name] = add_fleet(database, name=name)
        for position, state in enumerate(states, 1):
            more = {"linode_id": 9000 + position} if state is State.RUNNING else {}
            label = f"{name}-{position}"
            add_job(database, state, fleet_id=made[name], position=position, label=label, **more)
    add_tenant(database, "other")
    submit(database, name="theirs", tenant="other")
    return made


def shares(database, where, ids=None):
    """Return what is picked, by fleet."""
    with database.read() as tx:
        return {one.fleet: one for one in picks.shares(tx, Pick(TENANT, where, ids))}


def ids_of(database, fleet_id):
    """Return the ids of a fleet's jobs, by position."""
    return [one for page in picks.pages(database, Pick(TENANT, JobFilter(fleet_id=fleet_id))) for one in page]


def test_a_filter_is_shared_out_among_fleets(database, fleets):
    """Jobs that fit are counted by fleet and state, one's own only, and named by no ids."""
    found = shares(database, JobFilter())
    assert {name: dict(one.states) for name, one in found.items()} == {
        "first": {"queued": 1, "failed": 2},
        "second": {"running": 1, "failed": 1},
    }
    assert {one.fleet_id for one in found.values()} == set(fleets.values())
    assert {one.ids for one in found.values()} == {None}
    assert dict(
        shares(database, JobFilter(fleet_id=fleets["first"], state=State.QUEUED))["first"].states
    ) == {"queued": 1}


def test_ids_are_shared_out_among_fleets(database, fleets):
    """Each fleet has those of the ids that are its own; what is unknown, another tenant's or no id is left out."""
    mine, others = ids_of(database, fleets["first"]), ids_of(database, fleets["second"])
    found = shares(database, JobFilter(), (mine[1], others[0], "nonsense", "0" * 36))
    assert {name: one.ids for name, one in found.items()} == {"first": (mine[1],), "second": (others[0],)}
    assert dict(found["second"].states) == {"running": 1}


def test_another_tenants_jobs_are_none(database, fleets):
    """By their ids they are not found."""
    with database.read() as tx:
        theirs = [one.fleet_id for one in picks.shares(tx, Pick("other", JobFilter()))]
    ids = [
        one for page in picks.pages(database, Pick("other", JobFilter(fleet_id=theirs[0]))) for one in page
    ]
    assert shares(database, JobFilter(), tuple(ids)) == {}


def test_a_sample_names_a_few(database, fleets):
    """Labels of those in one of the states come, of a fleet in order, and no more than asked for."""
    with database.read() as tx:
        whole = Pick(TENANT, JobFilter(fleet_id=fleets["first"]))
        assert picks.sample(tx, whole, (State.FAILED, State.QUEUED), 2) == ["first-1", "first-2"]
        assert picks.sample(tx, whole, (State.FAILED,), 9) == ["first-2", "first-3"]
        assert sorted(picks.sample(tx, Pick(TENANT, JobFilter()), (State.FAILED,), 9)) == [
            "first-2",
            "first-3",
            "second-2",
        ]

from dataclasses import replace

import pytest
from sqlalchemy import select

from jobs.records import jobs
from jobs.states import State
from simulator.catalog import load_catalog
from tests.support.fleets import catalog, job_columns, set_job
from worker.lookup import Lookup
from worker.watch import Watch

REGIONS = ["us-east", "eu-west"]
TYPES = ["g6-nanode-1", "g6-standard-2"]


def unavailable(rig, *pairs):
    """Let the API have no room for types in regions, whatever its catalog says."""
    gone = frozenset((region, plan) for plan, region in pairs)
    rig.world.catalog = replace(load_catalog(), unavailable=gone)


def sold_out(*pairs, version="v2"):
    """Return a newer catalog in which types cannot be had in regions."""
    rows = [{"region": region, "plan": plan, "available": False} for plan, region in pairs]
    return catalog(version, availability=rows)


def again(rig, job_id):
    """Admit what waits and create the job; return what came of it."""
    assert job_id in rig.admit()
    return rig.engine.create(job_id)


def run_all(rig, *, windows=60):
    """Admit and create, window by window, until nothing waits."""
    for _ in range(windows):
        for job_id in rig.admit():
            rig.engine.create(job_id)
        rig.clock.advance(16)
        if not rig.count("queued"):
            return


def test_no_room_takes_the_next_alternative(rig):
    """A region without room is a definite no: the job waits again for the next one, in a new attempt, and gets it."""
    unavailable(rig, ("g6-nanode-1", "us-east"))
    job_id = rig.job(region=REGIONS)
    assert rig.engine.create(job_id) == "queued"
    job = job_columns(rig.database, job_id)
    assert (job["attempt"], job["choice"], job["region"], job["error_code"]) == (2, 1, "eu-west", None)
    assert rig.detail(job_id, "fell_back") == {
        "code": "no_capacity",
        "reason": rig.detail(job_id, "fell_back")["reason"],
        "field": "region",
        "from": "g6-nanode-1 in us-east",
        "to": "g6-nanode-1 in eu-west",
    }
    assert again(rig, job_id) == "booting"
    (one,) = rig.alive()
    assert (one.shown["region"], f"nw:{job_id}.2" in one.shown["tags"]) == ("eu-west", True)
    assert job_columns(rig.database, job_id)["got_region"] == "eu-west"


def test_a_hundred_jobs_of_a_region_without_room(rig):
    """With one alternative a hundred jobs of a region without room all run elsewhere, a hundred instances in all."""
    unavailable(rig, ("g6-nanode-1", "us-east"))
    rig.submit({"count": 100, "region": REGIONS})
    run_all(rig)
    rig.do(Watch(rig.engine))
    assert (rig.count("running"), len(rig.alive()), len(rig.world.instances)) == (100, 100, 100)
    with rig.database.read() as tx:
        found = tx.execute(select(jobs.c.got_region, jobs.c.region, jobs.c.choice, jobs.c.attempt).distinct())
        assert [tuple(row) for row in found] == [("eu-west", "eu-west", 1, 2)]


@pytest.mark.parametrize("action", ["plan_limit", "vcpu_limit"])
def test_a_plans_limit_takes_the_next_alternative(rig, action):
    """An account's limit on one plan is no reason against another one."""
    job_id = rig.job(type=TYPES)
    rig.spoil(action, nth=1)
    assert rig.engine.create(job_id) == "queued"
    assert again(rig, job_id) == "booting"
    job = job_columns(rig.database, job_id)
    assert (job["got_type"], job["hourly_microusd"], job["reserved_microusd"]) == (
        "g6-standard-2",
        36_000,
        36_000,
    )


def test_with_no_alternative_left_the_job_fails(rig):
    """When the last alternative is refused the job has failed, with the last refusal's words."""
    job_id = rig.job(region=REGIONS)
    rig.spoil("no_capacity")
    assert rig.engine.create(job_id) == "queued"
    assert again(rig, job_id) == "failed"
    assert (rig.row(job_id).error_code, rig.row(job_id).attempt, rig.alive()) == ("no_capacity", 2, [])


def test_another_no_is_final(rig):
    """What is wrong with the request itself is wrong everywhere: nothing else is taken."""
    job_id = rig.job(region=REGIONS)
    rig.spoil("no_capacity", reason="image is not valid")
    assert rig.engine.create(job_id) == "failed"


def test_a_cancelled_job_takes_nothing_else(rig):
    """A cancel that was noted while the create was under way starts no new attempt."""
    fleet = rig.submit({"region": REGIONS})
    (job_id,) = rig.admit()
    rig.spoil("no_capacity")
    send = rig.engine._send
    rig.engine._send = lambda *given: (send(*given), rig.cancel(fleet))[0]
    assert rig.engine.create(job_id) == "failed"
    assert rig.row(job_id).attempt == 1


def test_the_cheapest_is_asked_first_and_the_next_by_price(rig):
    """By price the cheaper type is asked for first, and the dearer one when that is not had."""
    job_id = rig.job(type=["g6-standard-2", "g6-nanode-1"], prefer="cheapest")
    assert (rig.row(job_id).type, rig.row(job_id).choice) == ("g6-nanode-1", 1)
    rig.spoil("no_capacity", nth=1)
    rig.engine.create(job_id)
    assert (rig.row(job_id).type, rig.row(job_id).choice) == ("g6-standard-2", 0)
    rig.spoil("no_capacity")
    assert again(rig, job_id) == "failed"


def test_a_newer_catalog_says_sold_out(rig):
    """When a newer catalog says that it is sold out, nothing is sent for it: the next alternative is taken."""
    job_id = rig.job(region=REGIONS)
    rig.catalog = sold_out(("g6-nanode-1", "us-east"))
    assert rig.engine.create(job_id) == "not mine"
    assert (rig.row(job_id).region, rig.row(job_id).sends, rig.row(job_id).attempt) == ("eu-west", 0, 2)
    assert again(rig, job_id) == "booting"


def test_a_newer_catalog_without_any_of_them(rig):
    """When none of its alternatives can be had any more, a job has failed as it would with one."""
    job_id = rig.job(region=REGIONS)
    rig.catalog = sold_out(*(("g6-nanode-1", region) for region in REGIONS))
    rig.engine.create(job_id)
    assert (rig.state(job_id), rig.row(job_id).error_code) == (State.FAILED, "unavailable")


def test_an_alternative_that_is_sold_out_is_passed_over(rig):
    """What the catalog says is sold out is not asked for: the one after it is taken."""
    job_id = rig.job(type=TYPES, region=REGIONS)
    rig.catalog = sold_out(("g6-nanode-1", "eu-west"))
    rig.spoil("no_capacity", nth=1)
    rig.engine.create(job_id)
    assert (rig.row(job_id).type, rig.row(job_id).region) == ("g6-standard-2", "us-east")


def test_each_alternative_has_a_verdict_of_its_own(rig):
    """That one region is sold out is not remembered against another one's jobs of the same group."""
    rig.submit({"count": 2, "region": REGIONS})
    first, second = rig.admit()
    set_job(rig.database, second, choice=1, region="eu-west")
    rig.catalog = sold_out(("g6-nanode-1", "us-east"))
    assert [rig.engine.create(one) for one in (first, second)] == ["not mine", "booting"]


def test_a_spread_job_takes_no_other_region(rig):
    """A spread says where, and that holds: without another type such a job fails."""
    job_id = rig.job(region=None, regions=REGIONS)
    rig.spoil("no_capacity")
    assert rig.engine.create(job_id) == "failed"
    assert rig.row(job_id).region == "us-east"


# After an unknown send -----------------------------------------------------------------------------------------------


def unknown_then(rig, action, **group):
    """Bring a job to its second send after one that never arrived, and let that end as ``action``; return its id."""
    job_id = rig.job(**group)
    rig.spoil("reset_before", nth=1)
    assert rig.engine.create(job_id) == "uncertain"
    look(rig, job_id)
    rig.mend()
    rig.spoil(action)
    assert again(rig, job_id) == "uncertain"
    return job_id


def look(rig, job_id):
    """Look the job up after its grace period, and once more if that was too early."""
    for _ in range(3):
        rig.clock.advance(rig.engine.pace.grace.total_seconds() + 1)
        rig.do(Lookup(rig.engine))
        if rig.state(job_id) is not State.UNCERTAIN:
            return


def test_a_no_after_an_unknown_send_looks_first(rig):
    """A refusal after an unknown send takes nothing else yet: only what is absent since that refusal falls back."""
    job_id = unknown_then(rig, "no_capacity", region=REGIONS)
    assert (rig.row(job_id).ending, rig.row(job_id).attempt) == (None, 1)
    look(rig, job_id)
    job = rig.row(job_id)
    assert (job.state, job.attempt, job.region, job.last_unknown_at) == (State.QUEUED, 2, "eu-west", None)
    rig.mend()
    assert again(rig, job_id) == "booting"
    assert len(rig.world.instances) == 1


def test_what_was_made_after_all_is_adopted(rig):
    """An instance of the unknown send that shows up at the look is the job's own, and nothing else is bought."""
    job_id = rig.job(region=REGIONS)
    rig.spoil("gateway_timeout", nth=1, applied="later", after=80)
    assert rig.engine.create(job_id) == "uncertain"
    look(rig, job_id)
    rig.mend()
    rig.spoil("no_capacity")
    assert again(rig, job_id) == "uncertain"
    rig.clock.advance(30)
    rig.world.advance(rig.wall())
    look(rig, job_id)
    assert (rig.state(job_id), len(rig.world.instances)) == (State.BOOTING, 1)
    assert job_columns(rig.database, job_id)["got_region"] == "us-east"


def test_with_no_alternative_left_a_no_after_an_unknown_send_is_noted(rig):
    """Without an alternative the end is noted, as ever, and comes with the look."""
    job_id = unknown_then(rig, "no_capacity")
    assert rig.row(job_id).ending == "fail"
    look(rig, job_id)
    assert (rig.state(job_id), rig.row(job_id).error_code) == (State.FAILED, "no_capacity")


def test_sold_out_after_an_unknown_send_is_asked_all_the_same(rig):
    """After an unknown send only the API's own no counts: what a newer catalog calls sold out is sent again."""
    job_id = rig.job(region=REGIONS)
    rig.spoil("reset_before", nth=1)
    rig.engine.create(job_id)
    look(rig, job_id)
    rig.mend()
    rig.catalog = sold_out(("g6-nanode-1", "us-east"))
    rig.spoil("no_capacity", nth=1)
    assert again(rig, job_id) == "uncertain"
    look(rig, job_id)
    assert (rig.row(job_id).attempt, rig.row(job_id).region) == (2, "eu-west")
    assert again(rig, job_id) == "booting"

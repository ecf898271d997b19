from dataclasses import replace

import pytest

from tests.chaos.audit import Verdict, compare, find_secrets, judge_fleets, most_at_once
from tests.chaos.plan import FREEZE_SECONDS, FleetPlan, make_plan

CANCELLED = frozenset({"cancel-1"})


def _row(number, **changes):
    usual = {
        "id": f"job-{number}",
        "fleet": "web",
        "label": f"web-{number}",
        "state": "running",
        "linode_id": number,
        "parked": False,
        "error_code": None,
        "error_reason": None,
    }
    return {**usual, **changes}


def _instance(number, job=None, deleted=None, created=1.0):
    tags = ["nodewright:1", f"nw:job-{job or number}.1"]
    return {
        "id": number,
        "label": f"web-{job or number}",
        "tags": tags,
        "created": created,
        "deleted": deleted,
    }


def test_all_well():
    """Each running row with its own instance, and a cancelled one without, break no promise."""
    rows = [_row(1), _row(2), _row(3, state="cancelled", fleet="cancel-1", linode_id=None)]
    verdict = compare(rows, [_instance(1), _instance(2)], cancelled=CANCELLED)

    assert verdict.violations == []
    assert (verdict.asked, verdict.kept, verdict.cancelled, verdict.at_once) == (3, 2, 1, 1)


@pytest.mark.parametrize(
    ("rows", "instances", "field"),
    [
        ([_row(1)], [_instance(1), _instance(2, job=1)], "twice"),
        ([_row(1)], [_instance(1), _instance(2, job=9)], "orphans"),
        ([_row(1, state="cancelled", fleet="cancel-1", linode_id=None)], [_instance(1)], "orphans"),
        ([_row(1, state="uncertain", linode_id=None)], [], "without_end"),
        ([_row(1, state="uncertain", parked=True)], [], "without_end"),
        ([_row(1, state="deleting", fleet="cancel-1")], [_instance(1)], "without_end"),
        ([_row(1)], [_instance(2, job=1)], "orphans"),
    ],
)
def test_each_violation_is_caught(rows, instances, field):
    """What breaks a promise is counted under its name, and said."""
    verdict = compare(rows, instances, cancelled=CANCELLED)

    assert getattr(verdict, field) == 1
    assert verdict.violations


@pytest.mark.parametrize(
    ("rows", "instances"),
    [
        ([_row(1)], []),
        ([_row(1)], [_instance(1, deleted=2.0)]),
        ([_row(1, state="failed")], []),
        ([_row(1, state="cancelled")], []),
        ([_row(1, state="deleted")], []),
    ],
)
def test_what_was_asked_for_and_is_not_there(rows, instances):
    """A job that nobody cancelled must end with its instance."""
    assert compare(rows, instances, cancelled=CANCELLED).violations


def test_the_worst_moment():
    """Instances that never existed together are not two at once."""
    first, second = _instance(1, created=1.0, deleted=3.0), _instance(2, created=4.0)

    assert most_at_once([first, second]) == 1
    assert most_at_once([first, {**second, "created": 2.0}]) == 2


@pytest.mark.parametrize(
    ("accepted", "table"),
    [
        ({}, []),
        ({"k": "f"}, []),
        ({"k": "f"}, [("f", 1)]),
        ({"k": "f"}, [("f", 2), ("g", 2)]),
        ({"k": "f"}, [("g", 2)]),
    ],
)
def test_fleets_are_there_exactly_once(accepted, table):
    """A fleet that was never accepted, is missing, is there twice, or lacks jobs is said."""
    plan = FleetPlan("k", {"count": 2})
    rows = [{"id": fleet, "idempotency_key": "k", "jobs": jobs} for fleet, jobs in table]
    verdict, well = Verdict(), Verdict()
    judge_fleets(verdict, [plan], accepted, rows)
    judge_fleets(well, [plan], {"k": "f"}, [{"id": "f", "idempotency_key": "k", "jobs": 2}])

    assert verdict.violations
    assert well.violations == []


def test_secrets_are_found(tmp_path):
    """A secret is found as typed, in JSON and in base64."""
    secret = "#cloud-config\nsecret"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_text('{"x": "#cloud-config\\nsecret"}')
    more = {"broker": b"I2Nsb3VkLWNvbmZpZwpzZWNyZXQ=", "clean": b"nothing"}

    assert len(find_secrets([secret], [tmp_path], more)) == 2


def test_a_seed_is_a_storm():
    """The same seed makes the same storm, of the size that was promised, with freezes past the lease."""
    plan = make_plan(3, instances=520, minutes=3.5)
    kills = sum(len(action.targets) for action in plan.actions if action.kind == "kill")
    long = [action for action in plan.actions if action.kind == "freeze" and action.lasts >= FREEZE_SECONDS]

    assert plan == make_plan(3, instances=520, minutes=3.5)
    assert plan != replace(make_plan(4, instances=520, minutes=3.5), seed=3)
    assert sum(fleet.count for fleet in plan.fleets) >= 520
    assert kills >= 210
    assert len(long) == 2

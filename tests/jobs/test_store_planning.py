import pytest
from sqlalchemy import func, select, update

from jobs.fleets import Guards
from jobs.records import accounts, fleets, job_events, jobs, tenants
from jobs.service import CatalogUnavailable
from tests.support.fleets import (
    ACCOUNT,
    PARTS,
    TENANT,
    catalog,
    fleet_request,
    make_service,
    move_in,
    set_job,
    submit,
)

PRICED = {
    "types": [
        {
            **PARTS["types"][0],
            "region_prices": [{"id": "eu-west", "hourly": 0.01, "monthly": 6.0}],
            "addons": {"backups": {"price": {"hourly": 0.003, "monthly": 2.0}}},
        },
        PARTS["types"][1],
    ],
    "images": [*PARTS["images"], {"id": "linode/old", "size": 100, "deprecated": True}],
}


def plan(database, *groups, guards=None, **fleet):
    """Return the plan of a request as JSON."""
    parts = {"guards": guards} if guards else {}
    found = catalog(**PRICED)
    service = make_service(database, catalogs=lambda _: found, **parts)
    return service.plan(fleet_request(*groups, **fleet), tenant=TENANT).to_json()


def everything(database):
    """Return all that a plan must leave alone."""
    with database.read() as tx:
        counts = [
            tx.execute(select(func.count()).select_from(one)).scalar() for one in (fleets, jobs, job_events)
        ]
        return counts, tx.execute(select(tenants)).all()


def test_a_plan_counts_and_prices(database):
    """Groups of one type and region are one line; region prices and backups are in it."""
    made = plan(
        database,
        {"count": 2},
        {"count": 1, "name": "more", "label_pattern": "m-{index}"},
        {"count": 3, "region": "eu-west", "backups_enabled": True, "label_pattern": "eu-{index}"},
    )
    assert [
        (one["region"], one["count"], one["hourly_usd"], one["backups_hourly_usd"]) for one in made["lines"]
    ] == [
        ("us-east", 3, 0.0225, None),
        ("eu-west", 3, 0.039, 0.009),
    ]
    assert (made["verdict"], made["count"], made["accepted"]) == ("accept", 6, 6)
    assert (made["hourly_usd"], made["monthly_usd"]) == (0.0615, 39.0)
    assert made["quota"]["instances"]["after"] == 6


def test_a_plan_stores_nothing(database):
    """After a plan every table is as it was, also the tenant's guard and what a submit would release."""
    submit(database, {"count": 2})
    set_job(database, make_service(database).jobs(TENANT)[0].id, state="cancelled")
    before = everything(database)
    assert plan(database, {"count": 5}, name="more")["quota"]["instances"] == {
        "limit": 100_000,
        "used": 1,
        "after": 6,
    }
    assert everything(database) == before


def test_a_plan_says_what_would_be_refused(database):
    """A wrong group refuses everything, or with `skip` its own jobs only."""
    groups = ({"count": 2}, {"count": 3, "region": "mars", "label_pattern": "x-{index}"})
    refused = plan(database, *groups)
    assert (refused["verdict"], refused["accepted"], refused["hourly_usd"]) == ("refuse", 0, 0.0)
    assert [one["code"] for one in refused["errors"]] == ["unknown_region"]
    some = plan(database, *groups, on_invalid="skip")
    assert (some["verdict"], some["accepted"], some["hourly_usd"]) == ("accept_some", 2, 0.015)
    assert [line["accepted"] for line in some["lines"]] == [2, 0]


@pytest.mark.parametrize(
    "guards", [Guards(max_instances=3), Guards(max_hourly_microusd=20_000)], ids=["instances", "spend"]
)
def test_a_plan_says_what_the_guards_refuse(database, guards):
    """A guard that a submit would meet is met by the plan, in the same words."""
    made = plan(database, {"count": 4}, guards=guards)
    assert (made["verdict"], [one["code"] for one in made["errors"]]) == ("refuse", ["quota_exceeded"])
    assert made["errors"][0]["pointer"] == "/groups/0/count"


def test_a_plan_warns(database):
    """A deprecated image, and instances of the same fleet that are there already, are warnings."""
    submit(database, {"count": 2})
    made = plan(database, {"image": "linode/old", "label_pattern": "other-{index}"}, on_existing="new")
    assert [one["code"] for one in made["warnings"]] == ["image_deprecated", "fleet_exists"]
    assert "2 instances" in made["warnings"][1]["message"]
    assert made["verdict"] == "accept"


def test_labels_that_are_taken_are_refused(database):
    """Planning the same fleet twice over says which labels are in use."""
    submit(database, {"count": 2})
    made = plan(database, {"count": 3}, on_invalid="skip", on_existing="new")
    assert ([one["code"] for one in made["errors"]], made["accepted"]) == (["label_taken"], 1)


def test_a_name_in_use_refuses_the_plan(database):
    """Planning a fleet whose name is in use says so first, and that nothing would be stored."""
    submit(database, {"count": 2})
    made = plan(database, {"label_pattern": "other-{index}"})
    assert ([one["code"] for one in made["errors"]], made["verdict"]) == (["fleet_exists"], "refuse")
    assert made["warnings"] == []


def test_a_plan_estimates_from_the_window_and_the_queue(database):
    """The estimate stands on the rate window, on the jobs that wait already and on how long instances boot."""
    move_in(database)
    submit(database, {"count": 20})
    with database.write() as tx:
        tx.execute(update(accounts).where(accounts.c.id == ACCOUNT).values(boot_seconds=30.0))
    found = plan(database, {"count": 20}, name="next")["estimate"]
    assert (found["jobs_ahead"], found["boot_seconds"], found["boot_seconds_known"]) == (20, 30.0, True)
    assert 45 <= found["all_running_seconds"] <= 46


def test_a_plan_says_what_stands_still(database):
    """With a paused account nothing moves, and the estimate says why."""
    move_in(database)
    with database.write() as tx:
        values = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": "Invalid Token"}
        tx.execute(update(accounts).values(**values))
    assert "Invalid Token" in " ".join(plan(database)["estimate"]["holds"])


def test_without_a_worker_there_is_no_estimate(database):
    """Where no worker ever registered its token nothing can be said."""
    assert plan(database)["estimate"] is None


def test_secrets_are_planned_and_not_shown(database):
    """A document with a password is planned without a key to seal it, and the plan holds no secret."""
    made = plan(database, {"root_pass": "Correct-Horse-42-battery"})
    assert made["verdict"] == "accept"
    assert "Horse" not in str(made)


def test_without_a_catalog_nothing_is_planned(database):
    """A plan needs a catalog, and says so."""
    service = make_service(database, catalogs=lambda _: None)
    with pytest.raises(CatalogUnavailable):
        service.plan(fleet_request(), tenant=TENANT)

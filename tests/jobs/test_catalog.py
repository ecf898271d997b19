from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import Catalog, Image, PlanType, Price, Region, micro_usd

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NANODE = {
    "id": "g6-nanode-1",
    "label": "Nanode 1GB",
    "class": "nanode",
    "memory": 1024,
    "disk": 25600,
    "vcpus": 1,
    "gpus": 0,
    "price": {"hourly": 0.0075, "monthly": 5.0},
    "region_prices": [{"id": "br-gru", "hourly": 0.0105, "monthly": 7.0}],
    "addons": {"backups": {"price": {"hourly": 0.003, "monthly": 2.0}, "region_prices": []}},
    "field_of_tomorrow": 1,
}


def catalog(types=(), regions=(), images=(), availability=()):
    """Return a catalog of these rows."""
    return Catalog.from_rows(
        types=types, regions=regions, images=images, availability=availability, version="v1", fetched_at=NOW
    )


def test_type_row():
    """A type keeps its sizes and its prices in micro-USD, with the regions where others hold."""
    plan = catalog(types=[NANODE]).types["g6-nanode-1"]
    assert (plan.label, plan.klass, plan.memory, plan.disk, plan.vcpus) == (
        "Nanode 1GB",
        "nanode",
        1024,
        25600,
        1,
    )
    assert (plan.hourly_microusd, plan.monthly_microusd) == (7500, 5_000_000)
    assert plan.prices.at("br-gru") == Price(10_500, 7_000_000)
    assert plan.backups.at("br-gru") == Price(3000, 2_000_000)


def test_bare_rows_are_tolerated():
    """A row with nothing but an id is read, and what it does not say stays unknown."""
    plan, region, image = (
        PlanType.from_row({"id": "t"}),
        Region.from_row({"id": "r"}),
        Image.from_row({"id": "i"}),
    )
    assert (plan.label, plan.disk, plan.gpus, plan.prices.base, plan.needs) == ("t", None, 0, Price(), None)
    assert (region.status, region.capabilities, region.lacks("Metadata")) == ("ok", None, False)
    assert (image.status, image.size, image.eol, image.lacks("cloud-init")) == (
        "available",
        None,
        None,
        False,
    )
    assert (image.regions, image.deprecated, image.is_public) == (frozenset(), False, True)


def test_null_fields_are_tolerated():
    """A null is the same as a field that is missing."""
    row = dict.fromkeys(
        ["price", "region_prices", "addons", "disk", "gpus", "capabilities", "regions", "eol"]
    )
    assert PlanType.from_row({**row, "id": "x"}) == PlanType.from_row({"id": "x"})
    assert Region.from_row({**row, "id": "x"}) == Region.from_row({"id": "x"})
    assert Image.from_row({**row, "id": "x"}) == Image.from_row({"id": "x"})


def test_rows_without_id_are_skipped():
    """A row without an id, or an availability row without its three fields, is left out."""
    built = catalog([{"label": "x"}], [{"id": None}], [{}], [{"region": "r", "plan": "t"}])
    assert [*built.types, *built.regions, *built.images, *built.availability] == []


@pytest.mark.parametrize(
    ("row", "needs"),
    [
        ({"class": "gpu"}, "GPU Linodes"),
        ({"class": "standard", "gpus": 1}, "GPU Linodes"),
        ({"class": "premium"}, "Premium Plans"),
        ({"class": "standard"}, None),
    ],
)
def test_needed_capability(row, needs):
    """GPU and premium plans need a capability of their region."""
    assert PlanType.from_row({"id": "t", **row}).needs == needs


def test_capabilities():
    """A region or image lacks what it does not list, once it lists anything or nothing."""
    region = Region.from_row({"id": "r", "capabilities": ["Metadata"]})
    image = Image.from_row({"id": "i", "capabilities": []})
    assert (region.lacks("Metadata"), region.lacks("Backups"), image.lacks("cloud-init")) == (
        False,
        True,
        True,
    )


def test_image_row():
    """A private image keeps the regions that hold a copy, and its end of life in UTC."""
    regions = [{"region": "us-east", "status": "available"}, "us-west"]
    row = {
        "id": "private/1",
        "regions": regions,
        "eol": "2028-06-30T00:00:00",
        "deprecated": True,
        "size": 900,
    }
    image = Image.from_row(row)
    assert (image.is_public, image.deprecated, image.size) == (False, True, 900)
    assert image.regions == {"us-east", "us-west"}
    assert image.eol == datetime(2028, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("eol", "expected"), [("soon", None), ("2028-06-30T00:00:00+00:00", 2028), (17, None)]
)
def test_end_of_life_in_other_forms(eol, expected):
    """A time that can't be read is unknown; one with an offset keeps it."""
    instant = Image.from_row({"id": "i", "eol": eol}).eol
    assert (instant and instant.year) == expected


def test_availability():
    """Only a row that says false makes a plan unavailable; an absent row means nothing."""
    rows = [{"region": "r", "plan": "a", "available": False}, {"region": "r", "plan": "b", "available": True}]
    built = catalog(availability=rows)
    assert [built.is_unavailable("r", plan) for plan in "abc"] == [True, False, False]


def test_sorted_ids():
    """Ids are offered sorted, and regions can be asked for by capability."""
    regions = [{"id": "b", "capabilities": ["X"]}, {"id": "a", "capabilities": ["X"]}, {"id": "c"}]
    built = catalog([{"id": "t2"}, {"id": "t1"}], regions, [{"id": "i"}])
    assert (built.type_ids, built.region_ids, built.image_ids) == (("t1", "t2"), ("a", "b", "c"), ("i",))
    assert built.regions_with("X") == ["a", "b"]


def test_catalog_is_read_only():
    """Nobody can change a catalog that others read."""
    with pytest.raises(TypeError):
        catalog().types["x"] = None


@pytest.mark.parametrize(
    ("amount", "micro"),
    [
        (0.0075, 7500),
        (5, 5_000_000),
        ("0.1", 100_000),
        (0.0000005, 1),
        (None, 0),
        ("free", 0),
        (float("nan"), 0),
    ],
)
def test_micro_usd(amount, micro):
    """A JSON price becomes whole micro-USD; no price is zero."""
    assert micro_usd(amount) == micro


@given(st.integers(min_value=0, max_value=10**9))
def test_micro_usd_is_exact(micro):
    """No price of up to six decimals is off by the binary fraction that JSON made of it."""
    assert micro_usd(micro / 1_000_000) == micro

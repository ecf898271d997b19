from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.choices import Choice, alternatives, dearest, in_order, place_of, regions_of, rest, shares
from jobs.starts import start_of
from tests.support.clock import START
from tests.support.fleets import catalog, fleet_request

TYPES = ["g6-standard-2", "g6-nanode-1"]
REGIONS = ["us-east", "eu-west"]


def group(**fields):
    """Return a group with alternatives."""
    return fleet_request({"type": TYPES, "region": REGIONS, **fields}).groups[0]


def spread(regions, count, **fields):
    """Return a group that is spread over regions."""
    return fleet_request({"region": None, "regions": regions, "count": count, **fields}).groups[0]


def test_the_same_type_elsewhere_comes_before_another_type():
    """Alternatives go type by type over the regions, as written."""
    assert alternatives(group(), None) == (
        ("g6-standard-2", "us-east"),
        ("g6-standard-2", "eu-west"),
        ("g6-nanode-1", "us-east"),
        ("g6-nanode-1", "eu-west"),
    )


def test_plain_text_has_one_alternative():
    """One type in one region is all there is, and nothing comes after it."""
    one = fleet_request().groups[0]
    assert alternatives(one, None) == (("g6-nanode-1", "us-east"),)
    assert list(rest(one, "us-east", 0, catalog())) == []


def test_the_cheapest_is_tried_first():
    """`prefer: cheapest` tries by price, as written where prices are equal; a choice keeps its place as written."""
    cheapest = group(prefer="cheapest")
    assert [index for index, _ in in_order(cheapest, alternatives(cheapest, None), catalog())] == [2, 3, 0, 1]
    assert [index for index, _ in rest(cheapest, "eu-west", 3, catalog())] == [0, 1]
    assert [index for index, _ in in_order(cheapest, alternatives(cheapest, None), None)] == [0, 1, 2, 3]


def test_the_dearest_price_is_what_a_job_may_come_to_cost():
    """The dearest alternative's price is known beforehand; what the catalog does not know costs nothing yet."""
    assert dearest(group(), alternatives(group(), None), catalog()).hourly == 36_000
    assert dearest(group(), alternatives(group(), None), None).hourly == 0


def test_a_spread_job_never_leaves_its_region():
    """Within a spread the types are alternatives, the regions are not."""
    found = spread(REGIONS, 4, type=TYPES)
    assert alternatives(found, "eu-west") == (("g6-standard-2", "eu-west"), ("g6-nanode-1", "eu-west"))
    assert [one for _, one in rest(found, "eu-west", 0, catalog())] == [("g6-nanode-1", "eu-west")]


@pytest.mark.parametrize(
    ("regions", "count", "expected"),
    [
        ({"us-east": 2, "eu-west": 1}, 3, [("us-east", 2), ("eu-west", 1)]),
        ({"us-east": 2, "eu-west": 1}, 10, [("us-east", 7), ("eu-west", 3)]),
        (["us-east", "eu-west"], 5, [("us-east", 3), ("eu-west", 2)]),
        ({"us-east": 1, "eu-west": 99}, 2, [("eu-west", 2)]),
    ],
)
def test_how_many_go_where(regions, count, expected):
    """Instances are spread by largest remainder; the first region wins a draw, and one with none is left out."""
    assert shares(spread(regions, count)) == expected


@given(
    st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 1000), min_size=1, max_size=10),
    st.integers(1, 100_000),
)
def test_a_spread_is_whole_and_fair(weights, count):
    """Every instance goes somewhere, and no region has one more or less than its weight says."""
    found = Counter({share.region: share.size for share in shares(spread(weights, count))})
    assert sum(found.values()) == count
    for region, weight in weights.items():
        assert abs(found[region] - count * weight / sum(weights.values())) < 1


@pytest.mark.parametrize(
    ("fields", "key", "name", "place"),
    [
        ({}, "type", "g6-nanode-1", ("type", 1)),
        ({"type": "g6-nanode-1"}, "type", "g6-nanode-1", ("type",)),
        ({}, "region", "eu-west", ("region", 1)),
        ({"region": None, "regions": REGIONS}, "region", "eu-west", ("regions", 1)),
        ({"region": None, "regions": {"eu-west": 3}}, "region", "eu-west", ("regions", "eu-west")),
        ({}, "image", "linode/debian12", ("image",)),
    ],
)
def test_where_a_member_stands(fields, key, name, place):
    """A type or a region is found where it was typed."""
    assert place_of(group(**fields), key, name) == place
    assert name in (*regions_of(group(**fields)), *TYPES, "linode/debian12")


def sold_out(*pairs):
    """Return a catalog in which types cannot be had in regions."""
    rows = [{"region": region, "plan": plan, "available": False} for plan, region in pairs]
    return catalog(availability=rows)


def test_a_job_begins_with_what_is_not_sold_out():
    """What the catalog says is sold out is passed over beforehand; what is left is what may follow."""
    start = start_of(group(), None, sold_out(("g6-standard-2", "us-east")), START)
    assert (start.choice, start.pair) == (1, Choice("g6-standard-2", "eu-west"))
    assert start.others == (("g6-nanode-1", "us-east"), ("g6-nanode-1", "eu-west"))


def test_where_all_is_sold_out_a_job_begins_at_the_beginning():
    """With nothing to be had the first alternative stands; validation says what is wrong with it."""
    everything = [(plan, region) for plan in TYPES for region in REGIONS]
    assert start_of(group(), None, sold_out(*everything), START).choice == 0

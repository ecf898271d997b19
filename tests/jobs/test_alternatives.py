import pytest

from jobs.catalog import Catalog
from jobs.validation import Rules, validate
from tests.support.clock import START
from tests.support.fleets import PARTS, catalog, fleet_request

TYPES = ["g6-nanode-1", "g6-standard-2"]
REGIONS = ["us-east", "eu-west"]


def report(*groups, known=None, rules=None, **fleet):
    """Return what validation says of a fleet."""
    request = fleet_request(*groups, **fleet)
    return validate(request, known or catalog(), rules=rules or Rules(), now=START)


def sold_out(*pairs):
    """Return a catalog in which types cannot be had in regions."""
    rows = [{"region": region, "plan": plan, "available": False} for plan, region in pairs]
    return catalog(availability=rows)


@pytest.mark.parametrize(
    ("group", "code", "pointer", "value"),
    [
        ({"region": ["us-east", "us-wset"]}, "unknown_region", "/groups/0/region/1", "us-wset"),
        ({"type": ["g6-nanode-1", "g6-x"], "region": REGIONS}, "unknown_type", "/groups/0/type/1", "g6-x"),
        ({"region": None, "regions": ["us-east", "moon"]}, "unknown_region", "/groups/0/regions/1", "moon"),
        (
            {"region": None, "count": 2, "regions": {"moon": 1, "us-east": 1}},
            "unknown_region",
            "/groups/0/regions/moon",
            "moon",
        ),
        ({"region": REGIONS, "image": "linode/nope"}, "unknown_image", "/groups/0/image", "linode/nope"),
        ({"region": ["us-east", "us-east"]}, "invalid_request", "/groups/0/region/1", "us-east"),
    ],
)
def test_every_member_is_judged(group, code, pointer, value):
    """A member that cannot be is a fault that names its place, once, whatever it is combined with."""
    (fault,) = report({"count": 2, **group}).faults
    assert (fault.code, fault.pointer, fault.value) == (code, pointer, value)
    assert fault.remedy


def test_a_region_of_a_spread_that_gets_no_instance_is_judged_too():
    """A spread's member is judged even where its weight gives it nothing."""
    (fault,) = report({"region": None, "regions": {"us-east": 99, "moon": 1}}).faults
    assert (fault.code, fault.pointer) == ("unknown_region", "/groups/0/regions/moon")


def test_what_is_sold_out_is_passed_over():
    """A sold-out alternative only warns where another one can be had; where none can, each is a fault."""
    found = report({"region": REGIONS}, known=sold_out(("g6-nanode-1", "us-east")))
    assert found.ok
    (warning,) = found.warnings
    assert (warning.code, warning.pointer) == ("alternative_skipped", "/groups/0/region/0")
    assert "g6-nanode-1 in us-east is passed over" in warning.message
    none_left = report({"region": REGIONS}, known=sold_out(*(("g6-nanode-1", one) for one in REGIONS)))
    assert [(fault.code, fault.pointer) for fault in none_left.faults] == [
        ("unavailable", "/groups/0/region/0"),
        ("unavailable", "/groups/0/region/1"),
    ]


def test_a_spread_stands_or_falls_with_each_region():
    """In a spread no other region helps, only another type."""
    known = sold_out(("g6-nanode-1", "eu-west"))
    spread = {"count": 2, "region": None, "regions": REGIONS}
    assert [fault.pointer for fault in report(spread, known=known).faults] == ["/groups/0/regions/1"]
    assert report({**spread, "type": TYPES}, known=known).ok


def test_what_a_region_lacks_is_had_elsewhere():
    """A region without what the type needs is passed over where another region has it."""
    gpu = {"id": "g1-gpu", "class": "gpu", "disk": 25600, "price": {"hourly": 1.0, "monthly": 500.0}}
    regions = [PARTS["regions"][0], {**PARTS["regions"][1], "capabilities": ["Linodes", "GPU Linodes"]}]
    known = catalog(types=[gpu], regions=regions)
    found = report({"type": "g1-gpu", "region": REGIONS}, known=known)
    assert found.ok
    assert [one.code for one in found.warnings] == ["alternative_skipped"]


@pytest.mark.parametrize(
    "group",
    [
        {"region": REGIONS, "label_pattern": "{name}-{region}-{index}"},
        {"type": TYPES, "label_pattern": "{name}-{type}-{index}"},
    ],
)
def test_a_label_cannot_say_what_is_not_known_yet(group):
    """A label is fixed before it is known which alternative is had, so it must not name one."""
    (fault,) = report(group).faults
    assert (fault.code, fault.pointer) == ("invalid_label", "/groups/0/label_pattern")
    assert "is not known yet where there are alternatives" in fault.message


def test_a_spread_names_its_regions_in_labels():
    """In a spread each label may say where its instance is, and counts within its region."""
    group = {"count": 3, "region": None, "regions": REGIONS, "label_pattern": "{region}-{index}"}
    assert report(group).labels == (("us-east-1", "us-east-2", "eu-west-1"),)


def test_default_labels_count_on_over_a_spread():
    """Without the region in the pattern, the labels of a spread count on."""
    group = {"count": 3, "region": None, "regions": REGIONS}
    assert report(group).labels == (("web-0001", "web-0002", "web-0003"),)


@pytest.mark.parametrize("field", [{"placement_group": {"id": 7}}, {"ipv4": ["192.0.2.1"]}, {"backup_id": 3}])
@pytest.mark.parametrize("where", [{"region": REGIONS}, {"count": 2, "region": None, "regions": REGIONS}])
def test_what_is_in_one_region_binds_a_group_to_one(field, where):
    """What exists in one region cannot be asked for in several."""
    (fault,) = report({**where, **field, "image": None, "booted": False}).faults
    assert fault.pointer == f"/groups/0/{next(iter(field))}"
    assert "there are several (us-east, eu-west)" in fault.message


@pytest.mark.parametrize(
    ("fleet", "pointer", "words"),
    [
        ({"deadline": "2026-03-01T12:00:00Z"}, "/deadline", "is in the past"),
        (
            {"not_before": "2026-03-02T12:00:00Z", "deadline": "2026-03-02T13:00:00+01:00"},
            "/not_before",
            "is not before the deadline, 2026-03-02T12:00:00Z",
        ),
        ({"ttl": "10m", "boot_timeout": "10m"}, "/ttl", "10m are over before the boot timeout, 10m"),
        ({"ttl": 60}, "/ttl", "before an instance is up, which takes about 1m"),
    ],
)
def test_times_that_cannot_be_kept(fleet, pointer, words):
    """A time that cannot be kept refuses the whole fleet, with field, value and remedy."""
    found = report(**fleet, on_invalid="skip")
    (fault,) = found.faults
    assert (fault.code, fault.pointer) == ("invalid_request", pointer)
    assert words in fault.message
    assert fault.value is not None
    assert fault.remedy
    assert found.refuses_all


def test_a_time_to_live_is_measured_by_how_long_boots_take():
    """Where boots take long, a time to live must be longer than that."""
    assert report(ttl="5m").ok
    assert not report(ttl="5m", rules=Rules(boot_seconds=300.0)).ok


def test_times_that_can_be_kept():
    """Moments to come and a time to live beyond the boot are no fault."""
    times = {"not_before": "2026-03-01T13:00:00Z", "deadline": "2026-03-01T14:00:00Z", "ttl": "2h"}
    assert report(**times, boot_timeout="20m", on_failure={"stop_after": 5}).ok


def test_the_catalog_says_nothing_of_prices():
    """Without prices nothing is cheaper: the order as written holds."""
    known = Catalog.from_rows(
        **{**PARTS, "types": [{"id": one} for one in TYPES]}, version="v", fetched_at=START
    )
    assert report({"type": TYPES, "prefer": "cheapest"}, known=known).ok

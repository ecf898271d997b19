import time
from datetime import UTC, datetime

import pytest

from jobs.catalog import Catalog
from jobs.requests import parse_request
from jobs.validation import Report, Rules, validate, validate_one

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CORE = ["Linodes", "Metadata", "Premium Plans"]
CATALOG = Catalog.from_rows(
    types=[
        {"id": "g6-nanode-1", "class": "nanode", "disk": 25600},
        {"id": "g6-tiny-1", "class": "nanode", "disk": 3000},
        {"id": "g6-vague-1"},
        {"id": "g7-premium-2", "class": "premium", "disk": 81920},
        {"id": "g1-gpu-1", "class": "gpu", "disk": 81920, "gpus": 1},
    ],
    regions=[
        {"id": "us-east", "capabilities": CORE, "status": "ok"},
        {"id": "us-west", "capabilities": CORE, "status": "outage"},
        {"id": "eu-old", "capabilities": ["Linodes"]},
        {"id": "eu-vague"},
        *({"id": f"xx-{number}", "capabilities": CORE} for number in range(3)),
    ],
    images=[
        {"id": "linode/debian12", "size": 1500, "capabilities": ["cloud-init"]},
        {"id": "linode/debian9", "size": 1500, "deprecated": True},
        {"id": "linode/fedora40", "size": 1500, "eol": "2025-05-13T00:00:00"},
        {"id": "linode/future", "size": 1500, "eol": "2026-01-02T00:00:00"},
        {"id": "linode/slackware", "size": 2600, "capabilities": []},
        {"id": "private/7", "status": "creating", "size": 900, "regions": [{"region": "us-west"}]},
        {"id": "private/8"},
    ],
    availability=[
        {"region": "us-east", "plan": "g7-premium-2", "available": False},
        {"region": "us-west", "plan": "g7-premium-2", "available": True},
    ],
    version="v1",
    fetched_at=NOW,
)
GROUP = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA ann@example"


def judge(*changes, taken=frozenset(), rules=None, **fleet):
    """Return the report on a fleet `web` with these groups."""
    groups = [{**GROUP, **change} for change in changes or ({},)]
    groups = [{key: value for key, value in group.items() if value is not None} for group in groups]
    request = parse_request({"name": "web", **fleet, "groups": groups})
    return validate(request, CATALOG, rules=rules or Rules(), now=NOW, taken_labels=taken)


def codes(found):
    """Return code and last step of the pointer of each finding."""
    return [(finding.code, finding.pointer.removeprefix("/groups/0/")) for finding in found]


def test_a_good_request():
    """A request without a fault is told so, with the labels that its jobs will have."""
    report = judge({"count": 2, "authorized_keys": [KEY], "user_data": "x", "tags": ["web"]})
    assert report.ok
    assert not report.refuses_all
    assert (report.faults, report.warnings, report.bad_groups) == ((), (), frozenset())
    assert report.labels == (("web-0001", "web-0002"),)
    assert report.fault_for(0, "web-0001") is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "g6-nanod-1"}, [("unknown_type", "type")]),
        ({"region": "us-eats"}, [("unknown_region", "region")]),
        ({"image": "linode/debain12"}, [("unknown_image", "image")]),
        ({"image": "private/9"}, [("unknown_image", "image")]),
        ({"type": "x", "region": "y"}, [("unknown_type", "type"), ("unknown_region", "region")]),
        ({"type": "g1-gpu-1"}, [("region_lacks_capability", "region")]),
        ({"type": "g7-premium-2", "region": "eu-old"}, [("region_lacks_capability", "region")]),
        ({"type": "g7-premium-2"}, [("unavailable", "region")]),
        ({"type": "g7-premium-2", "region": "us-west"}, []),
        ({"type": "g7-premium-2", "region": "eu-vague"}, []),
        ({"user_data": "x", "region": "eu-old"}, [("region_lacks_capability", "region")]),
        ({"user_data": "x", "image": "linode/slackware"}, [("image_lacks_capability", "image")]),
        ({"user_data": "x", "image": "linode/debian9"}, []),
        ({"image": "private/7", "region": "us-west"}, [("unavailable", "image")]),
        ({"image": "private/8", "type": "g6-tiny-1"}, []),
        ({"type": "g6-vague-1"}, []),
        ({"type": "g6-tiny-1", "image": "linode/slackware"}, []),
        ({"type": "g6-tiny-1", "image": "linode/slackware", "swap_size": 400}, []),
        ({"type": "g6-tiny-1", "image": "linode/slackware", "swap_size": 401}, [("image_too_large", "image")]),
        ({"boot_size": 1499}, [("image_too_large", "image")]),
        ({"boot_size": 1500, "swap_size": 0}, []),
        ({"image": "linode/debian12", "backup_id": 3}, [("invalid_request", "backup_id")]),
        ({"image": None, "backup_id": 3}, []),
        ({"image": None, "stackscript_id": 3}, [("invalid_request", "stackscript_id")]),
        ({"stackscript_data": {"a": "b"}}, [("invalid_request", "stackscript_data")]),
        ({"stackscript_data": {"a": "b"}, "stackscript_id": 3}, []),
        ({"root_pass": "password1"}, [("weak_password", "root_pass")]),
        ({"root_pass": "correct-horse-9"}, []),
        ({"root_pass": "correct-horse-9", "reveal_root_pass": True}, [("invalid_request", "reveal_root_pass")]),
        ({"reveal_root_pass": True}, []),
        ({"user_data": "ü" * 32767}, []),
        ({"user_data": "ü" * 32768}, [("user_data_too_large", "user_data")]),
        ({"tags": ["ab"]}, [("invalid_request", "tags/0")]),
        ({"tags": ["abc", "a" * 51]}, [("invalid_request", "tags/1")]),
        ({"tags": ["nodewright:x"]}, [("invalid_request", "tags/0")]),
        ({"tags": ["nw:x"]}, [("invalid_request", "tags/0")]),
        ({"tags": ["abc", "abc", "nw-x"]}, []),
        ({"authorized_keys": ["ssh-rsa nonsense"]}, [("invalid_request", "authorized_keys/0")]),
        ({"authorized_keys": [KEY, "-----BEGIN OPENSSH PRIVATE KEY-----"]}, [("invalid_request", "authorized_keys/1")]),
        ({"label_pattern": "{user}"}, [("invalid_label", "label_pattern")]),
        ({"label_pattern": "{index}-web"}, [("invalid_label", "label_pattern")]),
        ({"label_pattern": "x" * 62 + "{index}", "count": 9}, []),
        ({"label_pattern": "x" * 63 + "{index}", "count": 10}, [("invalid_label", "label_pattern")]),
        ({"label_pattern": "web", "count": 2}, [("invalid_label", "label_pattern")]),
        ({"label_pattern": "web", "count": 1}, []),
    ],
)  # fmt: skip
def test_faults(change, expected):
    """Each wrong thing in a group has its stable code, at the field to blame."""
    report = judge(change)
    assert codes(report.faults) == expected
    assert report.bad_groups == ({0} if expected else set())
    assert all(fault.message and fault.remedy and fault.group == 0 for fault in report.faults)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image": "linode/debian9"}, [("image_deprecated", "image")]),
        ({"image": "linode/fedora40"}, [("image_deprecated", "image")]),
        ({"image": "linode/future"}, []),
        ({"image": "private/7"}, [("image_not_replicated", "image")]),
        ({"region": "us-west"}, [("region_status", "region")]),
        ({"type": "g6-tiny-1", "image": "linode/slackware"}, [("image_tight", "image")]),
        ({"image": None}, [("stays_offline", "image")]),
        ({"image": None, "booted": False}, []),
        ({"image": None, "backup_id": 3}, []),
        ({"image": None, "booted": False, "root_pass": "correct-horse-9"}, [("no_effect", "root_pass")]),
        ({"image": None, "booted": False, "reveal_root_pass": True}, [("no_effect", "reveal_root_pass")]),
        ({"image": None, "booted": False, "authorized_users": ["ann"]}, [("no_effect", "authorized_users")]),
    ],
)
def test_warnings(change, expected):
    """What may be meant and may still work is a warning, and refuses nothing."""
    assert codes(judge(change).warnings) == expected


def test_words_of_a_fault():
    """A fault says the field, the value as typed, the nearest valid one and what to do."""
    (fault,) = judge({}, {"region": "us-eats"}).faults
    assert (fault.pointer, fault.group, fault.value, fault.nearest) == (
        "/groups/1/region",
        1,
        "us-eats",
        "us-east",
    )
    assert str(fault) == "groups[1].region: there is no region 'us-eats'; did you mean `us-east`?"


def test_no_near_name():
    """Where no name is near, the fault says how many there are to choose from."""
    (fault,) = judge({"image": "zzz"}).faults
    assert (fault.nearest, fault.remedy) == (None, "choose one of the 7 that the catalog lists")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"type": "g1-gpu-1"}, "choose another region or type"),
        ({"type": "g7-premium-2"}, "choose another region, such as us-west"),
        (
            {"type": "g7-premium-2", "region": "eu-old"},
            "choose another region, such as us-east, us-west, xx-0, …",
        ),
    ],
)
def test_regions_to_choose_from(change, remedy):
    """A region that does not do is answered with those that would."""
    assert judge(change).faults[0].remedy == remedy


def test_flat_document_points_at_top_level():
    """In a document with its only group at top level the pointers have no group."""
    request = parse_request({"name": "web", **GROUP, "region": "us-eats", "tags": ["ab"]})
    report = validate(request, CATALOG, rules=Rules(), now=NOW)
    assert [fault.pointer for fault in report.faults] == ["/tags/0", "/region"]


@pytest.mark.parametrize("secret", ["password1", "-----BEGIN OPENSSH PRIVATE KEY-----hunter2"])
def test_secrets_are_not_repeated(secret):
    """Neither a weak password nor a private key given by mistake is repeated."""
    report = judge({"root_pass": secret, "authorized_keys": [secret]})
    assert len(report.faults) == 1 + (secret == "password1")
    assert not any(secret in str(fault.to_json()) for fault in report.faults)


def test_too_many_instances():
    """A fleet above the maximum is refused as a whole, also with `on_invalid: skip`."""
    report = judge({"count": 6}, {"count": 5}, rules=Rules(max_count=10), on_invalid="skip")
    (fault,) = report.faults
    assert (fault.code, fault.pointer, fault.value, report.refuses_all) == (
        "invalid_request",
        "/groups",
        11,
        True,
    )
    assert report.fault_for(1, "web-0007") is fault
    flat = parse_request({"name": "web", **GROUP, "count": 11})
    assert validate(flat, CATALOG, rules=Rules(max_count=10), now=NOW).faults[0].pointer == "/count"
    assert judge({"count": 10}, rules=Rules(max_count=10)).ok


def test_the_name_is_blamed_for_default_labels():
    """Where the default pattern makes bad labels, the fleet's name is to blame, and the group is bad."""
    (fault,) = judge(name="1web").faults
    assert (fault.code, fault.pointer, fault.value, fault.group) == ("invalid_label", "/name", "1web", 0)
    assert "the label '1web-0001' must begin with a letter" in fault.message


def test_labels_twice_in_a_request():
    """A later group that repeats a label of an earlier one is bad; the earlier one is not."""
    report = judge({"label_pattern": "ab1{index}", "count": 9}, {"label_pattern": "ab{index}", "count": 19})
    (fault,) = report.faults
    assert (fault.code, fault.pointer) == ("invalid_label", "/groups/1/label_pattern")
    assert (
        fault.message == "labels 'ab11', 'ab12', 'ab13' and 6 more are also in another group of this request"
    )
    same = judge({"label_pattern": "web"}, {"label_pattern": "web"})
    assert [fault.message for fault in same.faults] == [
        "label 'web' is also in another group of this request"
    ]


@pytest.mark.parametrize(
    "taken",
    [{"web-0002", "other"}, ["web-0002"], lambda labels: [name for name in labels if name == "web-0002"]],
)
def test_taken_labels(taken):
    """A label in use is a fault of its group, and rejects its own job only."""
    report = judge({"count": 3}, {"count": 2}, taken=taken)
    (fault,) = report.faults
    assert (fault.code, fault.pointer, report.bad_groups) == ("label_taken", "/name", {0})
    assert fault.message == "label 'web-0002' is in use"
    assert report.taken == {"web-0002"}
    rejected = [report.fault_for(group, label) for group in (0, 1) for label in report.labels[group]]
    assert rejected == [None, fault, None, None, None]


def test_two_taken_labels():
    """Few labels in use are all named."""
    assert judge({"count": 3}, taken={"web-0001", "web-0003"}).faults[0].message == (
        "labels 'web-0001', 'web-0003' are in use"
    )


def test_bad_group_rejects_all_its_jobs():
    """A job of a bad group is rejected with the group's first fault, whatever its label."""
    report = judge({}, {"type": "x", "region": "y"}, taken={"web-0001"})
    assert report.bad_groups == {0, 1}
    assert report.fault_for(1, "web-0002").code == "unknown_type"
    assert report.fault_for(0, "web-0001").code == "label_taken"


def test_empty_report():
    """A report of nothing is a good one."""
    assert Report().ok


def test_one_job_again():
    """Before a create, one job is judged by a newer catalog with the same codes and without warnings."""
    spec = {
        "type": "g6-nanode-1",
        "region": "us-west",
        "image": "linode/debian9",
        "catalog": CATALOG,
        "now": NOW,
    }
    assert validate_one(**spec) == ()
    (fault,) = validate_one(**{**spec, "image": "linode/debian13"})
    assert (fault.code, fault.pointer, fault.value) == ("unknown_image", "/image", "linode/debian13")
    assert [f.code for f in validate_one(**{**spec, "image": "linode/slackware"}, user_data=True)] == [
        "image_lacks_capability"
    ]


def test_ten_thousand_jobs():
    """A fleet of ten thousand in three groups, one of them wrong, is judged well within a second."""
    groups = [
        {**GROUP, "count": 4000},
        {**GROUP, "count": 4000, "region": "us-west"},
        {**GROUP, "count": 2000},
    ]
    groups[2]["type"] = "nope"
    request = parse_request({"name": "web", "on_invalid": "skip", "groups": groups})
    begin = time.perf_counter()
    report = validate(request, CATALOG, rules=Rules(), now=NOW, taken_labels={"web-0001"})
    assert time.perf_counter() - begin < 1
    assert (len(report.faults), report.labels[2][-1]) == (2, "web-10000")

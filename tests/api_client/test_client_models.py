import base64
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from api_client import (
    Event,
    Image,
    Instance,
    InstanceCreate,
    InstanceType,
    Metadata,
    PlacementGroup,
    Region,
)

FULL = {
    "type": "g6-standard-1",
    "region": "us-east",
    "image": "linode/debian12",
    "label": "web-0001",
    "tags": ["nodewright:abc", "nw:1.1"],
    "root_pass": "aComplexP@ssword",
    "authorized_keys": ["ssh-ed25519 AAAA me"],
    "authorized_users": ["me"],
    "booted": False,
    "backups_enabled": True,
    "backup_id": 4,
    "private_ip": True,
    "swap_size": 512,
    "boot_size": 9000,
    "kernel": "linode/latest-64bit",
    "firewall_id": 9,
    "metadata": {"user_data": "I2Nsb3VkLWNvbmZpZw=="},
    "stackscript_id": 10079,
    "stackscript_data": {"gh_username": "linode", "keys": ["a", "b"]},
    "interfaces": [{"purpose": "vlan", "label": "v1", "ipam_address": None}],
    "interface_generation": "linode",
    "network_helper": True,
    "ipv4": ["198.51.100.1"],
    "placement_group": {"id": 528, "compliant_only": True},
    "disk_encryption": "enabled",
    "maintenance_policy": "linode/migrate",
}


def test_every_create_field_is_sent():
    """Each field of the create call goes into the body as it was given, secrets in the clear."""
    assert InstanceCreate(**FULL).to_json() == FULL
    assert set(InstanceCreate.model_fields) == set(FULL)


def test_only_what_was_set_is_sent():
    """A field that is left out, or None, is no key of the body; false and zero are."""
    request = InstanceCreate(type="t", region="r", image=None, booted=False, swap_size=0, tags=())
    assert request.to_json() == {"type": "t", "region": "r", "booted": False, "swap_size": 0, "tags": []}
    nested = InstanceCreate(type="t", region="r", metadata=Metadata(), placement_group=PlacementGroup(id=1))
    assert nested.to_json() == {"type": "t", "region": "r", "metadata": {}, "placement_group": {"id": 1}}


def test_user_data_is_encoded():
    """`Metadata.encode` makes the base64 that the API wants."""
    request = InstanceCreate(type="t", region="r", metadata=Metadata.encode(b"#cloud-config\n\xff"))
    assert base64.b64decode(request.to_json()["metadata"]["user_data"]) == b"#cloud-config\n\xff"


def test_a_request_is_frozen_and_complete():
    """A create request can't be changed, and takes neither unknown fields nor the lack of a type."""
    request = InstanceCreate(type="t", region="r")
    with pytest.raises(ValidationError):
        request.label = "x"
    with pytest.raises(ValidationError):
        InstanceCreate(type="t", region="r", lable="typo")
    with pytest.raises(ValidationError):
        InstanceCreate(region="r")


def test_an_instance_needs_only_an_id():
    """Everything else may be missing, null, or of some other shape."""
    bare = Instance.model_validate({"id": 1})
    assert (bare.label, bare.status, bare.tags, bare.ipv4, bare.created) == (None, None, (), (), None)
    nulls = dict.fromkeys(Instance.model_fields) | {"id": 1}
    assert Instance.model_validate(nulls) == bare
    odd = {name: {"odd": name} for name in Instance.model_fields} | {
        "id": 1,
        "specs": 3,
        "placement_group": [],
    }
    assert Instance.model_validate(odd) == bare


@pytest.mark.parametrize("bad", [None, "5", True, 1.0, 0, -1])
def test_an_instance_id_is_a_positive_whole_number(bad):
    """Without a sound id there is no instance to speak of."""
    with pytest.raises(ValidationError):
        Instance.model_validate({"id": bad})


def test_an_instance_is_read_whole():
    """Fields keep their values, times become UTC, unknown fields and statuses do no harm."""
    found = Instance.model_validate(
        {
            "id": 5,
            "label": "web-0001",
            "status": "hibernating",
            "region": "us-central",
            "tags": ["a", None, {"odd": 1}, "b"],
            "ipv4": ["203.0.113.1"],
            "ipv6": "2600::1/128",
            "created": "2018-01-01T00:01:01",
            "updated": "2018-01-01T02:01:01+02:00",
            "specs": {"disk": 81920, "memory": 4096, "vcpus": 2, "gpus": 0, "transfer": 4000, "new": 1},
            "placement_group": {"id": 3, "label": "pg"},
            "brand_new": {"x": 1},
        }
    )
    assert found.status == "hibernating"
    assert found.tags == ("a", "b")
    assert found.created == datetime(2018, 1, 1, 0, 1, 1, tzinfo=UTC)
    assert found.updated == datetime(2018, 1, 1, 0, 1, 1, tzinfo=UTC)
    assert (found.specs.disk, found.placement_group.id) == (81920, 3)
    with pytest.raises(ValidationError):
        found.status = "running"


def test_a_type_is_read_whole():
    """Prices, prices by region, backups and the reserved word `class` are all there."""
    price = {"hourly": 0.0075, "monthly": 5.0}
    here = {"id": "id-cgk", "hourly": 0.009, "monthly": 6.0}
    found = InstanceType.model_validate(
        {
            "id": "g6-nanode-1",
            "label": "Nanode 1GB",
            "class": "nanode",
            "memory": 1024,
            "disk": 25600,
            "vcpus": 1,
            "gpus": 0,
            "price": price,
            "region_prices": [here],
            "addons": {"backups": {"price": price, "region_prices": [here]}},
            "successor": None,
        }
    )
    assert found.class_ == "nanode"
    assert (found.price.hourly, found.region_prices[0].id) == (0.0075, "id-cgk")
    assert found.addons.backups.region_prices[0].monthly == 6.0


def test_an_image_a_region_and_an_event_are_read():
    """Capabilities, copies, sizes and entities are there, and rows without an id are refused."""
    image = Image.model_validate(
        {
            "id": "linode/debian12",
            "eol": "2028-06-30T04:00:00",
            "size": 1500,
            "capabilities": ["cloud-init"],
            "regions": [{"region": "us-east", "status": "available"}],
        }
    )
    assert (image.eol.year, image.capabilities, image.regions[0].region) == (2028, ("cloud-init",), "us-east")
    region = Region.model_validate(
        {"id": "us-east", "country": "us", "site_type": "core", "capabilities": None}
    )
    assert (region.site_type, region.capabilities) == ("core", ())
    event = Event.model_validate({"id": 1, "action": "linode_boot", "entity": {"id": 5, "type": "linode"}})
    assert (event.entity.id, event.percent_complete) == (5, None)
    with pytest.raises(ValidationError):
        Image.model_validate({"id": ""})

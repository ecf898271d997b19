import base64

import pytest

from simulator.create import is_strong

VALID = "A valid plan type by that ID was not found"


def test_success_is_200_and_provisioning_and_echoes_no_secret(api):
    """A create answers 200 with status provisioning; password, keys and user data never come back."""
    made = api.create(
        label="web-1",
        tags=["b-tag", "a-tag"],
        image="linode/ubuntu24.04",
        authorized_keys=["ssh-ed25519 AAAA"],
        metadata={"user_data": base64.b64encode(b"secret").decode()},
    )
    assert made["status"] == "provisioning"
    assert made["tags"] == ["a-tag", "b-tag"]
    assert made["has_user_data"] is True
    assert not {"root_pass", "authorized_keys", "metadata"} & set(made)


def test_complaints_accumulate(api):
    """Everything that is wrong is said at once, in the recorded words."""
    errors = api.refused(type="no", region="no", image="no", label="x")
    assert [(one["field"], one["reason"]) for one in errors[:3]] == [
        ("type", VALID),
        ("region", "region is not valid"),
        ("image", "image is not valid"),
    ]
    assert errors[3]["field"] == "label"


def test_type_and_region_are_required(api):
    """Without them the create is refused, naming both."""
    assert [one["field"] for one in api.refused(type=None, region=None)] == ["type", "region"]


def test_a_label_is_unique_in_its_account(api):
    """The second instance of a label is refused in the recorded words, also among other complaints."""
    api.create(label="web-1")
    taken = {"reason": "Label must be unique among your linodes", "field": "label"}
    assert api.refused(label="web-1") == [taken]
    assert taken in api.refused(label="web-1", type="no")


def test_a_label_is_free_again_once_its_instance_is_gone(api):
    """After a delete the same label can be bought again."""
    made = api.create(label="web-1")
    api.call("DELETE", f"/linode/instances/{made['id']}")
    assert api.create(label="web-1")["id"] != made["id"]


def test_a_label_is_made_up_where_none_is_given(api):
    """Without a label the API makes one."""
    made = api.create()
    assert made["label"] == f"linode{made['id']}"


@pytest.mark.parametrize(
    "label", ["ab", "a" * 65, "1web", "web--1", "web__1", "web..1", "web-", "wéb-1", "we b"]
)
def test_malformed_labels_are_refused(api, label):
    """3-64 characters, a letter first, alphanumeric last, nothing doubled."""
    assert [one["field"] for one in api.refused(label=label)] == ["label"]


@pytest.mark.parametrize("label", ["web", "a" * 64, "Web-1_a.b"])
def test_well_formed_labels_are_taken(api, label):
    """Letters, digits, dashes, underscores and periods make a label."""
    assert api.create(label=label)["label"] == label


@pytest.mark.parametrize("tags", [["ab"], ["a" * 51], "web", [7]])
def test_malformed_tags_are_refused(api, tags):
    """Tags are a list of 3-50 characters each."""
    assert [one["field"] for one in api.refused(tags=tags)] == ["tags"]


def test_an_image_needs_credentials(api):
    """With an image but nothing to log in with, the recorded words come without a field."""
    reason = "Must provide valid root_pass, authorized_keys, or authorized_users"
    assert api.refused(root_pass=None) == [{"reason": reason}]


@pytest.mark.parametrize(
    ("password", "strong"),
    [
        ("password", False),
        ("aaaaaaaa", False),
        ("aA1aA1aA1aA1", False),
        ("root_password", True),
        ("aB3$efgh", True),
    ],
)
def test_password_strength_is_scored_by_kinds_and_length(password, strong):
    """One kind of character is weak; few different characters are weak; length helps."""
    assert is_strong(password) is strong


def test_a_weak_password_is_refused_in_the_recorded_words(api):
    """The reason begins as recorded."""
    (error,) = api.refused(root_pass="password")
    assert error["reason"].startswith("Password does not meet strength requirement")
    assert api.refused(root_pass="aB3$")[0]["field"] == "root_pass"


def test_image_and_backup_exclude_each_other(api):
    """One of the two, not both."""
    assert [one["field"] for one in api.refused(backup_id=1)] == ["image"]


def test_an_image_must_fit_the_disk(api):
    """60 GB fit no nanode, but a plan of 80 GB."""
    assert [one["field"] for one in api.refused(image="private/1002")] == ["image"]
    assert api.create(image="private/1002", type="g6-standard-2")["image"] == "private/1002"


@pytest.mark.parametrize(
    ("kind", "region", "fields"),
    [("g7-premium-2", "us-east", ["region"]), ("g1-gpu-rtx6000-1", "eu-west", ["region"])],
)
def test_some_plans_need_a_capability_of_the_region(api, kind, region, fields):
    """GPU and premium plans are refused where the region cannot do them."""
    assert [one["field"] for one in api.refused(type=kind, region=region)] == fields


def test_a_region_without_capacity_refuses_in_configurable_words(api):
    """Where the availability list says no, the create says no, in words that are a setting."""
    api.world.settings.no_capacity = "Full up."
    assert api.refused(type="g1-gpu-rtx6000-1", region="ca-central") == [
        {"reason": "Full up.", "field": "region"}
    ]


@pytest.mark.parametrize(
    ("user_data", "field"),
    [("%%%", "metadata.user_data"), (base64.b64encode(b"x" * 65536).decode(), "metadata.user_data")],
)
def test_user_data_is_base64_of_a_limited_size(api, user_data, field):
    """Up to 65535 bytes, base64."""
    errors = api.refused(image="linode/ubuntu24.04", metadata={"user_data": user_data})
    assert [one["field"] for one in errors] == [field]


def test_user_data_needs_an_image_with_cloud_init(api):
    """debian12 was recorded without cloud-init."""
    data = base64.b64encode(b"#cloud-config").decode()
    assert [one["field"] for one in api.refused(metadata={"user_data": data})] == ["image"]


def test_a_region_may_read_back_under_another_name(api):
    """us-south is taken and shown as us-central."""
    assert api.create(region="us-south")["region"] == "us-central"


def test_an_account_holds_as_many_instances_as_it_may(api):
    """Over the account's limit the recorded words come, and a delete makes room."""
    api.world.settings.instance_limit = 1
    made = api.create()
    assert api.refused() == [{"reason": "Account Limit reached. Please open a support ticket."}]
    api.call("DELETE", f"/linode/instances/{made['id']}")
    api.create()


@pytest.mark.parametrize("raw", [b"{", b"[1]"])
def test_a_body_that_is_no_object_is_refused(api, raw):
    """Bad JSON makes nothing."""
    assert api.send("POST", "/linode/instances", raw=raw).status == 400
    assert api.world.instances == {}


def test_options_of_a_create_read_back(api):
    """Backups, private address, placement group and disk encryption show in the instance."""
    made = api.create(
        backups_enabled=True,
        private_ip=True,
        placement_group={"id": 3, "compliant_only": True},
        disk_encryption="disabled",
    )
    assert made["backups"]["enabled"] is True
    assert len(made["ipv4"]) == 2
    assert made["placement_group"]["placement_group_policy"] == "strict"
    assert made["disk_encryption"] == "disabled"

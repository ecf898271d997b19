import copy

import pytest


def test_an_instance_lives_from_provisioning_over_booting_to_running(api):
    """60 s after the create it runs, half of it spent provisioning."""
    ident = api.create()["id"]
    seen = []
    for seconds in (0, 29, 30, 59, 60, 600):
        api.now = 1_800_000_000.0 + seconds
        seen.append(api.status(ident))
    assert seen == ["provisioning", "provisioning", "booting", "booting", "running", "running"]


@pytest.mark.parametrize("body", [{"booted": False}, {"image": None, "root_pass": None}])
def test_unbooted_or_without_image_it_ends_offline(api, body):
    """Booted false, or no image: offline, and never booting."""
    ident = api.create(**body)["id"]
    api.now += 60
    assert api.status(ident) == "offline"


def test_boot_times_spread_by_seed_and_not_by_chance(api):
    """With a spread each instance has its own boot time, the same in every run."""
    api.world.settings.boot_spread = 20.0
    idents = [api.create()["id"] for _ in range(12)]
    api.now += 60
    states = [api.status(ident) for ident in idents]
    assert set(states) == {"booting", "running"}


def test_speed_changes_without_anything_jumping(api):
    """Twice as fast from the middle on: running after 30 + 15 seconds."""
    ident = api.create()["id"]
    api.now += 30
    api.world.set_speed(2.0, api.now)
    assert api.status(ident) == "booting"
    api.now += 14.9
    assert api.status(ident) == "booting"
    api.now += 0.2
    assert api.status(ident) == "running"


def test_events_tell_the_same_story(api):
    """linode_create and linode_boot go from scheduled or started to finished, with a percentage."""
    ident = api.create(label="web-1")["id"]
    mine = {"entity.id": ident, "entity.type": "linode"}

    def events():
        rows = api.call("GET", "/account/events", x_filter=mine)[1]["data"]
        return {row["action"]: (row["status"], row["percent_complete"]) for row in rows}

    api.now += 15
    assert events() == {"linode_create": ("started", 50), "linode_boot": ("scheduled", 0)}
    api.now += 45
    assert events() == {"linode_create": ("finished", 100), "linode_boot": ("finished", 100)}
    first = api.call("GET", "/account/events")[1]["data"][0]
    assert first["entity"]["label"] == "web-1"
    assert api.call("GET", f"/account/events/{first['id']}")[1] == first
    assert api.call("GET", "/account/events/1")[0] == 404


def test_a_deleted_instance_is_gone_and_leaves_an_event(api):
    """DELETE answers {}, then the instance is 404 and unlisted."""
    ident = api.create()["id"]
    assert api.call("DELETE", f"/linode/instances/{ident}") == (200, {})
    assert api.call("GET", f"/linode/instances/{ident}")[0] == 404
    assert api.labels() == []
    assert api.call("DELETE", f"/linode/instances/{ident}")[0] == 404
    actions = api.call("GET", "/account/events", x_filter={"action": "linode_delete"})[1]
    assert actions["results"] == 1


def test_a_deletion_can_take_its_time(api):
    """While it is deleted it shows as deleting and keeps its label."""
    api.world.settings.deletion = 5.0
    ident = api.create(label="web-1")["id"]
    api.call("DELETE", f"/linode/instances/{ident}")
    assert api.call("DELETE", f"/linode/instances/{ident}") == (200, {})
    assert api.status(ident) == "deleting"
    assert api.refused(label="web-1")
    api.now += 5
    assert api.call("GET", f"/linode/instances/{ident}")[0] == 404
    api.create(label="web-1")


def test_power_operations_and_linode_busy(api):
    """Shutdown, boot and reboot take effect with time; a second operation meanwhile is Linode busy."""
    ident = api.create()["id"]
    path = f"/linode/instances/{ident}"
    busy = (400, {"errors": [{"reason": "Linode busy."}]})
    assert api.call("POST", f"{path}/reboot") == busy
    api.now += 60
    assert api.call("POST", f"{path}/shutdown") == (200, {})
    assert api.status(ident) == "shutting_down"
    api.now += 60
    assert api.status(ident) == "offline"
    assert api.call("POST", f"{path}/boot") == (200, {})
    assert api.call("POST", f"{path}/boot") == busy
    api.now += 60
    api.call("POST", f"{path}/reboot")
    assert api.status(ident) == "rebooting"


def test_label_and_tags_can_be_changed(api):
    """PUT renames and retags; a taken or malformed label is refused; filters follow."""
    first, second = api.create(label="web-1", tags=["one"]), api.create(label="web-2")
    path = f"/linode/instances/{first['id']}"
    assert api.call("PUT", path, {"label": "web-2"})[0] == 400
    assert api.call("PUT", path, {"label": "-"})[0] == 400
    changed = api.call("PUT", path, {"label": "web-3", "tags": ["two"], "group": "g"})[1]
    assert (changed["label"], changed["tags"], changed["group"]) == ("web-3", ["two"], "g")
    assert api.labels({"tags": "one"}) == []
    assert api.labels({"tags": "two"}) == ["web-3"]
    assert api.labels({"label": "web-2"}) == [second["label"]]
    api.create(label="web-1")


def test_accounts_do_not_see_each_other(api, nanode):
    """Two accounts can use one label, and neither finds the other's instance."""
    api.world.tokens["other"] = api.world.tokens["simulated-token"].__class__("other", "acme")
    mine = api.create(label="web-1")
    assert api.call("POST", "/linode/instances", {**nanode, "label": "web-1"}, token="other")[0] == 200
    assert api.call("GET", f"/linode/instances/{mine['id']}", token="other")[0] == 404
    assert api.call("GET", "/linode/instances", token="other")[1]["results"] == 1


def test_lists_use_tag_label_and_order(api):
    """Instances are found by tag, by label, by both, and in the order asked for."""
    for number in (1, 2, 3):
        api.create(label=f"web-{number}", tags=["web", f"nw:{number}.1"])
    assert api.labels({"tags": "nw:2.1"}) == ["web-2"]
    assert api.labels({"tags": "web"}) == ["web-1", "web-2", "web-3"]
    assert api.labels({"tags": "nothing"}) == []
    assert api.labels({"label": "web-3", "tags": "web"}) == ["web-3"]
    assert api.labels({"label": "web-3", "tags": "nw:1.1"}) == []
    assert api.labels({"tags": "web", "+order_by": "label", "+order": "desc"}) == ["web-3", "web-2", "web-1"]
    assert api.labels({"label": {"+contains": "web"}}) == ["web-1", "web-2", "web-3"]


def test_a_copied_world_goes_its_own_way(api):
    """A deep copy is independent: what happens in one does not happen in the other."""
    ident = api.create(label="web-1")["id"]
    other = copy.deepcopy(api.world)
    api.call("DELETE", f"/linode/instances/{ident}")
    api.world = other
    assert api.labels() == ["web-1"]
    assert other.catalog is copy.deepcopy(other).catalog


def test_the_same_calls_make_the_same_world(api):
    """Ids, addresses and labels are functions of the calls: nothing is drawn from outside."""
    first = api.create()
    again = type(api)().create()
    assert first == again

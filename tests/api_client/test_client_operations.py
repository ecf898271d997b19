import json
from importlib.metadata import version

import httpx
import pytest
from pydantic import SecretStr

from api_client import Clock, F, InstanceCreate, LinodeClient, NotFound, OutcomeUnknown, RateInfo
from api_client.client import default_user_agent

TOKEN = "tok-3141592653589793"
LINODE = "/v4/linode/instances/5"


def page_of(*items):
    """The only page of a list."""
    return {"data": list(items), "page": 1, "pages": 1, "results": len(items)}


def sent(request):
    """The JSON that a request carried."""
    return json.loads(request.content) if request.content else None


# The guide, call by call. It writes some paths with a trailing slash, which the API ignores.


def test_guide_create(api, client):
    """The guide's create of a 2 GB Linode: its token, its JSON, and the instance that comes back."""
    api.on("POST", "/v4/linode/instances", {"id": 123, "label": "prod-1", "status": "provisioning"})
    request = InstanceCreate(
        type="g5-standard-2",
        region="us-east",
        image="linode/debian9",
        root_pass="root_password",
        label="prod-1",
    )
    instance = client.instances.create(request).value
    assert (instance.id, instance.status) == (123, "provisioning")
    assert api.last.headers["Authorization"] == f"Bearer {TOKEN}"
    assert api.last.headers["Content-Type"] == "application/json"
    assert sent(api.last) == {
        "type": "g5-standard-2",
        "region": "us-east",
        "image": "linode/debian9",
        "root_pass": "root_password",
        "label": "prod-1",
    }


@pytest.mark.parametrize(
    ("group", "path"), [("images", "/v4/images"), ("types", "/v4/linode/types"), ("regions", "/v4/regions")]
)
def test_guide_choose(api, client, group, path):
    """The guide's lists of images, types and regions, from which one notes the id."""
    api.on("GET", path, page_of({"id": "a"}, {"id": "b"}))
    assert [item.id for item in getattr(client, group).list()] == ["a", "b"]
    assert "X-Filter" not in api.last.headers


def test_guide_pages(api, client):
    """The guide's 214 kernels come in three pages; the second can be read alone, and pages may be of 50."""

    def kernels(request):
        number, size = int(request.url.params["page"]), int(request.url.params["page_size"])
        ids = range(214)[(number - 1) * size : number * size]
        data = [{"id": f"linode/{index}", "kvm": False, "xen": True, "pvops": True} for index in ids]
        return httpx.Response(
            200, json={"data": data, "page": number, "pages": -(-214 // size), "results": 214}
        )

    api.on("GET", "/v4/linode/kernels", kernels)
    listing = client.kernels.list()
    assert (listing.total, listing.first.value.pages) == (214, 3)
    assert len(list(listing)) == 214
    second = client.kernels.list_page(2).value
    assert (second.data[0].id, len(second.data)) == ("linode/100", 100)
    assert client.kernels.list_page(2, page_size=50).value.pages == 5
    assert dict(api.last.url.params) == {"page": "2", "page_size": "50"}


def test_guide_current_debian_images(api, client):
    """The guide's filter for all current Debian images is sent as the guide writes it."""
    api.on("GET", "/v4/images", page_of({"id": "linode/debian8"}, {"id": "linode/debian9"}))
    where = F("vendor").eq("Debian") & F("deprecated").eq(False)
    assert client.images.list(where=where).total == 2
    assert json.loads(api.last.headers["X-Filter"]) == {"vendor": "Debian", "deprecated": False}


def test_guide_debian_or_ubuntu_images(api, client):
    """The guide's filter for all Debian or Ubuntu images is sent on every page."""
    api.on("GET", "/v4/images", page_of({"id": "linode/ubuntu24.04"}))
    where = F("vendor").eq("Debian") | F("vendor").eq("Ubuntu")
    assert [image.id for image in client.images.list(where=where)] == ["linode/ubuntu24.04"]
    assert json.loads(api.last.headers["X-Filter"]) == {"+or": [{"vendor": "Debian"}, {"vendor": "Ubuntu"}]}


# The other operations.


@pytest.mark.parametrize(
    ("group", "item_id", "path"),
    [
        ("images", "linode/ubuntu24.04", "/v4/images/linode%2Fubuntu24.04"),
        ("types", "g6-nanode-1", "/v4/linode/types/g6-nanode-1"),
        ("regions", "us-east", "/v4/regions/us-east"),
        ("kernels", "linode/latest-64bit", "/v4/linode/kernels/linode%2Flatest-64bit"),
        ("images", "a b?c#d%é", "/v4/images/a%20b%3Fc%23d%25%C3%A9"),
    ],
)
def test_get_by_text_id(api, client, group, item_id, path):
    """An id is one segment of the path, encoded whatever it holds."""
    api.on("GET", path, {"id": item_id})
    assert getattr(client, group).get(item_id).value.id == item_id


@pytest.mark.parametrize("item_id", ["", ".", ".."])
def test_an_id_that_would_leave_the_path_is_refused(api, client, item_id):
    """An empty or dotted id would name another resource, so it is not sent."""
    with pytest.raises(ValueError, match="an id can't be"):
        client.images.get(item_id)
    assert api.requests == []


def test_availability(api, client):
    """Availability is paged for all regions, and a bare array for one."""
    row = {"region": "us-east", "plan": "g7-premium-2", "available": False}
    api.on("GET", "/v4/regions/availability", page_of(row))
    api.on("GET", "/v4/regions/us-east/availability", [row, {**row, "plan": None}])
    assert [item.available for item in client.regions.availability.list()] == [False]
    assert [item.plan for item in client.regions.availability_in("us-east").value] == ["g7-premium-2", None]


@pytest.mark.parametrize("body", [page_of(), "<html>", [{"region": 5}, 7]])
def test_availability_that_is_no_array_of_rows_is_unreadable(api, client, body):
    """One region's availability in another shape is not taken for an empty one."""
    api.on("GET", "/v4/regions/us-east/availability", body)
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        client.regions.availability_in("us-east")


def test_profile_tells_the_scopes(api, client):
    """The profile's reply names what the token may do."""
    headers = {"X-OAuth-Scopes": "linodes:read_write  images:read_only"}
    api.on("GET", "/v4/profile", {"username": "me", "restricted": False}, headers=headers)
    reply = client.profile()
    assert (reply.value.username, reply.value.restricted) == ("me", False)
    assert reply.scopes == {"linodes:read_write", "images:read_only"}
    assert reply.token_recognised is True


def test_account_tells_its_own_id(api, client):
    """The account has an id of its own, which every token of it is told."""
    api.on("GET", "/v4/account", {"euuid": "E1AF5EEC-526F-487D-B317EBEB34C87D71", "balance": 0})
    assert client.account().value.euuid == "E1AF5EEC-526F-487D-B317EBEB34C87D71"


@pytest.mark.parametrize(("headers", "expected"), [({"X-OAuth-Scopes": "unknown"}, False), ({}, None)])
def test_an_unrecognised_token_is_told(api, client, headers, expected):
    """A public read succeeds with a token that the API does not know; only the scopes give it away."""
    api.on("GET", "/v4/regions", page_of(), headers=headers)
    assert client.regions.list_page().token_recognised is expected


def test_events(api, client):
    """Events are listed with a filter on their entity, and read one by one."""
    event = {"id": 9, "action": "linode_create", "status": "finished", "entity": {"id": 5, "type": "linode"}}
    api.on("GET", "/v4/account/events", page_of(event))
    api.on("GET", "/v4/account/events/9", event)
    where = (F("entity.id") == 5) & (F("entity.type") == "linode")
    assert [found.status for found in client.events.list(where=where)] == ["finished"]
    assert client.events.get(9).value.entity.id == 5


def test_get_and_list_instances(api, client):
    """An instance is read by its number, and a list by its tags."""
    api.on("GET", LINODE, {"id": 5, "status": "running"})
    api.on("GET", "/v4/linode/instances", page_of({"id": 5}))
    assert client.instances.get(5).value.status == "running"
    assert [found.id for found in client.instances.list(where=F("tags").eq("nw:1.1"))] == [5]


def test_update_sends_what_is_given(api, client):
    """An update names only what changes; an empty tuple of tags removes them all."""
    api.on("PUT", LINODE, {"id": 5, "label": "new"})
    assert client.instances.update(5, label="new", tags=()).value.label == "new"
    assert sent(api.last) == {"label": "new", "tags": []}
    client.instances.update(5, tags=("a",), group="g", watchdog_enabled=False, alerts={"cpu": 90})
    assert sent(api.last) == {"tags": ["a"], "group": "g", "watchdog_enabled": False, "alerts": {"cpu": 90}}


@pytest.mark.parametrize("body", ["{}", "", "  ", "null", '{"any": 1}'])
def test_delete(api, client, body):
    """A delete answers an empty object, or nothing at all."""
    api.on("DELETE", LINODE, body)
    assert client.instances.delete(5).value is None
    assert api.last.content == b""


@pytest.mark.parametrize("body", ["<html>welcome</html>", "[]", '"gone"'])
def test_a_delete_answered_with_something_else_is_unknown(api, client, body):
    """A 200 that is no object was not the API's, so nobody knows whether the instance is gone."""
    api.on("DELETE", LINODE, body)
    with pytest.raises(OutcomeUnknown) as caught:
        client.instances.delete(5)
    assert caught.value.outcome_unknown


def test_delete_of_what_is_gone(client):
    """Deleting what is not there is NotFound, which proves its absence."""
    with pytest.raises(NotFound):
        client.instances.delete(6)


@pytest.mark.parametrize(
    ("verb", "options", "body"),
    [
        ("boot", {}, {}),
        ("boot", {"config_id": 7}, {"config_id": 7}),
        ("reboot", {}, {}),
        ("reboot", {"config_id": 7}, {"config_id": 7}),
        ("shutdown", {}, {}),
    ],
)
def test_power(api, client, verb, options, body):
    """Boot, reboot and shutdown are posted to the instance, the first two with a configuration if wanted."""
    api.on("POST", f"{LINODE}/{verb}", {})
    assert getattr(client.instances, verb)(5, **options).value is None
    assert sent(api.last) == body


# What surrounds every call.


def test_a_success_carries_its_rate(api, client):
    """Each reply tells the window, and Retry-After on a success is no throttling."""
    headers = {
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "19",
        "Retry-After": "14",
        "X-Request-Id": "r-9",
    }
    api.on("POST", "/v4/linode/instances", {"id": 1}, headers=headers)
    reply = client.instances.create(InstanceCreate(type="t", region="r"))
    assert reply.rate == RateInfo(limit=20, remaining=19, retry_after=14.0)
    assert (reply.status, reply.request_id) == (200, "r-9")


@pytest.mark.parametrize(
    "headers", [{}, {"X-RateLimit-Reset": "-1", "Retry-After": "-1509450059", "Date": "?"}]
)
def test_absurd_headers_fail_no_success(api, client, headers):
    """A create that worked is a success, whatever its headers are."""
    api.on("POST", "/v4/linode/instances", {"id": 1}, headers=headers)
    reply = client.instances.create(InstanceCreate(type="t", region="r"))
    assert (reply.value.id, reply.rate) == (1, RateInfo())


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_readable_2xx_is_a_success(api, client, status):
    """The API answers 200 to a create; other implementations may say 201."""
    api.on("POST", "/v4/linode/instances", {"id": 1}, status=status)
    assert client.instances.create(InstanceCreate(type="t", region="r")).status == status


def test_a_reply_knows_its_times(api):
    """A reply says when the call was made and how long it took."""
    api.on("GET", "/v4/profile", {})
    clock = Clock(monotonic=iter([10.0, 10.5, 12.0]).__next__, wall=lambda: 1_700_000_000.0)
    with LinodeClient(TOKEN, transport=httpx.MockTransport(api), clock=clock) as client:
        reply = client.profile()
    assert (reply.sent_at, reply.elapsed) == (1_700_000_000.0, 2.0)


def test_the_user_agent(api, client):
    """The agent is the distribution and its version, followed by whatever the user adds."""
    api.on("GET", "/v4/profile", {})
    client.profile()
    assert api.last.headers["User-Agent"] == f"nodewright/{version('nodewright')}"
    with LinodeClient(TOKEN, transport=httpx.MockTransport(api), user_agent="worker/3") as other:
        other.profile()
    assert api.last.headers["User-Agent"] == f"nodewright/{version('nodewright')} worker/3"


def test_the_user_agent_of_a_copy_that_is_not_installed():
    """Without metadata of a distribution the version is unknown, and that is no error."""
    assert default_user_agent("no-such-distribution") == "no-such-distribution/unknown"


def test_a_secret_token_is_taken_as_it_is(api):
    """A token may come wrapped, so that it is never in the clear on its way."""
    api.on("GET", "/v4/profile", {})
    with LinodeClient(SecretStr(TOKEN), transport=httpx.MockTransport(api)) as client:
        client.profile()
    assert api.last.headers["Authorization"] == f"Bearer {TOKEN}"

import json
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import SimRequest, World, handle

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70_000_003)
    | st.floats(allow_nan=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "type",
        "region",
        "image",
        "root_pass",
        "label",
        "tags",
        "booted",
        "metadata",
        "placement_group",
        "group",
        "private_ip",
        "backup_id",
    ]
)
KEYS = st.sampled_from(
    [
        "+and",
        "+or",
        "+order",
        "+order_by",
        "+gt",
        "label",
        "tags",
        "id",
        "region",
        "placement_group",
        "entity.id",
    ]
)
SENSIBLE = {"type": "g6-nanode-1", "region": "us-east"}


def _world():
    world = World()
    world.limits.classes.clear()
    return world


def _send(world, method, path, **more):
    headers = {"authorization": "Bearer simulated-token", **more.pop("headers", {})}
    return handle(world, SimRequest(method, f"/v4{path}", headers=headers, **more), 1_800_000_000.0)


@settings(deadline=None, max_examples=150)
@given(body=st.dictionaries(FIELDS, JSON, max_size=6), sensible=st.booleans())
def test_no_body_is_too_strange_for_a_create_or_an_update(body, sensible):
    """Whatever the fields hold, the answer is 200 or 400 and lists still work."""
    world = _world()
    data = json.dumps({**body, **SENSIBLE} if sensible else body).encode()
    assert _send(world, "POST", "/linode/instances", body=data).status in (200, 400)
    _send(world, "POST", "/linode/instances", body=json.dumps(SENSIBLE).encode())
    ident = max(world.instances)
    assert _send(world, "PUT", f"/linode/instances/{ident}", body=data).status in (200, 400)
    ordered = {"x-filter": json.dumps({"+order_by": "group"})}
    assert _send(world, "GET", "/linode/instances", headers=ordered).status == 200


@settings(deadline=None, max_examples=150)
@given(tree=st.dictionaries(KEYS, JSON, max_size=4) | JSON)
def test_no_filter_is_too_strange(tree):
    """Any JSON in X-Filter is 200 or 400."""
    world = _world()
    _send(world, "POST", "/linode/instances", body=json.dumps(SENSIBLE).encode())
    headers = {"x-filter": json.dumps(tree)}
    for path in ("/linode/instances", "/account/events"):
        assert _send(world, "GET", path, headers=headers).status in (200, 400)


@settings(deadline=None, max_examples=100)
@given(page=st.text(max_size=12), size=st.text(max_size=12) | st.integers().map(str))
def test_no_page_is_too_strange(page, size):
    """Any page and size is 200, 400 or 404."""
    query = urlencode({"page": page, "page_size": size})
    assert _send(_world(), "GET", "/linode/kernels", query=query).status in (200, 400, 404)


def test_depth_and_length_do_no_harm():
    """Deeply nested JSON and endless numbers are refused, not crashed on."""
    world, deep = _world(), "[" * 100_000
    assert _send(world, "POST", "/linode/instances", body=deep.encode()).status == 400
    nested = '{"+and": [' * 400 + "{}" + "]}" * 400
    assert _send(world, "GET", "/linode/instances", headers={"x-filter": nested}).status in (200, 400)
    assert _send(world, "GET", "/linode/kernels", query="page=" + "9" * 5000).status == 400
    assert _send(world, "GET", "/linode/instances/" + "9" * 5000).status == 404

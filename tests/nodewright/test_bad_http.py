"""Whatever is wrong with a request: a problem document, no 500, nothing stored."""

import json
import socket
from datetime import timedelta
from random import Random

import httpx
import pytest
from sqlalchemy import func, select, update

from jobs import keys
from jobs.records import api_keys, fleets, jobs
from jobs.requests import FleetRequest, GroupRequest

GOOD = {"name": "web", "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
TEXTS = (
    "name",
    "type",
    "region",
    "image",
    "label_pattern",
    "root_pass",
    "user_data",
    "kernel",
    "maintenance_policy",
    "account",
    "not_before",
    "deadline",
    "ttl",
    "boot_timeout",
)
LISTS = ("regions", "tags", "authorized_keys", "authorized_users", "ipv4")
BAD_CHARACTERS = ("\x00", "\x07", "\x1b", "\x7f", "\x85", "\ud800")


def stored(site):
    """Return how many fleets and jobs there are."""
    with site.database.read() as tx:
        return [tx.execute(select(func.count()).select_from(table)).scalar() for table in (fleets, jobs)]


def is_problem(answer, status):
    """Assert that an answer is a whole problem document with this status; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["type"] == f"urn:nodewright:problem:{found['code']}"
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def post(http, document, **headers):
    """Post a document as it is, also one that no JSON library would write."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return http.post("/v1/fleets", content=content, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("field", TEXTS)
def test_control_characters_in_every_text(served, http, field):
    """No text of a document may hold a control character or half a surrogate; the pointer says which one does."""
    for bad in BAD_CHARACTERS:
        found = is_problem(post(http, {**GOOD, field: f"a{bad}b"}), 422)
        assert [one["pointer"] for one in found["errors"]] == [f"/{field}"]
    assert stored(served) == [0, 0]


@pytest.mark.parametrize("field", LISTS)
def test_control_characters_in_every_list(served, http, field):
    """The same holds within lists."""
    for bad in BAD_CHARACTERS:
        found = is_problem(post(http, {**GOOD, field: ["fine", f"a{bad}b"]}), 422)
        assert found["errors"][0]["pointer"] == f"/{field}/1"
    assert stored(served) == [0, 0]


@pytest.mark.parametrize("bad", BAD_CHARACTERS, ids=ascii)
def test_control_characters_in_keys(served, http, bad):
    """Keys are texts too, also those of StackScript data and of interfaces."""
    for document in (
        {**GOOD, f"a{bad}": 1},
        {**GOOD, "stackscript_data": {f"a{bad}": "x"}},
        {**GOOD, "interfaces": [{f"a{bad}": 1}]},
    ):
        is_problem(post(http, document), 422)
    assert stored(served) == [0, 0]


def test_every_text_field_is_tried():
    """The lists above name every field that holds text."""
    schema = {
        **GroupRequest.model_json_schema()["properties"],
        **FleetRequest.model_json_schema()["properties"],
    }
    shown = {name: json.dumps(field) for name, field in schema.items()}
    texts = {name for name, field in shown.items() if '"string"' in field and "enum" not in field}
    assert texts - {*TEXTS, *LISTS} == {"stackscript_data"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"count": "3"}, "/count"),
        ({"count": 1.5}, "/count"),
        ({"count": True}, "/count"),
        ({"count": 0}, "/count"),
        ({"count": 10_001}, "/count"),
        ({"count": 2**70}, "/count"),
        ({"priority": 101}, "/priority"),
        ({"booted": "yes"}, "/booted"),
        ({"tags": "prod"}, "/tags"),
        ({"cuont": 3}, "/cuont"),
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"type": {"id": "x"}}, "/type"),
        ({"interfaces": {}}, "/interfaces"),
        ({"interfaces": [[[]]]}, "/interfaces/0"),
        ({"placement_group": {"id": 1, "idd": 2}}, "/placement_group/idd"),
        ({"groups": []}, "/groups"),
    ],
)
def test_wrong_values(served, http, change, pointer):
    """Each wrong value is blamed where it stands."""
    found = is_problem(post(http, {**GOOD, **change}), 422)
    assert pointer in [one["pointer"] for one in found["errors"]]
    assert stored(served) == [0, 0]


def test_all_faults_at_once(http):
    """Faults of every group and field come in one answer, each with pointer, value and remedy."""
    groups = [{"type": "g6-nanode-1", "region": 7}, {"type": "t", "regoin": "x", "region": "y", "count": "9"}]
    found = is_problem(post(http, {"name": "web", "groups": groups}), 422)
    assert {one["pointer"] for one in found["errors"]} == {
        "/groups/0/region",
        "/groups/1/regoin",
        "/groups/1/count",
    }
    unknown = next(one for one in found["errors"] if one["pointer"].endswith("regoin"))
    assert unknown["nearest"] == "region"
    assert all(one["remedy"] for one in found["errors"])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (json.dumps(GOOD).encode("utf-16"), 400),
        (b'{"name": NaN}', 400),
        (b'{"name": 1e999}', 422),
        (b'{"count": ' + b"9" * 5000 + b"}", 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b"[" * 200_000, 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (json.dumps({**GOOD, "interfaces": [{"a": [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}]}).encode(), 422),
        (b"null", 422),
        (b"[]", 422),
        (b'"web"', 422),
        (b"7", 422),
    ],
    ids=lambda one: str(one)[:24],
)
def test_what_is_no_document(served, http, content, status):
    """What is no strict JSON, or no mapping, is refused in words."""
    is_problem(post(http, content), status)
    assert stored(served) == [0, 0]


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/xml", "application/jsonp", "multipart/form-data"]
)
def test_wrong_media_types(served, http, media_type):
    """A body that does not say that it is JSON is not read."""
    is_problem(post(http, GOOD, **{"Content-Type": media_type}), 415)
    assert stored(served) == [0, 0]


def test_a_body_of_50_megabytes(served, http):
    """A body far too large is answered 413, also when it comes in pieces without a length."""
    is_problem(post(http, b" " * 50_000_000), 413)
    pieces = (b" " * 1_000_000 for _ in range(50))
    answer = http.post("/v1/fleets", content=pieces, headers={"Content-Type": "application/json"})
    is_problem(answer, 413)
    assert stored(served) == [0, 0]


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO"])
def test_wrong_methods(http, method):
    """A method that a path does not take is answered 405 with those that it takes."""
    answer = http.request(method, "/v1/fleets")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].replace(" ", "").split(",")) & {"GET", "POST"}
    if method != "HEAD":
        is_problem(answer, 405)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=2",
        "stat=running",
        "state=runing",
        "label=%00",
        "label=",
        "region=a%07b",
        "tag=" + "x" * 129,
        "since=0.5",
        "since=yesterday",
        "since=2026-13-01",
        "since=0001-01-01T00:00:00%2B23:59",
        "fields=",
        "fields=nope",
        "after=%00",
    ],
)
def test_wrong_parameters(http, query):
    """A parameter that is wrong, unknown or given twice is refused by name."""
    found = is_problem(http.get(f"/v1/jobs?{query}"), 422)
    assert found["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("text", ["", "a b", "x" * 256, "ä", "\x7f"])
def test_wrong_idempotency_keys(served, http, text):
    """A key that could be mangled on its way is refused."""
    answer = http.post("/v1/fleets", json=GOOD, headers={b"Idempotency-Key": text.encode()})
    assert answer.status_code == 400
    assert stored(served) == [0, 0]


def test_the_same_key_with_another_body(served, http):
    """An idempotency key stands for one body; another one under it is a conflict."""
    assert post(http, GOOD, **{"Idempotency-Key": "k"}).status_code == 202
    found = is_problem(post(http, {**GOOD, "count": 2}, **{"Idempotency-Key": "k"}), 409)
    assert found["code"] == "idempotency_conflict"
    assert stored(served) == [1, 1]


def _with(site, key):
    return httpx.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    )


@pytest.mark.parametrize("column", ["expires_at", "revoked_at"])
def test_keys_that_are_over(served, column):
    """An expired or revoked key is as good as none."""
    key = keys.create_key(served.database, tenant="default", name="old", dice=Random(9))
    with served.database.write() as tx:
        values = {column: tx.now - timedelta(seconds=1)}
        tx.execute(update(api_keys).where(api_keys.c.id == key.rpartition("_")[0]).values(**values))
    with _with(served, key) as http:
        assert is_problem(post(http, GOOD), 401)["code"] == "unauthenticated"
    assert stored(served) == [0, 0]


def test_keys_without_scope(served):
    """A key may do what its scopes say, and nothing else."""
    key = keys.create_key(served.database, tenant="default", name="r", dice=Random(8), scopes=("read",))
    with _with(served, key) as http:
        assert is_problem(post(http, GOOD), 403)["code"] == "missing_key_scope"
        is_problem(http.post("/v1/fleets/web/cancel"), 403)
        assert http.get("/v1/fleets").status_code == 200
    assert stored(served) == [0, 0]


def test_no_key_reads_no_body(served):
    """Who has no key is refused before the body is looked at."""
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        is_problem(post(http, b"{"), 401)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"adopt": 0}', b'{"adopt": "1"}', b'{"adopt": true}', b'{"absent": false}', b"null"],
)
def test_wrong_resolutions(http, body):
    """A resolution says one of two things, and nothing else."""
    path = "/v1/jobs/018f0000-0000-7000-8000-000000000000/resolve"
    is_problem(http.post(path, content=body, headers={"Content-Type": "application/json"}), 422)


def test_nonsense_instead_of_http(served):
    """What is no HTTP at all harms nothing."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"\x00\xff nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)

"""Lists over HTTP: filters, fields, cursors, and the catalogs."""

import base64
import re

import pytest

from nodewright.service.paging import seal, unseal
from nodewright.service.problems import Problem


@pytest.fixture
def fleets(http, document):
    """Two fleets: `front` of three with a tag, `back` of one elsewhere."""
    http.post("/v1/fleets", json=document(name="front", tags=["blue"]))
    http.post("/v1/fleets", json=document(name="back", count=1, region="us-west"))
    return http


def labels(http, **params):
    """Return the labels that a query finds."""
    return [job["label"] for job in http.get("/v1/jobs", params=params).json()["jobs"]]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"tag": "blue"}, ["front-0003", "front-0002", "front-0001"]),
        ({"region": "us-west"}, ["back-0001"]),
        ({"label": "front-0002"}, ["front-0002"]),
        ({"fleet": "front", "limit": 1}, ["front-0001"]),
        ({"type": "g6-standard-2"}, []),
        ({"error_code": "no_capacity"}, []),
        ({"state": "queued", "fleet": "back"}, ["back-0001"]),
        ({"since": "2020-01-01", "fleet": "back"}, ["back-0001"]),
        ({"since": "2999-01-01T00:00:00Z"}, []),
        ({"q": "front", "sort": "oldest"}, ["front-0001", "front-0002", "front-0003"]),
        ({"q": "0001"}, []),
        ({"sort": "label"}, ["back-0001", "front-0001", "front-0002", "front-0003"]),
        ({"sort": "newest", "fleet": "front"}, ["front-0003", "front-0002", "front-0001"]),
        ({"since": "2999-01-01T00:00:00+05:00"}, []),
    ],
)
def test_filters(fleets, params, found):
    """Each filter finds what it names."""
    assert labels(fleets, **params) == found


def test_fields(fleets):
    """Only the fields that are asked for come, and one that does not exist is refused with the nearest."""
    assert fleets.get("/v1/jobs?fleet=back&fields=label,state").json()["jobs"] == [
        {"label": "back-0001", "state": "queued"}
    ]
    fault = fleets.get("/v1/jobs?fields=label,stat").json()["errors"][0]
    assert (fault["field"], fault["value"], fault["nearest"]) == ("fields", "stat", "state")


def test_a_page_stays_with_its_fleet(fleets, document):
    """A cursor of a fleet that was asked for by name goes on in that fleet, also when a newer one has the name."""
    first = fleets.get("/v1/jobs?fleet=front&limit=2").json()
    fleets.post("/v1/fleets", json=document(name="front", label_pattern="new-{index}"))
    second = fleets.get("/v1/jobs", params={"fleet": "front", "limit": 2, "after": first["next"]}).json()
    assert [job["label"] for job in second["jobs"]] == ["front-0003"]
    assert second["next"] is None


def test_fleets_are_paged(fleets):
    """Fleets come in pages too, and the last one says that nothing follows."""
    first = fleets.get("/v1/fleets?limit=1").json()
    second = fleets.get("/v1/fleets", params={"limit": 1, "after": first["next"]}).json()
    assert [one["fleets"][0]["name"] for one in (first, second)] == ["back", "front"]
    assert second["next"] is None


FORGED = [
    "x",
    "AAAA",
    "é",
    "\x00",
    "0",
    "a" * 600,
    base64.urlsafe_b64encode(b"\xff" * 30).decode(),
    "018f0000-0000-7000-8000-000000000000",
]


@pytest.mark.parametrize("cursor", FORGED)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?fleet=front", "/v1/fleets", "/v1/catalog/types"])
def test_a_forged_cursor_is_refused(fleets, path, cursor):
    """What is no cursor of this list is a 422 problem that names the parameter."""
    answer = fleets.get(path, params={**dict(re.findall(r"(\w+)=(\w+)", path)), "after": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "after"


def test_a_cursor_of_another_list_is_refused(fleets):
    """A cursor holds for the filters that it came with."""
    cursor = fleets.get("/v1/jobs?fleet=front&limit=1").json()["next"]
    answer = fleets.get("/v1/jobs", params={"fleet": "back", "after": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


@pytest.mark.parametrize("place", ["0" * 20, "-1", "no-fleet 1", "' OR 1=1"])
def test_a_well_sealed_cursor_to_nowhere_is_refused(fleets, place):
    """Who finds out how cursors are made wins nothing: the place must be one, and the tenant's."""
    asked = {"fleet": "front"}
    answer = fleets.get("/v1/jobs", params={**asked, "after": seal(place, asked)})
    assert answer.status_code in {404, 422}


def test_seal_and_unseal():
    """A cursor is opened with the query that it was sealed with, and with no other."""
    assert unseal(seal("7", {"a": "1"}), {"a": "1"}) == "7"
    assert unseal(None, {}) is None
    with pytest.raises(Problem):
        unseal(seal("7", {"a": "1"}), {"a": "2"})


def test_catalogs_are_listed_and_searched(http):
    """Types, regions and images are listed by id, searched by id and label, and paged."""
    types = http.get("/v1/catalog/types").json()
    assert [one["id"] for one in types["types"]] == ["g1-gpu-rtx6000-1", "g6-nanode-1"]
    assert types["types"][1]["price"] == {"hourly_usd": 0.0075, "monthly_usd": 5.0, "regions": []}
    assert types["fetched_at"]
    assert [one["id"] for one in http.get("/v1/catalog/images?q=DEBIAN").json()["images"]] == [
        "linode/debian12",
        "linode/debian9",
    ]
    first = http.get("/v1/catalog/regions?limit=2").json()
    second = http.get("/v1/catalog/regions", params={"limit": 2, "after": first["next"]}).json()
    assert [one["id"] for one in first["regions"] + second["regions"]] == ["us-east", "us-ord", "us-west"]
    assert "private/1002" in {one["id"] for one in http.get("/v1/catalog/images").json()["images"]}


def test_no_catalog_yet(bare_served):
    """Without a catalog its routes answer 503 and say when to try again."""
    import httpx  # noqa: PLC0415 - only here

    bare_served.fail_catalog()
    with httpx.Client(base_url=bare_served.url, trust_env=False) as http:
        answer = http.get("/v1/catalog/types", headers={"Authorization": f"Bearer {bare_served.key}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "catalog_unavailable")
    assert answer.headers["retry-after"]

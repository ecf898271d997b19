import json

import httpx
import pytest


def test_a_fleet_is_accepted_with_its_location(http, document):
    """A good document is answered 202 with the fleet, and its Location answers the same fleet."""
    answer = http.post("/v1/fleets", json=document())
    assert answer.status_code == 202
    assert answer.json()["fleet"]["states"] == {"queued": 3}
    assert http.get(answer.headers["location"]).json()["fleet"]["id"] == answer.json()["fleet"]["id"]
    assert http.get("/v1/fleets/web").json()["fleet"]["name"] == "web"


def test_the_same_idempotency_key_is_one_fleet(http, document):
    """Two posts with one key are one fleet, and another document under that key is a conflict."""
    first, second = (
        http.post("/v1/fleets", json=document(), headers={"Idempotency-Key": "k1"}) for _ in range(2)
    )
    assert first.json()["fleet"]["id"] == second.json()["fleet"]["id"]
    assert second.json()["replayed"] is True
    other = http.post("/v1/fleets", json=document(count=4), headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_all_faults_at_once(http, document):
    """A wrong document is answered with every fault, each with pointer, code and the nearest valid value."""
    answer = http.post("/v1/fleets", json=document(type="g6-nanod-1", region="us-eats"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    found = {one["pointer"]: (one["code"], one["nearest"]) for one in answer.json()["errors"]}
    assert found == {"/type": ("unknown_type", "g6-nanode-1"), "/region": ("unknown_region", "us-east")}
    assert http.get("/v1/fleets").json()["fleets"] == []


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "a", "name": "b"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b" " * (8 * 1024 * 1024 + 1), "application/json", 413),
        (json.dumps({"name": "a\u0000b", "type": "t", "region": "r"}).encode(), "application/json", 422),
        (
            json.dumps({"name": "web", "count": "3", "type": "t", "region": "r"}).encode(),
            "application/json",
            422,
        ),
        (
            json.dumps({"name": "web", "cuont": 3, "type": "t", "region": "r"}).encode(),
            "application/json",
            422,
        ),
        (
            json.dumps({"name": "web", "count": 51, "type": "g6-nanode-1", "region": "us-east"}).encode(),
            "application/json",
            422,
        ),
    ],
)
def test_bad_bodies(http, content, media_type, status):
    """Whatever is wrong with a body, the answer is a problem document, and nothing is stored."""
    answer = http.post("/v1/fleets", content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert http.get("/v1/fleets").json()["fleets"] == []


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nwk_wrong_key", "Basic Og==", "Nonsense"])
def test_a_key_is_needed(http, authorization):
    """Without a known key every route of /v1 answers 401 and says how to send one."""
    for path in ("/v1/fleets", "/v1/fleets/web", "/v1/jobs", "/v1/jobs/1", "/v1/status", "/v1/rate-windows"):
        answer = http.get(path, headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "www-authenticate" in answer.headers


def test_jobs_are_paged(http, document):
    """Jobs come in pages that join without gap or repetition."""
    http.post("/v1/fleets", json=document(count=5))
    seen, after = [], None
    while True:
        params = {"fleet": "web", "limit": 2, **({"after": after} if after else {})}
        page = http.get("/v1/jobs", params=params).json()
        seen += [job["label"] for job in page["jobs"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [f"web-000{number}" for number in range(1, 6)]


def test_a_job_has_its_timeline(http, document):
    """A job is shown with the events that led to its state."""
    http.post("/v1/fleets", json=document(count=1))
    job_id = http.get("/v1/jobs").json()["jobs"][0]["id"]
    job = http.get(f"/v1/jobs/{job_id}").json()["job"]
    assert job["state"] == "queued"
    assert job["timeline"]


def test_cancel(http, document):
    """A cancel ends what was not bought and says how much that was."""
    http.post("/v1/fleets", json=document())
    answer = http.post("/v1/fleets/web/cancel").json()
    assert (answer["cancelled"], answer["noted"]) == (3, 0)
    assert answer["fleet"]["states"] == {"cancelled": 3}


@pytest.mark.parametrize(
    "path", ["/v1/fleets/nope", "/v1/jobs/nope", "/v1/jobs?fleet=nope", "/v1/nope", "/nope"]
)
def test_not_found(http, path):
    """What is not there is a 404 problem."""
    answer = http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "state=nope"])
def test_bad_parameters(http, query):
    """A wrong query parameter is a problem that names it."""
    answer = http.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_wrong_method(http):
    """A method that a route does not take is answered 405 as a problem."""
    answer = http.delete("/v1/fleets")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_request_ids(http):
    """A usable request id comes back, an unusable one is replaced, and problems carry it."""
    assert http.get("/livez", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = http.get("/nope", headers={"X-Request-Id": "a b\tc"})
    assert made.headers["x-request-id"] == made.json()["request_id"] != "a b\tc"


def test_paused_account(http, served, document):
    """When the token is known to be bad, a submit is refused with that code, and the status has the alarm."""
    served.pause("unauthorized", "Invalid Token")
    answer = http.post("/v1/fleets", json=document())
    assert (answer.status_code, answer.json()["code"]) == (409, "unauthorized")
    assert http.get("/v1/status").json()["alarms"][0]["code"] == "unauthorized"


def test_health(http):
    """The probes answer without a key."""
    del http.headers["Authorization"]
    assert http.get("/livez").status_code == 200
    assert http.get("/readyz").json() == {"status": "ready", "catalog": "fresh"}


def test_metrics(http, document):
    """The gauges count jobs by state."""
    http.post("/v1/fleets", json=document())
    assert 'nodewright_jobs{state="queued"} 3.0' in http.get("/metrics").text


def test_a_fleet_that_celery_refused(http, served):
    """Who asks for a fleet whose message was refused is told why, and the refusals are counted."""
    fleet_id = "018f0000-0000-7000-8000-000000000000"
    served.deps.service.refuse_message(fleet_id, "name: is required; add it")
    answer = http.get(f"/v1/fleets/{fleet_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "fleet_refused")
    assert "name: is required" in answer.json()["detail"]
    assert "nodewright_refused_messages_total 1.0" in http.get("/metrics").text


def test_the_page_lists_fleets_and_escapes_names(http, document):
    """The page shows the fleets, and nothing that somebody typed becomes markup."""
    http.post("/v1/fleets", json=document(label_pattern="w-{index}", name="a<b>"))
    del http.headers["Authorization"]
    page = http.get("/")
    assert page.status_code == 200
    assert "a<b>" not in page.text
    assert "a&lt;b&gt;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_is_not_open_under_a_foreign_name(http):
    """A name that merely points at loopback, as in DNS rebinding, gets no page without a key."""
    del http.headers["Authorization"]
    assert http.get("/", headers={"Host": "evil.example"}).status_code == 401


def test_no_catalog_yet(bare_served, document):
    """With no catalog, and the first read failed, a submit is answered 503 with Retry-After."""
    bare_served.fail_catalog()
    headers = {"Authorization": f"Bearer {bare_served.key}"}
    answer = httpx.post(f"{bare_served.url}/v1/fleets", json=document(), headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (503, "catalog_unavailable")
    assert answer.headers["retry-after"] == "5"

"""The OpenAPI document is whole and true; schemathesis holds the service to it in tests/fuzz."""

import json
from datetime import UTC, datetime

import pytest
from jsonschema_rs import Draft202012Validator

from jobs.estimate import Estimate
from jobs.feed import FeedEvent
from jobs.outlook import Rate
from jobs.overview import FailureGroup
from jobs.requests import FLEET_FIELDS, GROUP_FIELDS, InvalidRequest, parse_request
from jobs.schema_of import FILE_TEXTS, FLEET_TEXTS, GROUP_TEXTS, fleet_schema
from jobs.states import State
from jobs.views import Alarm, EventView, WindowView
from nodewright import answers
from nodewright.service.app import create_app
from nodewright.service.failures import group_json
from nodewright.service.tracing import traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def openapi(site):
    """The document."""
    return create_app(site.deps).openapi()


def operations(document):
    """Yield (path, method, operation)."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_every_operation_documents_its_answers(openapi):
    """Each operation names its success with a schema, and each error as a problem document."""
    for path, method, operation in operations(openapi):
        codes = operation["responses"]
        assert any(code.startswith("2") for code in codes), (path, method)
        if path.startswith("/v1/"):
            assert {"401", "403", "422", "429", "503"} <= set(codes), (path, method)
            assert operation["security"] == [{"ApiKey": []}]
        for code, answer in codes.items():
            if code >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (path, method, code)
            elif code != "204":
                schema = next(iter(answer["content"].values()))["schema"]
                assert "$ref" in schema or schema == {"type": "string"}, (path, method, code)


def test_every_body_is_documented(openapi):
    """Each operation that takes a body says what it must look like."""
    with_bodies = {path for path, method, operation in operations(openapi) if "requestBody" in operation}
    assert with_bodies == {
        "/v1/fleets",
        "/v1/plan",
        "/v1/jobs/{job_id}/resolve",
        "/v1/fleets/{ref}/destroy",
        "/v1/fleets/{ref}/ttl",
        "/v1/fleets/{ref}/cancel",
        "/v1/fleets/{ref}/retry",
        "/v1/fleets/{ref}/scale",
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/retry",
        "/v1/webhooks",
    }


def test_every_reference_leads_somewhere(openapi):
    """No `$ref` dangles, and nothing of FastAPI's own errors is left."""
    text = json.dumps(openapi)
    names = set(openapi["components"]["schemas"])
    assert {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]} <= names
    assert "HTTPValidationError" not in text


def test_the_shapes_are_those_of_the_views(site):
    """What the document says of each part of an answer is what the service sends: the same fields."""
    site.deps.service.submit(parse_request(_good()), tenant="default", actor="t")
    service, now = site.deps.service, datetime.now(UTC)
    job = service.jobs("default")[0]
    pairs = {
        answers.Fleet: service.fleets("default")[0].to_json(),
        answers.Job: job.to_json(),
        answers.JobDetail: service.job(job.id, "default").to_json(),
        answers.TimelineEvent: EventView(now, "e", "queued", "a").to_json(),
        answers.TenantSpend: service.spend("default")[0][0].to_json(),
        answers.FleetSpend: service.spend("default")[1][0].to_json(),
        answers.FleetEvent: FeedEvent(1, "j", "l", 1, now, "e", "queued", "a").to_json(),
        answers.Status: service.status().to_json(),
        answers.Alarm: Alarm("c", "m", None).to_json(),
        answers.RateWindow: WindowView("a", "t", "r", 0, 1, 1.0, 0, None, None, 0, None).to_json(),
        answers.Outlook: service.outlook("web", "default").to_json(),
        answers.Rate: Rate(20, 0, 15.0, None).to_json(),
        answers.FailureGroup: group_json(FailureGroup("c", None, None, 1, 0, 0, (), "r", more=False)),
        answers.Group: service.groups("web", "default")[0].to_json(),
        answers.Plan: service.plan(parse_request(_good(name="x")), tenant="default").to_json(),
        answers.Estimate: Estimate(
            jobs_ahead=0,
            creates_per_minute=None,
            boot_seconds=1,
            boot_seconds_known=True,
            last_create_seconds=0,
            all_running_seconds=1,
        ).to_json(),
    }
    for model, sent in pairs.items():
        assert {field.alias or name for name, field in model.model_fields.items()} == set(sent), model


def test_the_states_are_ours():
    """The document and the client know the states that the law knows."""
    assert set(answers.STATES) == {state.value for state in State}


# The fleet document's schema


def _good(**changes):
    return {"name": "web", "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12", **changes}


DOCUMENTS = [
    _good(),
    _good(
        count=3, tags=["prod"], root_pass="x", placement_group={"id": 1}, interfaces=[{"purpose": "public"}]
    ),
    {"name": "web", "groups": [{"type": "t", "region": "r"}, {"type": "t", "region": "r", "name": "x"}]},
    {"name": "web"},
    {"name": "web", "groups": []},
    {"name": "web", "groups": [{"type": "t", "region": "r"}], "count": 3},
    _good(count="3"),
    _good(count=0),
    _good(cuont=1),
    _good(booted="yes"),
    _good(on_invalid="maybe"),
    _good(priority=101),
    _good(stackscript_data={"a": 1}),
    _good(placement_group={"idd": 1}),
    _good(type=["a", "b"], region=["c"]),
    _good(type=[]),
    _good(type=["a", 1]),
    _good(region=None),
    _good(regions=["c"]),
    {"name": "web", "type": "t", "regions": ["a", "b"], "prefer": "cheapest"},
    {"name": "web", "type": "t", "regions": {"a": 2, "b": 1}},
    {"name": "web", "type": "t", "regions": {"a": 0}},
    {"name": "web", "type": "t", "regions": "a"},
    {"name": "web", "type": "t"},
    _good(ttl="1h30m", boot_timeout=60, deadline="2030-01-01T00:00:00Z"),
    _good(ttl="1 hour"),
    _good(ttl=0),
    _good(on_failure={"stop_after": 5, "same_cause": True}),
    _good(on_failure={"same_cause": True}),
    _good(on_failure={"stop_after": 0}),
    [],
    None,
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: json.dumps(one)[:40])
def test_the_schema_takes_what_the_service_takes(document):
    """A document fits the schema exactly when it has no fault of shape."""
    try:
        parse_request(document)
        taken = True
    except InvalidRequest:
        taken = False
    assert Draft202012Validator(fleet_schema()).is_valid(document) is taken


def test_every_field_is_described():
    """Each field says what it is, for editors that show it."""
    assert set(FLEET_TEXTS) == FLEET_FIELDS
    assert set(GROUP_TEXTS) == GROUP_FIELDS
    assert set(fleet_schema(files=True)["$defs"]["GroupRequest"]["properties"]) == GROUP_FIELDS | set(
        FILE_TEXTS
    )


# Request ids and traces


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACE, True),
        (f"01{TRACE[2:]}-more", True),
        (f"{TRACE}-more", False),
        (f"ff{TRACE[2:]}", False),
        (TRACE.upper(), False),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", False),
        ("", False),
        ("x", False),
        (f"01{TRACE[2:]}-" + "x" * 300, False),
    ],
)
def test_trace_contexts(given, kept):
    """A W3C trace context is kept as it came; what is none is ignored."""
    assert traceparent(given) == (given if kept else None)


def test_a_fleet_keeps_where_it_came_from(http):
    """Request id and trace of the submit are shown with the fleet, and a malformed trace is not."""
    headers = {"X-Request-Id": "req-1", "traceparent": TRACE}
    http.post("/v1/fleets", json=_good(), headers=headers)
    fleet = http.get("/v1/fleets/web").json()["fleet"]
    assert (fleet["request_id"], fleet["traceparent"]) == ("req-1", TRACE)
    http.post("/v1/fleets", json=_good(name="other"), headers={"traceparent": "nonsense"})
    other = http.get("/v1/fleets/other").json()["fleet"]
    assert other["request_id"]
    assert other["traceparent"] is None

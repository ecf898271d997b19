import json
import pickle

import httpx
import pytest

import api_client
from api_client import (
    BadRequest,
    Forbidden,
    InstanceCreate,
    LinodeError,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    RateInfo,
    Reason,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
)

WORDS = {"errors": [{"reason": "Label must be unique among your linodes", "field": "label"}]}
HTML = "<html><head><title>Nope</title></head></html>"
CREATE = ("POST", "/v4/linode/instances")
REQUEST = InstanceCreate(type="g6-nanode-1", region="us-east")


def create_error(api, client, body, status, headers=None):
    """The error of a create that is answered so, after a single send."""
    api.on(*CREATE, body, status=status, headers=headers)
    with pytest.raises(LinodeError) as caught:
        client.instances.create(REQUEST)
    assert len(api.requests) == 1
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, MethodNotAllowed),
        (409, Rejected),
        (422, Rejected),
    ],
)
def test_a_no_in_the_words_of_the_api_is_definite(api, client, status, kind):
    """A 4xx with the API's errors list is a rejection, so nothing was applied."""
    error = create_error(api, client, WORDS, status)
    assert type(error) is kind
    assert isinstance(error, Rejected)
    assert not error.outcome_unknown
    assert error.errors == (Reason("Label must be unique among your linodes", "label"),)
    assert error.reasons == ("Label must be unique among your linodes",)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
@pytest.mark.parametrize(
    "body",
    [
        HTML,
        "",
        "[]",
        "{",
        "null",
        '{"errors": []}',
        '{"errors": "no"}',
        '{"errors": [{"field": "x"}, 3]}',
        b"\xff\xfe",
    ],
)
def test_a_no_in_other_words_is_not_trusted(api, client, status, body):
    """A 4xx that does not speak the API's JSON came from something in between, so the outcome is unknown."""
    error = create_error(api, client, body, status)
    assert type(error) is OutcomeUnknown
    assert error.outcome_unknown
    assert error.status == status
    assert error.errors == ()


@pytest.mark.parametrize("body", [WORDS, HTML, ""])
def test_429_is_throttled_whatever_its_body(api, client, body):
    """The API and its load balancer both throttle, with and without JSON; neither applied the call."""
    error = create_error(api, client, body, 429, {"X-RateLimit-Limit": "20", "Retry-After": "7"})
    assert type(error) is Throttled
    assert not error.outcome_unknown
    assert error.rate == RateInfo(limit=20, retry_after=7.0)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [WORDS, HTML, ""])
def test_5xx_is_a_fault_with_unknown_outcome(api, client, status, body):
    """Any 5xx to a write leaves its outcome unknown, however well it is written."""
    error = create_error(api, client, body, status)
    assert type(error) is ServerFault
    assert error.outcome_unknown
    assert not error.maintenance


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 408])
def test_408_and_redirects_are_unknown(api, client, status):
    """408 is unknown even in the API's words, and no redirect is followed."""
    error = create_error(api, client, WORDS, status, {"Location": "https://api.linode.com/v4/elsewhere"})
    assert type(error) is OutcomeUnknown
    assert error.reasons == ("Label must be unique among your linodes",)


@pytest.mark.parametrize(
    "body", [HTML, "", "[]", "null", "{}", '{"id": null}', '{"id": "5"}', '{"id": true}', '{"id": 5']
)
def test_an_unreadable_success_is_unknown(api, client, body):
    """A 200 to a create without a readable instance may have made one."""
    error = create_error(api, client, body, 200)
    assert type(error) is OutcomeUnknown
    assert error.status == 200
    assert error.outcome_unknown


def test_a_read_leaves_nothing_unknown(api, client):
    """The same failure of a GET is in the same branch, but nothing can have been applied."""
    api.on("GET", "/v4/profile", HTML, status=502)
    with pytest.raises(ServerFault) as caught:
        client.profile()
    assert not caught.value.outcome_unknown


def test_maintenance_is_flagged(api, client):
    """A 503 during maintenance says so in a header."""
    error = create_error(api, client, WORDS, 503, {"X-Maintenance-Mode": "ALL, maintenance"})
    assert error.maintenance
    assert error.detail.maintenance == "ALL, maintenance"


def test_an_error_knows_its_call(api, client):
    """Method, path, status, request id and scopes are on the error, and its text reads well."""
    headers = {"X-Request-Id": "r-1", "X-OAuth-Scopes": "images:read_only linodes:read_only"}
    error = create_error(api, client, WORDS, 400, headers)
    assert (error.method, error.path, error.status) == ("POST", "/linode/instances", 400)
    assert error.request_id == "r-1"
    assert error.scopes == {"images:read_only", "linodes:read_only"}
    assert str(error) == "POST /linode/instances: 400 Label must be unique among your linodes (label)"


def test_an_error_without_words_says_the_status(api, client):
    """Where the API gave no reason, the text names the status, known or not."""
    assert str(create_error(api, client, HTML, 404)).endswith("404 Not Found, without the API's own words")
    api.requests.clear()
    assert str(create_error(api, client, HTML, 499)).endswith(
        "499 unknown status, without the API's own words"
    )


def test_all_reasons_are_kept_in_order(api, client):
    """Errors accumulate, one object each; malformed ones are passed over."""
    entries = [
        {"reason": "region is not valid", "field": "region"},
        {"reason": 5},
        {"reason": "b", "field": 7},
    ]
    error = create_error(api, client, {"errors": entries}, 400)
    assert error.errors == (Reason("region is not valid", "region"), Reason("b", None))
    assert str(error).endswith("400 region is not valid (region); b")


def test_an_endless_reason_is_cut(api, client):
    """A reason of unreasonable length is cut, so that it can be stored."""
    error = create_error(api, client, {"errors": [{"reason": "x" * 10_000}]}, 400)
    assert len(error.reasons[0]) == 2_000


def test_an_error_survives_pickling(api, client):
    """An error that crosses a process keeps its class and its detail."""
    error = create_error(api, client, WORDS, 400, {"X-RateLimit-Limit": "20"})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is BadRequest
    assert copy.detail == error.detail
    assert str(copy) == str(error)


def test_the_tree_is_complete():
    """Every error is drawn in the tree at the top of the module."""
    drawn = api_client.errors.__doc__ or ""
    for name in api_client.__all__:
        value = getattr(api_client, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, LinodeError)
            assert name in drawn


def test_a_filter_the_api_refuses_names_the_header(api, client):
    """An unknown filter field is the API's to refuse, with X-Filter as the field."""
    body = {"errors": [{"reason": "Cannot filter on foo", "field": "X-Filter"}]}
    api.on("GET", "/v4/images", body, status=400)
    with pytest.raises(BadRequest) as caught:
        client.images.list_page(where=api_client.F("foo").eq(1))
    assert caught.value.errors == (Reason("Cannot filter on foo", "X-Filter"),)
    assert "foo" not in caught.value.path


def test_an_early_refusal_by_a_function_is_seen_whole(api, client):
    """The fake API can look at the request that it refuses."""
    api.on(
        *CREATE,
        lambda request: httpx.Response(
            400, json={"errors": [{"reason": json.loads(request.content)["type"]}]}
        ),
    )
    with pytest.raises(BadRequest, match="g6-nanode-1"):
        client.instances.create(REQUEST)

import pytest

from simulator import SimRequest, Token, handle


def _headers(reply):
    return {name.lower(): value for name, value in reply.headers}


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_call_that_needs_a_token_is_401_without_a_good_one(api, token):
    """No token and a wrong one are both Invalid Token."""
    assert api.call("GET", "/profile", token=token) == (401, {"errors": [{"reason": "Invalid Token"}]})


def test_a_public_call_answers_a_wrong_token_and_marks_it_unknown(api):
    """GET /regions is 200 with a token that is not recognised; X-OAuth-Scopes says unknown."""
    reply = api.send("GET", "/regions", token="wrong")
    assert (reply.status, _headers(reply)["x-oauth-scopes"]) == (200, "unknown")


def test_a_missing_scope_is_401_too(api, nanode):
    """Reading is allowed, creating is not: 401 in the recorded words, and the scopes show in a header."""
    api.world.tokens["narrow"] = Token("narrow", scopes=frozenset({"linodes:read_only", "events:read_only"}))
    reply = api.send("GET", "/linode/instances", token="narrow")
    assert _headers(reply)["x-oauth-scopes"] == "events:read_only linodes:read_only"
    status, answer = api.call("POST", "/linode/instances", nanode, token="narrow")
    assert status == 401
    assert answer["errors"][0]["reason"] == "Your OAuth token is not authorized to use this endpoint."


def test_read_write_includes_read_only(api):
    """A token that may write may read."""
    api.world.tokens["wide"] = Token("wide", scopes=frozenset({"linodes:read_write"}))
    assert api.call("GET", "/linode/instances", token="wide")[0] == 200
    assert api.call("GET", "/account/events", token="wide")[0] == 401


def test_a_revoked_token_is_invalid(api):
    """From the revocation on, every call with it is 401."""
    api.world.revoke("simulated-token")
    assert api.call("GET", "/profile")[0] == 401


@pytest.mark.parametrize("path", ["/nothing", "/linode/instances/x", "/linode/instances/1", "/regions/a/b"])
def test_what_is_not_there_is_404(api, path):
    """Unknown paths and ids answer Not found."""
    assert api.call("GET", path) == (404, {"errors": [{"reason": "Not found"}]})


def test_a_wrong_method_is_405(api):
    """The path exists, the method does not."""
    assert api.call("DELETE", "/regions")[0] == 405


def test_trailing_slashes_are_taken(api):
    """The guide writes /images/ and /linode/types/."""
    assert api.call("GET", "/linode/types/")[1]["results"] == 37


def test_v4beta_answers_the_same(api):
    """Every path also answers under /v4beta, and under nothing else."""
    assert handle(api.world, SimRequest("GET", "/v4beta/regions"), api.now).status == 200
    assert handle(api.world, SimRequest("GET", "/v5/regions"), api.now).status == 404


def test_every_reply_carries_rate_headers(api):
    """Headers count down on success, and Retry-After is there on a 200 too."""
    reply = api.send("GET", "/profile")
    assert _headers(reply)["x-ratelimit-remaining"] == "1839"
    assert _headers(reply)["retry-after"] == "59"


def test_the_21st_create_of_a_window_is_429(api):
    """20 creates in 15 s, then Too many requests until the window is over; refusals make nothing."""
    for _ in range(20):
        api.create()
    reply = api.send("POST", "/linode/instances", {})
    assert reply.status == 429
    assert reply.body == b'{"errors":[{"reason":"Too many requests"}]}'
    assert _headers(reply)["x-ratelimit-remaining"] == "0"
    api.now += 15
    api.create()
    assert len(api.world.instances) == 21


def test_refused_creates_count_against_the_limit(api):
    """A 400 spends as much as a success (our guess of the API)."""
    for _ in range(20):
        api.refused(type="no")
    assert api.send("POST", "/linode/instances", {}).status == 429


@pytest.mark.parametrize(("mode", "names"), [("limit-only", {"x-ratelimit-limit"}), ("none", set())])
def test_header_modes(api, mode, names):
    """Rate headers shrink to the limit, or away."""
    api.world.settings.headers = mode
    found = _headers(api.send("GET", "/profile"))
    assert {name for name in found if name.startswith("x-ratelimit") or name == "retry-after"} == names


def test_account_and_profile_answer(api):
    """The SDK asks for both."""
    assert api.call("GET", "/profile")[1]["username"] == "simulated"
    assert api.call("GET", "/account")[1]["country"] == "US"


def test_network_jitter_stays_in_its_bounds(api):
    """Each call is delayed by mean ± spread, and not always by the same."""
    api.world.settings.jitter = (0.05, 0.03)
    delays = {api.send("GET", "/profile").delay for _ in range(20)}
    assert len(delays) > 5
    assert all(0.02 <= delay <= 0.08 for delay in delays)


def test_latency_delays_creates_only(api, nanode):
    """A create's reply takes the latency, divided by the speed; other calls take none."""
    api.world.settings.latency = 1.5
    api.world.set_speed(3.0, api.now)
    assert api.send("POST", "/linode/instances", nanode).delay == 0.5
    assert api.send("GET", "/profile").delay == 0.0

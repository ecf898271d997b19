import json

import pytest

from simulator import SimRequest, control


class _Clock:
    def __init__(self, api):
        self.api, self.offset = api, 0.0

    def __call__(self):
        return self.api.now + self.offset


@pytest.fixture
def lever(api):
    """A function that sends one control call to the api's world."""
    clock = _Clock(api)

    def send(method, path, body=None, *, client="127.0.0.1"):
        data = b"" if body is None else json.dumps(body).encode()
        request = SimRequest(method, f"/_control/{path}", body=data, client=client)
        reply = control(api.world, clock, request)
        return reply.status, json.loads(reply.body)

    return send


def test_the_audit_tells_what_was_really_made(api, lever, nanode):
    """Instances with tags, token and dates; counts per label, tag and call; arrivals of creates."""
    lever("POST", "faults", {"action": "reset_after", "nth": 2, "method": "POST"})
    first = api.create(label="web-1", tags=["web"])
    api.send("POST", "/linode/instances", {**nanode, "label": "web-2", "tags": ["web", "nw:2.1"]})
    api.call("DELETE", f"/linode/instances/{first['id']}")
    status, audit = lever("GET", "audit")
    assert status == 200
    assert (audit["made"], audit["kept"], audit["deleted"]) == (2, 1, 1)
    assert audit["per_label"] == {"web-1": 1, "web-2": 1}
    assert audit["per_tag"] == {"web": 2, "nw:2.1": 1}
    assert audit["kept_per_tag"] == {"nw:2.1": 1, "web": 1}
    assert [one["status"] for one in audit["instances"]] == ["deleted", "provisioning"]
    assert {"method": "POST", "route": "/linode/instances", "status": "reset", "count": 1} in audit["calls"]
    assert [(one["label"], one["status"]) for one in audit["creates"]] == [
        ("web-1", "200"),
        ("web-2", "reset"),
    ]
    assert audit["refused"] == 0


def test_traffic_is_the_audit_without_the_instances(api, lever):
    """Calls and arrivals alone, for polling while a run is under way."""
    api.create()
    traffic = lever("GET", "traffic")[1]
    assert traffic["requests"] == 1
    assert "instances" not in traffic


def test_faults_are_added_listed_and_removed(api, lever):
    """One rule or several come in, are listed with how often they fired, and go one by one or together."""
    assert lever("POST", "faults", {"action": "server_error", "count": 1})[1] == {"ids": [1]}
    assert lever("POST", "faults", {"faults": [{"action": "busy"}, {"action": "slow"}]})[1] == {"ids": [2, 3]}
    assert lever("POST", "faults", [{"action": "hang"}])[1] == {"ids": [4]}
    api.send("GET", "/profile")
    listed = lever("GET", "faults")[1]["faults"]
    assert (listed[0]["id"], listed[0]["action"], listed[0]["fired"]) == (1, "server_error", 1)
    lever("DELETE", "faults/2")
    assert len(lever("GET", "faults")[1]["faults"]) == 3
    lever("DELETE", "faults")
    assert lever("GET", "faults")[1] == {"faults": []}


def test_a_wrong_rule_is_400_and_adds_none(lever):
    """All rules of a call are read before any is added."""
    status, answer = lever("POST", "faults", [{"action": "busy"}, {"action": "explode"}])
    assert status == 400
    assert "explode" in answer["errors"][0]["reason"]
    assert lever("GET", "faults")[1] == {"faults": []}


def test_limits_change_while_running(api, lever):
    """Windows of a class are replaced; unknown classes are refused."""
    assert lever("POST", "limits", {"create": [[5, 15], [10, 30]], "backends": 2})[1]["create"] == [
        [5, 15],
        [10, 30],
    ]
    assert api.world.limits.backends == 2
    assert lever("POST", "limits", {"create": []})[1]["create"] == []
    assert lever("POST", "limits", {"creates": []})[0] == 400
    assert lever("GET", "limits")[1]["images"] == [[20, 60.0]]


def test_settings_change_while_running(api, lever):
    """Boot time, headers, words and the like; unknown names are refused."""
    assert lever("POST", "settings", {"boot": 5, "jitter": [0.1, 0.05]})[1]["boot"] == 5
    assert api.world.settings.jitter == (0.1, 0.05)
    assert lever("POST", "settings", {"colour": 1})[0] == 400
    assert lever("GET", "settings")[1]["headers"] == "all"


def test_the_clock_can_be_moved_and_hurried(api, lever):
    """An offset moves now; a speed hurries instances; zero is refused."""
    ident = api.create()["id"]
    answer = lever("POST", "clock", {"offset": -3.5, "speed": 10})[1]
    assert (answer["offset"], answer["speed"]) == (-3.5, 10.0)
    api.now += 6
    assert api.status(ident) == "running"
    assert lever("POST", "clock", {"speed": 0})[0] == 400
    assert lever("GET", "clock")[1]["offset"] == -3.5


def test_tokens_come_and_go(api, lever):
    """A token can be added with its account and scopes, and revoked."""
    lever("POST", "tokens", {"token": "t2@acme:linodes:read_only"})
    assert api.call("GET", "/linode/instances", token="t2")[0] == 200
    assert api.world.tokens["t2"].account == "acme"
    lever("POST", "revoke", {"token": "t2"})
    assert api.call("GET", "/linode/instances", token="t2")[0] == 401


def test_foreign_hands_make_untag_and_remove(api, lever):
    """Somebody else's instance appears, takes its label, and loses a tag or vanishes without a call of ours."""
    made = lever("POST", "foreign", {"label": "web-1", "tags": ["theirs", "more"]})[1]
    assert api.refused(label="web-1")
    lever("POST", "untag", {"id": made["id"], "tag": "more"})
    assert api.call("GET", f"/linode/instances/{made['id']}")[1]["tags"] == ["theirs"]
    assert lever("POST", "foreign", {"label": "web-1"})[0] == 400
    lever("POST", "remove", {"id": made["id"]})
    assert api.call("GET", f"/linode/instances/{made['id']}")[0] == 404
    assert lever("GET", "audit")[1]["instances"][0]["foreign"] is True


def test_what_is_not_there_or_not_loopback_is_refused(lever):
    """Unknown levers are 404, unknown instances 400, and other hosts 403."""
    assert lever("POST", "nothing")[0] == 404
    assert lever("POST", "untag", {"id": 1, "tag": "x"})[0] == 400
    assert lever("POST", "untag", {})[1]["errors"][0]["reason"] == "id: not there"
    assert lever("GET", "audit", client="192.0.2.1")[0] == 403
    assert lever("GET", "health") == (200, {})

import json

import pytest

from simulator import FaultError, Rule, parse_rule
from simulator.faults import ACTIONS, SERVED


def _rule(api, **values):
    return api.world.faults.add(parse_rule(values, now=api.now))


def _create(api, nanode, **body):
    return api.send("POST", "/linode/instances", {**nanode, **body})


def _headers(reply):
    return {name.lower(): value for name, value in reply.headers}


@pytest.mark.parametrize(
    ("action", "status", "words"),
    [
        ("throttle", 429, "Too many requests"),
        ("throttle_bare", 429, "Too many requests"),
        ("bad_gateway", 502, "Bad gateway"),
        ("request_timeout", 408, "Please try again"),
        ("server_error", 500, "Internal server error"),
        ("maintenance", 503, "Service Unavailable"),
        ("busy", 400, "Linode busy."),
        ("unauthorized", 401, "Invalid Token"),
        ("forbidden", 403, "Unauthorized"),
        ("account_limit", 400, "Account Limit reached. Please open a support ticket."),
        ("label_taken", 400, "Label must be unique among your linodes"),
        ("not_found", 404, "Not found"),
    ],
)
@pytest.mark.parametrize("applied", ["no", "yes", "later"])
def test_each_refusal_can_hide_what_happened(api, nanode, action, status, words, applied):
    """The words are the API's, whether the create was not applied, applied at once, or applied later."""
    _rule(api, action=action, applied=applied, after=3)
    reply = _create(api, nanode)
    assert reply.status == status
    assert json.loads(reply.body)["errors"][0]["reason"] == words
    assert len(api.world.instances) == (applied == "yes")
    api.world.advance(api.now + 3)
    assert len(api.world.instances) == (applied != "no")


@pytest.mark.parametrize(
    ("action", "status"), [("throttle_html", 429), ("bad_gateway_html", 502), ("gateway_timeout", 504)]
)
def test_a_load_balancer_answers_in_html_without_rate_headers(api, nanode, action, status):
    """Pages of nginx are text/html and carry no rate headers."""
    _rule(api, action=action)
    reply = _create(api, nanode)
    assert reply.status == status
    assert _headers(reply)["content-type"] == "text/html"
    assert b"nginx" in reply.body
    assert "x-ratelimit-limit" not in _headers(reply)


def test_throttling_comes_with_headers_or_without(api, nanode):
    """A throttle says when to come back even where there is no limit; throttle_bare says nothing."""
    api.world.limits.set("create", [])
    _rule(api, action="throttle", count=1, after=7)
    full = _headers(_create(api, nanode))
    assert (full["x-ratelimit-remaining"], full["retry-after"]) == ("0", "6")
    _rule(api, action="throttle_bare")
    assert "retry-after" not in _headers(_create(api, nanode))


def test_maintenance_is_marked(api, nanode):
    """503 carries X-Maintenance-Mode."""
    _rule(api, action="maintenance")
    assert "x-maintenance-mode" in _headers(_create(api, nanode))


@pytest.mark.parametrize(
    ("action", "applied", "outcome", "made"),
    [
        ("reset_before", "no", "reset", 0),
        ("reset_after", "yes", "reset", 1),
        ("refuse", "no", "refuse", 0),
        ("hang", "no", "hang", 0),
        ("hang", "yes", "hang", 1),
        ("truncate", "yes", "cut", 1),
        ("slow", "yes", "reply", 1),
    ],
)
def test_the_wire_can_break_before_and_after(api, nanode, action, applied, outcome, made):
    """A broken connection says nothing about what was made."""
    _rule(api, action=action, applied=applied, delay=2)
    reply = _create(api, nanode)
    assert (reply.outcome, reply.delay, len(api.world.instances)) == (outcome, 2, made)


def test_rate_headers_can_be_missing_or_absurd_on_a_success(api, nanode):
    """A create that worked may come without rate headers, or with negative ones."""
    _rule(api, action="no_headers", count=1)
    assert "x-ratelimit-limit" not in _headers(_create(api, nanode))
    _rule(api, action="absurd_headers")
    reply = _create(api, nanode)
    assert (reply.status, _headers(reply)["x-ratelimit-reset"]) == (200, "-1")
    assert _headers(reply)["retry-after"] == "-1509450059"


def test_a_late_create_meets_the_world_as_it_is_then(api, nanode):
    """Applied later, it is refused if its label was taken meanwhile; the audit knows."""
    _rule(api, action="gateway_timeout", applied="later", after=5, count=1)
    _create(api, nanode, label="web-1")
    assert api.world.next_due() == api.now + 5
    api.create(label="web-1")
    api.world.advance(api.now + 5)
    assert len(api.world.instances) == 1
    assert api.world.audit.late == [(api.now + 5, "create: Label must be unique among your linodes")]


def test_a_late_delete_takes_the_instance_later(api):
    """DELETE can be applied late as well."""
    ident = api.create()["id"]
    _rule(api, action="gateway_timeout", method="DELETE", applied="later", after=5)
    assert api.send("DELETE", f"/linode/instances/{ident}").status == 504
    assert api.status(ident) == "provisioning"
    api.now += 5
    assert api.call("GET", f"/linode/instances/{ident}")[0] == 404


def test_list_lag_hides_an_instance_from_lists_only(api):
    """For a while it can be read by id but is in no list, though its label is taken."""
    _rule(api, action="list_lag", after=10, count=1)
    ident = api.create(label="web-1")["id"]
    assert api.labels({"label": "web-1"}) == []
    assert api.status(ident) == "provisioning"
    assert api.refused(label="web-1")
    api.now += 10
    assert api.labels() == ["web-1"]


def test_boots_can_fail(api):
    """boot_stuck never leaves provisioning; boot_offline ends offline, and its boot event failed."""
    _rule(api, action="boot_stuck", label="stuck-*")
    _rule(api, action="boot_offline", label="off-*")
    stuck, off = api.create(label="stuck-1")["id"], api.create(label="off-1")["id"]
    api.now += 3600
    assert (api.status(stuck), api.status(off)) == ("provisioning", "offline")
    events = api.call("GET", "/account/events", x_filter={"action": "linode_boot"})[1]["data"]
    assert [(one["status"], one["entity"]["id"]) for one in events] == [("failed", off)]


def test_no_capacity_words_can_be_given(api):
    """The unknown words are a setting, and a rule may bring its own."""
    _rule(api, action="no_capacity", count=1, reason="Sold out")
    assert api.refused() == [{"reason": "Sold out", "field": "region"}]
    api.create()


def test_an_outage_refuses_every_call_for_its_time(api):
    """An outage hits all calls, with a reset or a 503, and ends by itself."""
    _rule(api, action="down", lasts=20, start=10)
    assert api.send("GET", "/regions").outcome == "reply"
    api.now += 10
    assert api.send("GET", "/regions").outcome == "reset"
    _rule(api, action="down", how="503", route="/regions")
    api.now += 20
    assert api.send("GET", "/regions").status == 503
    assert api.send("GET", "/linode/types").status == 200


def test_what_never_arrived_spends_no_limit(api, nanode):
    """A reset before the API costs nothing of the window; a reset after does."""
    _rule(api, action="reset_before", nth=[1])
    _create(api, nanode)
    assert api.world.limits.windows == {}
    _rule(api, action="reset_after", count=1)
    _create(api, nanode)
    (window,) = api.world.limits.windows.values()
    assert window.used == 1


def test_a_full_window_wins_over_a_fault(api, nanode):
    """What the limit refuses never meets a rule: a rule's count is kept for a call that gets through."""
    api.world.limits.set("create", [])
    api.world.limits.set("create", [type(api.world.limits.classes["list"][0])(1, 15.0)])
    _rule(api, action="reset_after", nth=2)
    outcomes = [_create(api, nanode) for _ in range(3)]
    assert [one.status for one in outcomes] == [200, 429, 429]
    api.now += 15
    assert _create(api, nanode).outcome == "reset"


def test_rules_choose_by_method_route_label_token_and_turn(api, nanode):
    """A rule names what it spoils: here the second and third create of web-*, nothing else."""
    _rule(
        api,
        action="server_error",
        method="POST",
        route="/linode/instances",
        label="web-*",
        token="simulated-token",
        nth=[2, 3],
    )
    got = [_create(api, nanode, label=label).status for label in ("web-1", "db-1", "web-2", "web-3", "web-4")]
    assert got == [200, 200, 500, 500, 200]
    assert api.send("GET", "/linode/instances").status == 200


def test_a_route_may_be_a_glob_over_the_path(api):
    """A rule may name one instance, and knows an instance's label by its id."""
    first, second = api.create(label="web-1")["id"], api.create(label="web-2")["id"]
    _rule(api, action="server_error", route=f"/linode/instances/{first}*", count=1)
    _rule(api, action="forbidden", method="GET", label="web-2")
    paths = [f"/linode/instances/{ident}" for ident in (first, first, second)]
    assert [api.send("GET", path).status for path in paths] == [500, 200, 403]


def test_every_and_probability_are_seeded(api):
    """every=3 spoils each third call; a probability spoils its share, the same in every run."""
    _rule(api, action="server_error", route="/profile", every=3)
    assert [api.send("GET", "/profile").status for _ in range(6)] == [200, 200, 500] * 2
    _rule(api, action="server_error", route="/account", probability=0.3)
    spoiled = sum(api.send("GET", "/account").status == 500 for _ in range(500))
    assert 110 < spoiled < 190


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_answers_something(api, nanode, action):
    """Each action of the table leads to a reply or to a broken wire, and is counted by the audit."""
    _rule(api, action=action)
    reply = _create(api, nanode)
    assert reply.status or reply.outcome in ("reset", "refuse", "hang")
    assert api.world.audit.calls.total() == 1
    assert len(api.world.instances) == (ACTIONS[action] == "yes")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "expected a mapping"),
        ({"action": "explode"}, "action: expected one of"),
        ({"action": ["slow"]}, "action: expected one of"),
        ({"action": "slow", "colour": 1}, "colour: unknown key"),
        ({"action": "slow", "delay": -1}, "delay: expected a number"),
        ({"action": "slow", "count": "two"}, "count: expected a number"),
        ({"action": "slow", "nth": "two"}, "nth: expected a number"),
        ({"action": "slow", "label": 5}, "label: expected text"),
        ({"action": "slow", "every": "x"}, "every: expected a whole number"),
        ({"action": "busy", "applied": "maybe"}, "applied: expected one of no, yes, later"),
        ({"action": "down", "how": "slowly"}, "how: expected one of"),
        ({"action": "truncate", "applied": "no"}, "applied: expected yes"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(values, said):
    """Each unreadable rule is refused with key, expectation and value."""
    with pytest.raises(FaultError, match=said):
        parse_rule(values, now=0.0)


def test_served_actions_are_applied_by_default():
    """What changes only the look of a served call is always applied."""
    assert {ACTIONS[action] for action in SERVED} == {"yes"}
    assert Rule("slow").shown()["action"] == "slow"

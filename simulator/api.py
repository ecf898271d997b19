"""One call, outage, credential, limit, fault, effect, reply. Pure: world, request and ``now`` go in."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from simulator import create
from simulator.accounts import Token, euuid
from simulator.catalog import Row
from simulator.draws import draw
from simulator.faults import UNCOUNTED, Call, Rule
from simulator.filters import parse_filter
from simulator.lifecycle import BootFate
from simulator.limits import Ticket
from simulator.paging import paginate
from simulator.routes import ENDPOINTS, INSTANCES, Endpoint, resolve, route_exists
from simulator.wire import (
    HTML_TYPE,
    JSON_TYPE,
    ApiError,
    Complaint,
    Outcome,
    SimReply,
    SimRequest,
    encode,
    error_body,
    refusal,
)
from simulator.world import Operation, World

INVALID_TOKEN = "Invalid Token"  # noqa: S105  # the API's words
MISSING_SCOPE = "Your OAuth token is not authorized to use this endpoint."
OK = 200
_LONGEST_ID = 18

_CHANGES = frozenset({"create", "update", "delete", "boot", "shutdown", "reboot"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, understood as far as it can be."""

    request: SimRequest
    route: str
    ident: str
    endpoint: Endpoint | None
    token: Token | None
    body: Mapping[str, Any] | None
    call: Call


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply before the headers that every reply carries."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (JSON_TYPE,)
    outcome: Outcome = "reply"
    delay: float = 0.0


def handle(world: World, request: SimRequest, now: float) -> SimReply:
    """Answer one call at wall time ``now`` (UTC epoch seconds); whatever was due before happens first."""
    world.advance(now)
    world.calls += 1
    asked = _understand(world, request)
    answer, ticket = _answer(world, asked, now)
    _note(world, asked, answer, now)
    headers = (*answer.headers, *_standing_headers(asked, now), *ticket)
    delay = answer.delay + _network_delay(world)
    return SimReply(answer.status, headers, answer.body, answer.outcome, delay)


def _understand(world: World, request: SimRequest) -> Asked:
    route, ident = resolve(request.path) or ("", "")
    endpoint = ENDPOINTS.get((request.method, route))
    token = world.tokens.get(_bearer(request) or "")
    body = _json_object(request.body) if request.method in ("POST", "PUT") else {}
    path = request.path.removeprefix("/v4beta").removeprefix("/v4")
    label = (body or {}).get("label") if route == INSTANCES else _label(world, route, ident)
    region = (body or {}).get("region")
    call = Call(
        method=request.method,
        route=route,
        path=path,
        label=label if isinstance(label, str) else None,
        token=token.value if token else None,
        region=region if isinstance(region, str) else None,
    )
    return Asked(request, route, ident, endpoint, token, body, call)


def _label(world: World, route: str, ident: str) -> str | None:
    if route.startswith(INSTANCES) and _is_number(ident):
        return world.label_of(int(ident))
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID


def _bearer(request: SimRequest) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


RateHeaders = list[tuple[str, str]]


def _answer(world: World, asked: Asked, now: float) -> tuple[Answer, RateHeaders]:
    if down := world.faults.outage(asked.call, now):
        return _outage(down), []
    try:
        endpoint = _authorised(asked)
        ticket = _ticket(world, asked, endpoint, now, spend=False)
    except ApiError as error:
        return _refused(error), []
    if not ticket.allowed:
        return _refused(refusal(429, "Too many requests")), _rate_headers(world, ticket, now)
    rule = world.faults.pick(asked.call, now)
    if rule is None or rule.action not in UNCOUNTED or rule.applied != "no":
        ticket = _ticket(world, asked, endpoint, now, spend=True)
    if rule is None:
        return _served(world, asked, endpoint, now), _rate_headers(world, ticket, now)
    return _spoiled(world, asked, endpoint, rule, now), _spoiled_headers(world, rule, ticket, now)


def _authorised(asked: Asked) -> Endpoint:
    endpoint, token = asked.endpoint, asked.token
    if endpoint is None:
        known = route_exists(asked.route)
        raise refusal(405, "Method Not Allowed") if known else refusal(404, "Not found")
    if token is None:
        if endpoint.public:
            return endpoint
        raise refusal(401, INVALID_TOKEN)
    if endpoint.scope and not token.allows(endpoint.scope):
        raise refusal(401, MISSING_SCOPE)
    return endpoint


def _ticket(world: World, asked: Asked, endpoint: Endpoint, now: float, *, spend: bool) -> Ticket:
    who = asked.token.value if asked.token else f"ip {asked.request.client}"
    count = world.limits.take if spend else world.limits.look
    return count(who, asked.request.method, asked.route, endpoint.limit, now)


def _rate_headers(world: World, ticket: Ticket, now: float) -> RateHeaders:
    return ticket.headers(now, world.settings.headers)


def _refused(error: ApiError) -> Answer:
    return Answer(error.status, error_body(error.complaints))


# The call itself


def _served(
    world: World,
    asked: Asked,
    endpoint: Endpoint,
    now: float,
    *,
    fate: BootFate = "running",
    lag: float = 0.0,
) -> Answer:
    try:
        if endpoint.name in _CHANGES:
            payload = world.perform(_operation(asked, endpoint, fate=fate, lag=lag), now)
        else:
            payload = _READERS[endpoint.name](world, asked, now)
    except ApiError as error:
        answer = _refused(error)
    else:
        answer = Answer(OK, encode(payload))
    if endpoint.name != "create" or not world.settings.latency:
        return answer
    return Answer(answer.status, answer.body, delay=world.settings.latency / world.clock.speed)


def _operation(asked: Asked, endpoint: Endpoint, *, fate: BootFate, lag: float) -> Operation:
    if asked.body is None:
        raise refusal(400, "Invalid JSON")
    assert asked.token is not None  # noqa: S101  # no change is public
    ident = 0 if endpoint.name == "create" else _number(asked.ident)
    kind: Any = endpoint.name
    return Operation(kind, asked.token, ident, asked.body, fate, lag)


def _number(text: str) -> int:
    if not _is_number(text):
        raise refusal(404, "Not found")
    return int(text)


Reader = Callable[[World, Asked, float], Any]


def _query(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(asked.request.query, keep_blank_values=True))


def _collection(name: str, rows: Callable[[World, Asked], Any], *, pages_when_empty: int = 1) -> Reader:
    def read(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401, ARG001  # JSON; every reader's shape
        wanted = parse_filter(asked.request.headers.get("x-filter"), name)
        found = wanted.apply(rows(world, asked))
        return paginate(found, _query(asked), show=lambda row: row, pages_when_empty=pages_when_empty)

    return read


def _one(rows: Callable[[World, Asked], Mapping[str, Row]]) -> Reader:
    def read(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401, ARG001  # JSON; every reader's shape
        row = rows(world, asked).get(asked.ident)
        if row is None:
            raise refusal(404, "Not found")
        return row

    return read


def _region_availability(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401, ARG001
    if asked.ident not in world.catalog.regions:
        raise refusal(404, "Not found")
    return [row for row in world.catalog.availability if row["region"] == asked.ident]


def _instances(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401
    wanted = parse_filter(asked.request.headers.get("x-filter"), "instances")
    found, life = world.listed(_account(asked), wanted, now), world.clock.at(now)
    return paginate(found, _query(asked), show=lambda one: one.rendered(life))


def _instance(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401
    return world.instance(_account(asked), _number(asked.ident)).rendered(world.clock.at(now))


def _events(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401
    life = world.clock.at(now)
    wanted = parse_filter(asked.request.headers.get("x-filter"), "events")
    found = wanted.apply(event.rendered(life) for event in world.events_of(_account(asked), life))
    return paginate(found, _query(asked), show=lambda event: event)


def _event(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401
    life, ident = world.clock.at(now), _number(asked.ident)
    for event in world.events_of(_account(asked), life):
        if event.ident == ident:
            return event.rendered(life)
    raise refusal(404, "Not found")


def _profile(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401, ARG001
    return {
        "uid": 1,
        "username": _account(asked),
        "email": "simulated@example.org",
        "timezone": "GMT",
        "email_notifications": False,
        "referrals": {"code": "", "url": "", "total": 0, "completed": 0, "pending": 0, "credit": 0},
        "ip_whitelist_enabled": False,
        "lish_auth_method": "disabled",
        "authorized_keys": [],
        "two_factor_auth": False,
        "restricted": False,
        "authentication_type": "password",
        "verified_phone_number": None,
    }


def _account_page(world: World, asked: Asked, now: float) -> Any:  # noqa: ANN401, ARG001
    return {
        "company": "Simulated",
        "email": "simulated@example.org",
        "first_name": "Simulated",
        "last_name": "Account",
        "country": "US",
        "balance": 0,
        "balance_uninvoiced": 0,
        "active_since": "2018-01-02T03:04:05",
        "capabilities": ["Linodes", "Kubernetes", "Cloud Firewall"],
        "active_promotions": [],
        "euuid": euuid(_account(asked)),
        "billing_source": "akamai",
    }


def _account(asked: Asked) -> str:
    assert asked.token is not None  # noqa: S101  # no reader of these is public
    return asked.token.account


_READERS: Mapping[str, Reader] = {
    "regions": _collection("regions", lambda world, _: world.catalog.regions.values()),
    "region": _one(lambda world, _: world.catalog.regions),
    "availability": _collection("availability", lambda world, _: world.catalog.availability),
    "region_availability": _region_availability,
    "types": _collection("types", lambda world, _: world.catalog.types.values()),
    "type": _one(lambda world, _: world.catalog.types),
    "kernels": _collection("kernels", lambda world, _: world.catalog.kernels),
    "kernel": _one(lambda world, _: {row["id"]: row for row in world.catalog.kernels}),
    "images": _collection(
        "images", lambda world, asked: world.images(asked.token).values(), pages_when_empty=0
    ),
    "image": _one(lambda world, asked: world.images(asked.token)),
    "profile": _profile,
    "account": _account_page,
    "events": _events,
    "event": _event,
    "instances": _instances,
    "instance": _instance,
}

# What goes wrong

_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_WORDS: Mapping[str, tuple[int, str, str | None]] = {
    "throttle": (429, "Too many requests", None),
    "throttle_bare": (429, "Too many requests", None),
    "bad_gateway": (502, "Bad gateway", None),
    "request_timeout": (408, "Please try again", None),
    "server_error": (500, "Internal server error", None),
    "maintenance": (503, "Service Unavailable", None),
    "busy": (400, "Linode busy.", None),
    "unauthorized": (401, INVALID_TOKEN, None),
    "forbidden": (403, "Unauthorized", None),
    "account_limit": (400, create.ACCOUNT_LIMIT, None),
    "plan_limit": (400, create.PLAN_LIMIT, None),
    "vcpu_limit": (400, create.VCPU_LIMIT, None),
    "label_taken": (400, create.LABEL_TAKEN, "label"),
    "not_found": (404, "Not found", None),
}
_PAGES: Mapping[str, tuple[int, str]] = {
    "throttle_html": (429, "429 Too Many Requests"),
    "bad_gateway_html": (502, "502 Bad Gateway"),
    "gateway_timeout": (504, "504 Gateway Time-out"),
}
_BROKEN: Mapping[str, Outcome] = {
    "reset_before": "reset",
    "reset_after": "reset",
    "refuse": "refuse",
    "hang": "hang",
}
_FATES: Mapping[str, BootFate] = {"boot_stuck": "stuck", "boot_offline": "offline"}
_BARE = frozenset({"throttle_bare", "throttle_html", "bad_gateway_html", "gateway_timeout", "no_headers"})
_ABSURD = [
    ("X-RateLimit-Limit", "20"),
    ("X-RateLimit-Remaining", "-3"),
    ("X-RateLimit-Reset", "-1"),
    ("Retry-After", "-1509450059"),
]


def _outage(rule: Rule) -> Answer:
    if rule.how == "503":
        return _in_words(503, "Service Unavailable", None, ("X-Maintenance-Mode", "maintenance"))
    return Answer(0, b"", outcome=rule.how, delay=rule.delay)


def _in_words(status: int, reason: str, field: str | None, *headers: tuple[str, str]) -> Answer:
    return Answer(status, error_body([Complaint(reason, field)]), (JSON_TYPE, *headers))


def _spoiled(world: World, asked: Asked, endpoint: Endpoint, rule: Rule, now: float) -> Answer:
    done = _effect(world, asked, endpoint, rule, now)
    answer = _disguise(world, rule, done)
    return Answer(answer.status, answer.body, answer.headers, answer.outcome, answer.delay + rule.delay)


def _effect(world: World, asked: Asked, endpoint: Endpoint, rule: Rule, now: float) -> Answer:
    """What became of the call behind the fault."""
    if rule.applied == "yes":
        lag = rule.after if rule.action == "list_lag" else 0.0
        fate = _FATES.get(rule.action, "running")
        return _served(world, asked, endpoint, now, fate=fate, lag=lag)
    if rule.applied == "later" and endpoint.name in _CHANGES and asked.body is not None:
        world.schedule(_operation(asked, endpoint, fate="running", lag=0.0), now + rule.after)
    return Answer(OK, b"{}")


def _disguise(world: World, rule: Rule, done: Answer) -> Answer:
    """What the caller gets to see of it."""
    action = rule.action
    if action in _BROKEN:
        return Answer(0, b"", outcome=_BROKEN[action], delay=done.delay)
    if action in _PAGES:
        status, title = _PAGES[action]
        return Answer(status, _HTML.format(title).encode(), (HTML_TYPE,))
    if action == "no_capacity":
        return _in_words(400, rule.reason or world.settings.no_capacity, "region")
    if action in _WORDS:
        status, reason, field = _WORDS[action]
        extra = [("X-Maintenance-Mode", "maintenance")] if action == "maintenance" else []
        return _in_words(status, rule.reason or reason, field, *extra)
    outcome: Outcome = "cut" if action == "truncate" else "reply"
    return Answer(done.status, done.body, done.headers, outcome, done.delay)


def _spoiled_headers(world: World, rule: Rule, ticket: Ticket, now: float) -> RateHeaders:
    if rule.action in _BARE:
        return []
    if rule.action == "absurd_headers":
        return _ABSURD
    if rule.action == "throttle":
        limit = ticket.limit or 20
        return Ticket(allowed=False, limit=limit, resets_at=max(ticket.resets_at, now + rule.after)).headers(
            now, "all"
        )
    return _rate_headers(world, ticket, now)


# Around every reply


def _standing_headers(asked: Asked, now: float) -> tuple[tuple[str, str], ...]:
    endpoint, token = asked.endpoint, asked.token
    return (
        ("Date", _http_date(int(now))),
        ("Server", "nginx"),
        ("X-OAuth-Scopes", token.shown_scopes() if token else "unknown"),
        ("X-Accepted-OAuth-Scopes", (endpoint.scope if endpoint else None) or "*"),
    )


@lru_cache(maxsize=8)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _network_delay(world: World) -> float:
    mean, spread = world.settings.jitter
    if not mean and not spread:
        return 0.0
    shift = 2 * draw(world.settings.seed, "network", world.calls) - 1
    return max(0.0, mean + spread * shift)


def _note(world: World, asked: Asked, answer: Answer, now: float) -> None:
    got = str(answer.status) if answer.outcome == "reply" else answer.outcome
    world.audit.count(asked.request.method, asked.route or "unknown", got)
    if asked.request.method == "POST" and asked.route == INSTANCES:
        world.audit.arrivals.append((now, got, asked.call.label, asked.call.token))

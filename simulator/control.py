"""``/_control``: the audit, and levers on a running simulator. Unauthenticated, so for loopback only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from ipaddress import ip_address
from typing import Any, Protocol

from simulator.accounts import DEFAULT_ACCOUNT, parse_token
from simulator.faults import FaultError, parse_rule
from simulator.limits import Bucket
from simulator.wire import JSON_TYPE, ApiError, SimReply, SimRequest, encode, error_body, refusal
from simulator.world import World, WorldSettings

PREFIX = "/_control"


class Adjustable(Protocol):
    """A clock whose offset (seconds) can be set."""

    offset: float

    def __call__(self) -> float:
        """Now, in UTC epoch seconds."""


Body = Mapping[str, Any]


def control(world: World, clock: Adjustable, request: SimRequest) -> SimReply:
    """Answer one control call."""
    try:
        payload = _dispatch(world, clock, request)
    except ApiError as error:
        return SimReply(error.status, (JSON_TYPE,), error_body(error.complaints))
    except (KeyError, TypeError, ValueError) as error:
        return SimReply(400, (JSON_TYPE,), error_body(refusal(400, _said(error)).complaints))
    return SimReply(200, (JSON_TYPE,), encode(payload))


def _said(error: Exception) -> str:
    return f"{error.args[0]}: not there" if isinstance(error, KeyError) else str(error)


def _dispatch(world: World, clock: Adjustable, request: SimRequest) -> Any:  # noqa: ANN401 - JSON
    if not ip_address(request.client).is_loopback:
        raise refusal(403, "Only from loopback")
    _, _, name, *rest = (*request.path.rstrip("/").split("/"), "", "")[:4]
    action = _ACTIONS.get((request.method, name))
    if action is None:
        raise refusal(404, "Not found")
    body = json.loads(request.body or b"{}")
    now = clock()
    world.advance(now)
    if name == "clock":
        _set_clock(world, clock, body, now)
        return {"now": clock(), "offset": clock.offset, "speed": world.clock.speed}
    return action(world, body if not rest[0] else {**body, "_id": rest[0]}, now)


def _set_clock(world: World, clock: Adjustable, body: Body, now: float) -> None:
    if "speed" in body:
        if float(body["speed"]) <= 0:
            raise ValueError(f"speed: expected a positive number, got {body['speed']!r}")
        world.set_speed(float(body["speed"]), now)
    clock.offset = float(body.get("offset", clock.offset))


def _nothing(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001 - all are called alike
    return {}


def _audit(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    return {"now": now, **world.audit.report(world.instances.values(), world.clock.at(now))}


def _traffic(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    return {"now": now, **world.audit.traffic()}


def _faults(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    return {
        "faults": [
            {"id": one.number, "seen": one.seen, "fired": one.fired, **one.rule.shown()}
            for one in world.faults.rules
        ]
    }


def _add_faults(world: World, body: Any, now: float) -> Any:  # noqa: ANN401
    listed = body.get("faults", [body]) if isinstance(body, dict) else body
    rules = [parse_rule(values, now=now) for values in listed]
    return {"ids": [world.faults.add(rule) for rule in rules]}


def _remove_faults(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    world.faults.remove(int(body["_id"]) if "_id" in body else None)
    return {}


def _limits(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    for name, windows in body.items():
        if name == "backends":
            world.limits.backends = int(windows)
        elif name not in world.limits.classes:
            raise FaultError(f"{name}: expected one of {', '.join(world.limits.classes)}, backends")
        else:
            world.limits.set(
                name, [Bucket(int(limit), float(seconds), *shown) for limit, seconds, *shown in windows]
            )
    return {
        name: [[bucket.limit, bucket.window] for bucket in buckets]
        for name, buckets in world.limits.classes.items()
    }


def _settings(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    known = {spec.name for spec in fields(WorldSettings)}
    for name, value in body.items():
        if name not in known:
            raise FaultError(f"{name}: expected one of {', '.join(sorted(known))}")
        setattr(world.settings, name, tuple(value) if isinstance(value, list) else value)
    return asdict(world.settings)


def _tokens(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    token = parse_token(str(body["token"]))
    world.tokens[token.value] = token
    return {"tokens": len(world.tokens)}


def _revoke(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    world.revoke(str(body["token"]))
    return {"tokens": len(world.tokens)}


def _foreign(world: World, body: Body, now: float) -> Any:  # noqa: ANN401
    wanted = {"type": "g6-nanode-1", "region": "us-east", **body}
    made = world.add_foreign(str(wanted.pop("account", DEFAULT_ACCOUNT)), wanted, now)
    return made.rendered(world.clock.at(now))


def _untag(world: World, body: Body, now: float) -> Any:  # noqa: ANN401, ARG001
    world.untag(int(body["id"]), str(body["tag"]))
    return {}


def _remove(world: World, body: Body, now: float) -> Any:  # noqa: ANN401
    world.remove(int(body["id"]), now)
    return {}


_ACTIONS: Mapping[tuple[str, str], Callable[[World, Any, float], Any]] = {
    ("GET", "health"): _nothing,
    ("GET", "audit"): _audit,
    ("GET", "traffic"): _traffic,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _remove_faults,
    ("GET", "limits"): _limits,
    ("POST", "limits"): _limits,
    ("GET", "settings"): _settings,
    ("POST", "settings"): _settings,
    ("GET", "clock"): _nothing,
    ("POST", "clock"): _nothing,
    ("POST", "tokens"): _tokens,
    ("POST", "revoke"): _revoke,
    ("POST", "foreign"): _foreign,
    ("POST", "untag"): _untag,
    ("POST", "remove"): _remove,
}
"""(method, name) → what it does. ``clock`` is special: it needs the clock itself."""

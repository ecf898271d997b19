"""Which paths there are, what each call needs, and which class of rate limit it belongs to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

INSTANCES = "/linode/instances"
INSTANCE = "/linode/instances/{id}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one route. ``scope`` None: a token without scopes will do; ``public``: none is needed."""

    name: str
    limit: str
    scope: str | None = None
    public: bool = False


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("GET", "/regions"): Endpoint("regions", "list", public=True),
    ("GET", "/regions/availability"): Endpoint("availability", "list", public=True),
    ("GET", "/regions/{id}"): Endpoint("region", "other", public=True),
    ("GET", "/regions/{id}/availability"): Endpoint("region_availability", "other", public=True),
    ("GET", "/linode/types"): Endpoint("types", "list", public=True),
    ("GET", "/linode/types/{id}"): Endpoint("type", "other", public=True),
    ("GET", "/linode/kernels"): Endpoint("kernels", "list", public=True),
    ("GET", "/linode/kernels/{id}"): Endpoint("kernel", "other", public=True),
    ("GET", "/images"): Endpoint("images", "images", "images:read_only", public=True),
    ("GET", "/images/{id}"): Endpoint("image", "other", "images:read_only", public=True),
    ("GET", "/profile"): Endpoint("profile", "other"),
    ("GET", "/account"): Endpoint("account", "other", "account:read_only"),
    ("GET", "/account/events"): Endpoint("events", "list", "events:read_only"),
    ("GET", "/account/events/{id}"): Endpoint("event", "other", "events:read_only"),
    ("GET", INSTANCES): Endpoint("instances", "list", "linodes:read_only"),
    ("POST", INSTANCES): Endpoint("create", "create", "linodes:read_write"),
    ("GET", INSTANCE): Endpoint("instance", "other", "linodes:read_only"),
    ("PUT", INSTANCE): Endpoint("update", "other", "linodes:read_write"),
    ("DELETE", INSTANCE): Endpoint("delete", "other", "linodes:read_write"),
    ("POST", f"{INSTANCE}/boot"): Endpoint("boot", "other", "linodes:read_write"),
    ("POST", f"{INSTANCE}/shutdown"): Endpoint("shutdown", "other", "linodes:read_write"),
    ("POST", f"{INSTANCE}/reboot"): Endpoint("reboot", "other", "linodes:read_write"),
}
"""(method, route) → what it is. The scopes are those of the provider's reference."""

_FIXED = frozenset(route for _, route in ENDPOINTS if "{" not in route)
_SLASHES = frozenset({"/images/{id}", "/linode/kernels/{id}"})
"""Routes whose id has a slash in it, sent encoded by some clients and bare by others."""


def _pattern(route: str) -> re.Pattern[str]:
    ident = "(.+)" if route in _SLASHES else "([^/]+)"
    return re.compile(route.replace("{id}", ident))


_PATTERNS = tuple(
    (route, _pattern(route)) for route in dict.fromkeys(route for _, route in ENDPOINTS) if "{" in route
)
_VERSION = re.compile(r"/v4(?:beta)?(?=/)")


def resolve(path: str) -> tuple[str, str] | None:
    """The route and the id of a path under /v4 or /v4beta, or nothing."""
    version = _VERSION.match(path)
    if version is None:
        return None
    rest = path[version.end() :].rstrip("/")
    if rest in _FIXED:
        return rest, ""
    for route, pattern in _PATTERNS:
        if found := pattern.fullmatch(rest):
            return route, unquote(found[1])
    return None


def route_exists(route: str) -> bool:
    """Whether some method is taken there: else it is 404, not 405."""
    return any(known == route for _, known in ENDPOINTS)

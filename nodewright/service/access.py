"""Who calls: API keys as bearer tokens. The page has sessions besides (``nodewright.page.visitor``)."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request

from jobs.keys import Principal
from nodewright.service.problems import Problem
from nodewright.settings import LOOPBACK

_BY_A_PROXY: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
Authenticate = Callable[[str], Principal | None]


def require_key(request: Request) -> Principal:
    """Return whose key the request carries."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise _refusal("an API key is needed: send `Authorization: Bearer KEY`", "Bearer")
    return _known(request, key.strip(), "Bearer")


def require_overseer(request: Request) -> Principal | None:
    """Return whose key it is that may see the installation as a whole; None on a local stack's own machine."""
    found = _person(request)
    return None if found is None else with_scope("admin", found)


def part_of(key: Principal | None) -> str | None:
    """Return the tenant whose part of the status somebody may see, or None: all of it."""
    return None if key is None or "admin" in key.scopes else key.tenant


def _person(request: Request) -> Principal | None:
    if "authorization" not in request.headers and is_own_machine(request):
        return None
    return require_key(request)


def is_own_machine(request: Request) -> bool:
    """Whether somebody at a local stack's own machine asks: reading needs no key there."""
    # A name that merely resolves to loopback (DNS rebinding) would let any web page read this one; and whom a proxy
    # on this machine brings is somewhere else.
    brought = any(name in request.headers for name in _BY_A_PROXY)
    return request.app.state.deps.local and request.url.hostname in LOOPBACK and not brought


def _known(request: Request, key: str, scheme: str) -> Principal:
    authenticate: Authenticate = request.app.state.deps.authenticate
    principal = authenticate(key)
    if principal is None:
        raise _refusal("the API key is unknown, revoked or expired", scheme)
    return principal


def _refusal(detail: str, scheme: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", detail, headers={"WWW-Authenticate": scheme})


def with_scope(scope: str, principal: Principal) -> Principal:
    """Return whose key it is. Raises the refusal of a key that lacks the scope."""
    if scope not in principal.scopes:
        raise Problem(HTTPStatus.FORBIDDEN, "missing_key_scope", f"the API key lacks the scope `{scope}`")
    return principal


def _with_scope(scope: str) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(require_key)]) -> Principal:
        return with_scope(scope, principal)

    return check


Submitter = Annotated[Principal, Depends(_with_scope("submit"))]
Reader = Annotated[Principal, Depends(_with_scope("read"))]
Operator = Annotated[Principal, Depends(_with_scope("operate"))]
Admin = Annotated[Principal, Depends(_with_scope("admin"))]
Overseer = Annotated[Principal | None, Depends(require_overseer)]

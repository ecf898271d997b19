"""Who calls: API keys as bearer tokens; for the page also HTTP Basic, because that is what a browser can send."""

import base64
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request

from jobs.keys import Principal
from nodewright.service.problems import Problem
from nodewright.settings import LOOPBACK

Authenticate = Callable[[str], Principal | None]
_BASIC: Final = 'Basic realm="Nodewright: any name, and an API key as password", charset="UTF-8"'


def require_key(request: Request) -> Principal:
    """Return whose key the request carries."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise _refusal("an API key is needed: send `Authorization: Bearer KEY`", "Bearer")
    return _known(request, key.strip(), "Bearer")


def require_reader(request: Request) -> Principal | None:
    """Return whose key a person's request carries; None on a local stack's own machine, where none is needed."""
    found = _person(request)
    return None if found is None else _with("read", found)


def require_overseer(request: Request) -> Principal | None:
    """Return as :func:`require_reader` does, of somebody who may see the installation as a whole."""
    found = _person(request)
    return None if found is None else _with("admin", found)


def require_metrics_reader(request: Request) -> Principal | None:
    """Return as :func:`require_overseer` does, of somebody who may see the installation's numbers."""
    found = _person(request)
    return found if found is None or "admin" in found.scopes else _with("metrics", found)


def part_of(key: Principal | None) -> str | None:
    """Return the tenant whose part of the status somebody may see, or None: all of it."""
    return None if key is None or "admin" in key.scopes else key.tenant


def _person(request: Request) -> Principal | None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        return _known(request, _password(given), _BASIC)
    if not kind and request.app.state.deps.local and _at_loopback(request):
        return None
    if not kind:
        raise _refusal("an API key is needed", _BASIC)
    return require_key(request)


def _at_loopback(request: Request) -> bool:
    # A name that merely resolves to loopback (DNS rebinding) would let any web page read this one.
    return request.url.hostname in LOOPBACK


def _known(request: Request, key: str, scheme: str) -> Principal:
    authenticate: Authenticate = request.app.state.deps.authenticate
    principal = authenticate(key)
    if principal is None:
        raise _refusal("the API key is unknown, revoked or expired", scheme)
    return principal


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _refusal(detail: str, scheme: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", detail, headers={"WWW-Authenticate": scheme})


def _with(scope: str, principal: Principal) -> Principal:
    if scope not in principal.scopes:
        raise Problem(HTTPStatus.FORBIDDEN, "missing_key_scope", f"the API key lacks the scope `{scope}`")
    return principal


def _with_scope(scope: str) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(require_key)]) -> Principal:
        return _with(scope, principal)

    return check


Submitter = Annotated[Principal, Depends(_with_scope("submit"))]
Reader = Annotated[Principal, Depends(_with_scope("read"))]
Operator = Annotated[Principal, Depends(_with_scope("operate"))]
Admin = Annotated[Principal, Depends(_with_scope("admin"))]
PageReader = Annotated[Principal | None, Depends(require_reader)]
Overseer = Annotated[Principal | None, Depends(require_overseer)]
MetricsReader = Annotated[Principal | None, Depends(require_metrics_reader)]

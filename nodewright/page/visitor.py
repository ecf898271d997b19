"""Who looks at the page: somebody with a session, a script with its key, or whoever sits at a local stack's machine."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.responses import Response

from jobs.keys import Principal
from jobs.sessions import LIFETIME
from nodewright.page import csrf
from nodewright.page.forms import Form
from nodewright.page.shown import Visitor
from nodewright.service.access import is_own_machine, require_key, with_scope
from nodewright.service.deps import ServiceDeps
from nodewright.service.problems import Problem

COOKIE: Final = "nodewright"
_HOST: Final = "__Host-"
"""A browser takes a cookie with this prefix from nobody but the very host, over TLS, and for all of its paths."""
_STRANGER: Final = frozenset({"read", "admin"})


@dataclass(frozen=True)
class Entry:
    """Somebody who was let in. ``session``: their session's token, if they have one."""

    visitor: Visitor
    session: str | None = None
    renewed: bool = False
    """Whether the cookie is to be sent again, so that it lasts as long as the session."""


# Cookies -------------------------------------------------------------------------------------------------------------


def is_secure(request: Request) -> bool:
    """Whether the browser came by TLS: as we see it, or as a proxy or the browser itself says."""
    # Anybody may say so: all that it does is to make their own cookie a stricter one.
    said = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
    return "https" in {request.url.scheme, said} or request.headers.get("origin", "").startswith("https://")


def read_cookie(request: Request, name: str) -> str | None:
    """Return a cookie of ours that the browser sent."""
    # A look does not always show that the browser came by TLS, as the login's form did; but where it does, a cookie
    # without the prefix may be a neighbouring host's.
    names = [_secure_name(name)] if is_secure(request) else [_secure_name(name), _plain_name(request, name)]
    return next(filter(None, map(request.cookies.get, names)), None)


def _secure_name(name: str) -> str:
    return f"{_HOST}{name}"


def _plain_name(request: Request, name: str) -> str:
    # Browsers keep the cookies of all ports of a machine together: two stacks on one would log each other out.
    return f"{name}-{request.url.port or 80}"


def session_of(request: Request) -> str | None:
    """Return the session's token that the browser sent."""
    return read_cookie(request, COOKIE)


def give_session(request: Request, response: Response, token: str) -> None:
    """Send the session's cookie along."""
    set_cookie(request, response, COOKIE, token, seconds=int(LIFETIME.total_seconds()))


def set_cookie(request: Request, response: Response, name: str, value: str, *, seconds: int) -> None:
    """Send a cookie along that no script sees; for 0 seconds: take it away."""
    # Lax: with Strict the first click on a link in a mail or a chat would find nobody logged in. What changes
    # anything is a POST, with which Lax sends the cookie from our own pages only.
    secure = is_secure(request) or _secure_name(name) in request.cookies
    response.set_cookie(
        _secure_name(name) if secure else _plain_name(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


# Looking -------------------------------------------------------------------------------------------------------------


def enter(request: Request) -> Entry:
    """Return who looks, and remember it. Raises the refusal of somebody who may not."""
    request.state.entry = entry = _enter(request, use=True)
    return entry


def look_on(request: Request) -> Entry:
    """Return who watches a page change, as ``enter`` does. A tab that was left open is no use of a session."""
    return _enter(request, use=False)


def _enter(request: Request, *, use: bool) -> Entry:
    if "authorization" in request.headers:
        return Entry(_visitor(with_scope("read", require_key(request))))
    token = session_of(request)
    if token is not None and (found := find(request.app.state.deps, token, use=use)) is not None:
        return found
    if is_own_machine(request):
        return Entry(Visitor(request.app.state.deps.tenant, "", _STRANGER))
    raise Problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", "log in, or send an API key")


def find(deps: ServiceDeps, token: str, *, use: bool) -> Entry | None:
    """Return who a session's token lets in; None: nobody (any more). ``use``: whether the session lasts longer then."""
    found = deps.sessions.find(token, use=use)
    if found is None or "read" not in found.principal.scopes:
        return None
    return Entry(_visitor(found.principal, csrf.token_of(token)), token, found.renewed)


def _visitor(who: Principal, token: str = "") -> Visitor:
    return Visitor(who.tenant, f"key {who.key_id}", who.scopes, token, logged_in=bool(token))


Entered = Annotated[Entry, Depends(enter)]
Watching = Annotated[Entry, Depends(look_on)]


# Acting --------------------------------------------------------------------------------------------------------------


def _acting(scope: str) -> Callable[[Request, Form], Entry]:
    def check(request: Request, form: Form) -> Entry:
        return require_actor(request, form, scope)

    return check


def require_actor(request: Request, form: Form, scope: str) -> Entry:
    """Return who sent a form. Raises the refusal of one that was not sent on our page by somebody who may."""
    if not csrf.is_from_us(request.headers):
        raise _refused("foreign_form", "this form was not sent from a page of this service: nothing was done")
    token = session_of(request)
    found = None if token is None else find(request.app.state.deps, token, use=True)
    if token is None or found is None:
        raise _refused("not_logged_in", "you are not logged in, or not any more: nothing was done")
    request.state.entry = found
    if not csrf.is_token(token, form.get(csrf.FIELD, "")):
        detail = (
            "this form is from another login or was made up: nothing was done; load the page and try again"
        )
        raise _refused("wrong_form", detail)
    if not found.visitor.may(scope):
        detail = f"your API key lacks the scope `{scope}`: nothing was done"
        raise _refused("missing_key_scope", detail)
    return found


def _refused(code: str, detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, code, detail)


Reading = Annotated[Entry, Depends(_acting("read"))]
Operating = Annotated[Entry, Depends(_acting("operate"))]
Administering = Annotated[Entry, Depends(_acting("admin"))]

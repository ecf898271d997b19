"""Login and logout: an API key opens a session, and is never seen again."""

import ipaddress
import math
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from nodewright.page import csrf
from nodewright.page.drawing import LOGIN, NOBODY, draw_form
from nodewright.page.forms import Form, local
from nodewright.page.visitor import COOKIE, Reading, find, give_session, session_of, set_cookie
from nodewright.service.deps import Deps
from nodewright.service.problems import Problem

_WRONG: Final = "This key does not open the page. Is it the whole key, and may it read?"
_LONGEST: Final = 512


def show_login(request: Request, deps: Deps) -> Response:
    """Show the form that asks for a key."""
    token = session_of(request)
    found = None if token is None else find(deps, token, use=False)
    visitor = NOBODY if found is None else found.visitor
    return draw_form(request, visitor, "login.html", title="Log in", next=_next(request), wrong=None)


def log_in(request: Request, deps: Deps, form: Form) -> Response:
    """Open a session by a key, always a new one: an id that came from outside is never kept."""
    # Without this somebody's page could log its visitors in to an account of its own.
    if not csrf.is_from_us(request.headers):
        detail = "this form was not sent from a page of this service: nothing was done"
        raise Problem(HTTPStatus.FORBIDDEN, "foreign_form", detail)
    address = _address(request)
    _refuse_too_many(deps.logins.look(address))
    key = form.get("key", "").strip()
    principal = deps.authenticate(key) if 0 < len(key) <= _LONGEST else None
    if principal is None or "read" not in principal.scopes:
        deps.logins.wait(address)
        return _again(request, form)
    _forget(request, deps)
    response = RedirectResponse(local(form.get("next", "")), HTTPStatus.SEE_OTHER)
    give_session(request, response, deps.sessions.open(key, principal.key_id))
    return response


def log_out(request: Request, deps: Deps, entry: Reading) -> Response:  # noqa: ARG001 - whoever sent the form
    """End the session."""
    _forget(request, deps)
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    set_cookie(request, response, COOKIE, "", seconds=0)
    return response


def _forget(request: Request, deps: Deps) -> None:
    token = session_of(request)
    if token is not None:
        deps.sessions.close(token)


def _again(request: Request, form: Form) -> Response:
    context = {"title": "Log in", "next": local(form.get("next", "")), "wrong": _WRONG}
    return draw_form(request, NOBODY, "login.html", status=HTTPStatus.FORBIDDEN, **context)


def _next(request: Request) -> str:
    return local(request.query_params.get("next", ""))


def _refuse_too_many(seconds: float) -> None:
    if seconds > 0:
        wait = math.ceil(seconds)
        detail = f"too many keys were tried from this address; try again in {wait} s"
        headers = {"Retry-After": str(wait)}
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many_logins", detail, headers=headers)


def _address(request: Request) -> str:
    """Return whose tries are counted together: an address, of IPv6 the network, which is one customer's."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)


def install(app: FastAPI) -> None:
    """Put the routes on ``app``."""
    app.add_api_route(LOGIN, show_login, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(LOGIN, log_in, methods=["POST"], include_in_schema=False)
    app.add_api_route("/logout", log_out, methods=["POST"], include_in_schema=False)

"""From what is shown to an answer: the layout around it, what is to be said once, errors as pages."""

import gzip
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from nodewright.page import flash
from nodewright.page.assets import assets, takes_gzip
from nodewright.page.shown import Asked, Shown, Visitor
from nodewright.page.views.rendering import environment
from nodewright.page.visitor import Entry, give_session
from nodewright.service.problems import Problem

MENU: Final = (("/", "Fleets"), ("/jobs", "Jobs"), ("/limits", "Limits"), ("/system", "System"))
LOGIN: Final = "/login"
NOBODY: Final = Visitor("", "", frozenset())
_WORTH_IT: Final = 1_000
_USUAL: Final = {"known": True, "live": False, "said": None}
_SECTIONS: Final = {"fleets": "/"}


def asked_of(request: Request, visitor: Visitor) -> Asked:
    """Return a request as the views take it."""
    return Asked(visitor, request.path_params, request.query_params, url_of(request))


def url_of(request: Request) -> str:
    """Return path and query, as the browser shows them."""
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def draw(request: Request, entry: Entry, shown: Shown) -> Response:
    """Return a page as an answer."""
    parts = {name: Markup(html) for name, html in shown.parts.items()}  # noqa: S704 - a view's, escaped by its template
    words = flash.said(request, entry.session)
    html = _layout(
        "layout.html", request, entry.visitor, title=shown.title, parts=parts, live=shown.live, said=words
    )
    response = _compressed(request, html, shown.status)
    flash.forget(request, response)
    if entry.renewed and entry.session is not None:
        give_session(request, response, entry.session)
    return response


def draw_form(request: Request, visitor: Visitor, template: str, **context: Any) -> Response:  # noqa: ANN401 - what a template takes
    """Return a page that is no view's, as the login, as an answer."""
    status = context.pop("status", HTTPStatus.OK)
    return HTMLResponse(_layout(template, request, visitor, **context), int(status))


def draw_problem(request: Request, problem: Problem) -> Response:
    """Return an error as a page; who would only have to log in is asked to."""
    if problem.status is HTTPStatus.UNAUTHORIZED and request.method in {"GET", "HEAD"}:
        return RedirectResponse(login_url(url_of(request)), HTTPStatus.SEE_OTHER)
    # Who looks is not looked up again: this runs between all other requests, and the database may be what is away.
    entry: Entry | None = getattr(request.state, "entry", None)
    response = draw_form(
        request,
        NOBODY if entry is None else entry.visitor,
        "problem.html",
        status=problem.status,
        title=problem.status.phrase,
        problem=problem,
        code=int(problem.status),
        request_id=getattr(request.state, "request_id", None),
        known=entry is not None,
    )
    response.headers.update(problem.headers)
    return response


def login_url(back: str) -> str:
    """Return where to log in, and to come back from."""
    return LOGIN if back == "/" else f"{LOGIN}?{urlencode({'next': back})}"


def _layout(template: str, request: Request, visitor: Visitor, **context: Any) -> str:  # noqa: ANN401 - what a template takes
    section = request.url.path.split("/")[1]
    back = url_of(request) if request.method == "GET" and request.url.path != LOGIN else "/"
    around = {
        "visitor": visitor,
        "asked": asked_of(request, visitor),
        "menu": MENU,
        "section": _SECTIONS.get(section, f"/{section}"),
        "assets": _urls(),
        "login": login_url(back),
    }
    return environment().get_template(template).render(_USUAL | around | context)


def _urls() -> Mapping[str, str]:
    return {name.partition(".")[2]: asset.url for name, asset in assets().items()}


def _compressed(request: Request, html: str, status: HTTPStatus) -> Response:
    """Return a page, compressed where it holds nothing of what somebody else may have put into its address."""
    # The length of what is compressed tells whether a secret of the page is like the echo beside it (BREACH). What a
    # page echoes is its query, so one that was asked for with a query is sent as it is.
    content, headers = html.encode(), {"Vary": "Accept-Encoding, Cookie"}
    if takes_gzip(request) and not request.url.query and len(content) > _WORTH_IT:
        content, headers["Content-Encoding"] = gzip.compress(content, compresslevel=5), "gzip"
    return HTMLResponse(content, int(status), headers)

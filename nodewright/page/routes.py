"""The page's routes: one per view, and what is around them."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.responses import Response

from nodewright.page import actions, live, login
from nodewright.page.assets import send_asset
from nodewright.page.drawing import asked_of, draw, draw_problem
from nodewright.page.shown import View
from nodewright.page.views import VIEWS
from nodewright.page.visitor import Entered
from nodewright.service.deps import Deps

_READING = ["GET", "HEAD"]


def install(app: FastAPI) -> None:
    """Put the page on ``app``."""
    app.state.draw_problem = draw_problem
    app.add_api_route("/static/{name}", send_asset, methods=_READING, include_in_schema=False)
    login.install(app)
    actions.install(app)
    live.install(app)
    for path, view in VIEWS.items():
        app.add_api_route(path, _shows(view), methods=_READING, include_in_schema=False)


def _shows(view: View) -> Callable[[Request, Deps, Entered], Response]:
    def show(request: Request, deps: Deps, entry: Entered) -> Response:
        return draw(request, entry, view(deps, asked_of(request, entry.visitor)))

    return show

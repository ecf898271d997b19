"""The page for people: fleets, newest first, and whatever needs a look."""

from typing import Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from nodewright.service.access import PageReader, part_of
from nodewright.service.deps import Deps

_SHOWN: Final = 50
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def show_page(deps: Deps, reader: PageReader) -> HTMLResponse:
    """Show the fleets as a page."""
    tenant = reader.tenant if reader else deps.tenant
    template = _templates().get_template("fleets.html")
    fleets = deps.service.fleets(tenant, limit=_SHOWN)
    return HTMLResponse(
        template.render(fleets=fleets, status=deps.service.status(part_of(reader))), headers=_HEADERS
    )


def _templates() -> Environment:
    return Environment(loader=PackageLoader("nodewright.service"), autoescape=select_autoescape())


def install(app: FastAPI) -> None:
    """Put the page on ``app``."""
    app.add_api_route("/", show_page, methods=["GET"], response_class=HTMLResponse, include_in_schema=False)

"""How the service is: rate windows, alarms, counts."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from nodewright import answers as shapes
from nodewright.service.access import Reader, part_of
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers


def show_rate_windows(key: Reader, deps: Deps) -> JSONResponse:
    """Show what the API's rate limits still allow."""
    return JSONResponse(
        {"rate_windows": [window.to_json() for window in deps.service.status(part_of(key)).windows]}
    )


def show_status(key: Reader, deps: Deps) -> JSONResponse:
    """Show alarms, catalogs, rate windows, and when a worker was last seen."""
    return JSONResponse(deps.service.status(part_of(key)).to_json())


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    router.add_api_route(
        "/rate-windows", show_rate_windows, methods=["GET"], tags=["service"], **answers(shapes.RateWindows)
    )
    router.add_api_route("/status", show_status, methods=["GET"], tags=["service"], **answers(shapes.Status))

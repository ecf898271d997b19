"""What is still to come of a fleet, and what its request was made of."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from nodewright import answers as shapes
from nodewright.service.access import Reader
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers


def show_outlook(key: Reader, deps: Deps, ref: str) -> JSONResponse:
    """Show what the rate limit lets through now, and when the fleet would be done."""
    return JSONResponse(deps.service.outlook(ref, key.tenant).to_json())


def show_groups(key: Reader, deps: Deps, ref: str) -> JSONResponse:
    """Show the groups of the fleet's request. A job's `group` is the place of its own in this list."""
    return JSONResponse({"groups": [group.to_json() for group in deps.service.groups(ref, key.tenant)]})


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    for name, route, shape in (
        ("outlook", show_outlook, shapes.Outlook),
        ("groups", show_groups, shapes.Groups),
    ):
        path = f"/fleets/{{ref}}/{name}"
        router.add_api_route(path, route, methods=["GET"], tags=["fleets"], **answers(shape, 404))

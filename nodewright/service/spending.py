"""Spend: what instances have cost so far, by tenant and fleet."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from nodewright import answers as shapes
from nodewright.service.access import Reader, part_of
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers
from nodewright.service.paging import After, Limit, seal, unseal

_LIST: Final = {"list": "spend"}


def show_spend(key: Reader, deps: Deps, limit: Limit = 100, after: After = None) -> JSONResponse:
    """Show what instances have cost so far: the tenant's sum, and its fleets', the newest first.

    A key with the scope `admin` sees every tenant's.
    """
    place = unseal(after, _LIST)
    tenants, fleets = deps.service.spend(part_of(key), limit=limit + 1, after=place)
    more = seal(fleets[limit - 1].id, _LIST) if len(fleets) > limit else None
    return JSONResponse(
        {
            "tenants": [one.to_json() for one in tenants],
            "fleets": [one.to_json() for one in fleets[:limit]],
            "next": more,
        }
    )


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    router.add_api_route("/spend", show_spend, methods=["GET"], tags=["service"], **answers(shapes.Spending))

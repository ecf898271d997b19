"""Why a fleet's jobs failed, and what to do about it."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.overview import FailureGroup
from nodewright import answers as shapes
from nodewright.service.access import Reader
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers


def show_failures(key: Reader, deps: Deps, ref: str) -> JSONResponse:
    """Show why the fleet's jobs failed or were rejected, the most frequent reason first, and what to do about each."""
    found = deps.service.failures(ref, key.tenant)
    return JSONResponse({"failures": [group_json(group) for group in found]})


def group_json(group: FailureGroup) -> dict[str, Any]:
    """Return a group as it is answered."""
    return {
        "code": group.code,
        "reason": group.reason,
        "field": group.field,
        "count": group.count,
        "rejected": group.rejected,
        "owning": group.owned,
        "remedy": group.remedy,
        "examples": [{"id": one.id, "label": one.label} for one in group.examples],
        "more": group.more,
    }


def install(router: APIRouter) -> None:
    """Put the route on ``router``."""
    path = "/fleets/{ref}/failures"
    router.add_api_route(
        path, show_failures, methods=["GET"], tags=["fleets"], **answers(shapes.Failures, 404)
    )

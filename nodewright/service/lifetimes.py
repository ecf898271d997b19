"""A fleet's time to live: made longer."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.requests import (
    INVALID_REQUEST,
    LONGEST_SECONDS,
    InvalidRequest,
    RequestFault,
    printable,
    seconds_of,
)
from nodewright import answers as shapes
from nodewright.service.access import Operator
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes

_EXTENSION: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["extend"],
    "properties": {
        "extend": {
            "description": "By how much: `2h`, `90m`, `3d`, or seconds.",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": LONGEST_SECONDS},
                {"type": "string", "pattern": "^([0-9]{1,9}[smhd])+$"},
            ],
        }
    },
}


def extend_ttl(key: Operator, body: JsonBody, deps: Deps, ref: str) -> JSONResponse:
    """Lengthen the fleet's time to live, for its instances and for those to come. What is being deleted stays so."""
    extended = deps.service.extend_ttl(ref, key.tenant, _seconds(body))
    fleet = deps.service.fleet(ref, key.tenant).to_json()
    return JSONResponse({"fleet": fleet, "extended": extended})


def _seconds(body: object) -> int:
    value = body.get("extend") if isinstance(body, dict) and set(body) == {"extend"} else None
    try:
        seconds = seconds_of(value)
    except ValueError:
        seconds = 0
    if 1 <= seconds <= LONGEST_SECONDS:
        return seconds
    shown = printable(value) if isinstance(value, str) else value if isinstance(value, int) else None
    fault = RequestFault(
        code=INVALID_REQUEST,
        pointer="/extend",
        field="extend",
        value=shown if not isinstance(shown, int) or abs(shown) <= LONGEST_SECONDS else None,
        message='expected {"extend": DURATION}, of a second to ten years, and nothing else',
        remedy="write it as 90m, 2h or 3d, or in seconds",
    )
    raise InvalidRequest([fault])


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    router.add_api_route(
        "/fleets/{ref}/ttl",
        extend_ttl,
        methods=["POST"],
        tags=["fleets"],
        **answers(shapes.Extended, 400, 404, 408, 409, 413, 415),
        openapi_extra=takes(_EXTENSION),
    )

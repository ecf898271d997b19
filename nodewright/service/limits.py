"""What one key may ask for how often, and which parameters a route takes."""

import math
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, params
from fastapi.dependencies.utils import get_flat_params

from jobs.keys import Principal
from jobs.requests import nearest, printable
from nodewright.service.access import require_key
from nodewright.service.guards import RateLimiter
from nodewright.service.problems import Problem, bad_parameter, refused_parameters


async def within_rate(request: Request, key: Annotated[Principal, Depends(require_key)]) -> None:
    """Let a request pass whose key has not asked too often."""
    limiter: RateLimiter = request.app.state.deps.limiter
    seconds = limiter.wait(key.key_id)
    if seconds > 0:
        detail = f"this key asks too often; try again in {seconds:.2f} s"
        headers = {"Retry-After": str(math.ceil(seconds))}
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many_requests", detail, headers=headers)


async def known_parameters(request: Request) -> None:
    """Refuse parameters that the route does not take, or that stand twice: one that is mistyped would be ignored."""
    given = [name for name, _ in request.query_params.multi_items()]
    if not given:
        return
    known = _parameters(request.scope["route"])
    faults = [_unknown(name, known) for name in dict.fromkeys(given) if name not in known]
    faults += [
        bad_parameter(name, "is given twice", "give it once")
        for name in dict.fromkeys(given)
        if given.count(name) > 1 and name in known
    ]
    if faults:
        raise refused_parameters(faults)


def _parameters(route: Any) -> tuple[str, ...]:  # noqa: ANN401 - FastAPI's route
    fields = get_flat_params(route.dependant)
    return tuple(field.alias for field in fields if isinstance(field.field_info, params.Query))


def _unknown(name: str, known: tuple[str, ...]) -> dict[str, Any]:
    close = nearest(name, known)
    remedy = f"did you mean `{close}`?" if close else "remove it"
    return bad_parameter(printable(name), "unknown parameter", remedy, nearest=close)

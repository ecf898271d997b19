"""Whether the service lives and is ready: for load balancers and Kubernetes."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from nodewright import answers as shapes
from nodewright.service.deps import Deps
from nodewright.service.openapi import problem
from nodewright.service.problems import RETRY_SECONDS, Problem


def livez() -> dict[str, str]:
    """Answer that the process is alive."""
    return {"status": "alive"}


def readyz(deps: Deps) -> dict[str, Any]:
    """Answer whether requests can be served: the database is there and at the right version."""
    why_not = deps.ready()
    if why_not is not None:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", why_not, headers=headers)
    return {"status": "ready", "catalog": deps.service.catalog_state()}


def install(app: FastAPI) -> None:
    """Put the routes on ``app``."""
    add = app.add_api_route
    add("/livez", livez, methods=["GET"], tags=["health"], response_model=shapes.Alive)
    add(
        "/readyz",
        readyz,
        methods=["GET"],
        tags=["health"],
        response_model=shapes.Ready,
        responses={503: problem(503)},
    )

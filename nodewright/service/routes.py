"""All of ``/v1``, by subject. Every row is its tenant's: nobody sees another's, not even that it exists."""

from fastapi import APIRouter, Depends, FastAPI

from nodewright.service import (
    catalog,
    destroy,
    events,
    failures,
    fleets,
    holds,
    jobs,
    lifetimes,
    operating,
    outlooks,
    retries,
    scaling,
    spending,
    webhooks,
)
from nodewright.service.limits import known_parameters, within_rate


def install(app: FastAPI) -> None:
    """Put the routes of ``/v1`` on ``app``."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(within_rate), Depends(known_parameters)])
    for part in (
        *(fleets, events, jobs, catalog, operating, holds, destroy, lifetimes),
        *(failures, outlooks, retries, scaling, spending, webhooks),
    ):
        part.install(router)
    app.include_router(router)

"""Fleets: submit, list, show, cancel; and the plan of what a submit would do."""

import re
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from jobs.fleets import Trace
from jobs.requests import parse_request
from jobs.service import CatalogUnavailable, Submission
from nodewright import answers as shapes
from nodewright.service import asked
from nodewright.service.access import Operator, Reader, Submitter
from nodewright.service.bodies import JsonBody, OptionalJson
from nodewright.service.deps import Deps, ServiceDeps
from nodewright.service.openapi import answers, takes, takes_fleet
from nodewright.service.paging import After, Limit, seal, unseal
from nodewright.service.problems import malformed
from nodewright.service.retries import refusals
from nodewright.service.tracing import about

CATALOG_PATIENCE: Final = 10.0
"""How long a submit waits for the first catalog read when that is under way."""
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LIST: Final = {"list": "fleets"}

IdempotencyKey = Annotated[str | None, Header(description="One fleet for all requests with the same key.")]
Traceparent = Annotated[
    str | None, Header(description="W3C trace context; kept with the fleet. A malformed one is ignored.")
]
DryRun = Annotated[bool, Query(description="Answer the plan, and store nothing.")]
Found = TypeVar("Found")


def submit_fleet(
    request: Request,
    key: Submitter,
    body: JsonBody,
    deps: Deps,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,  # noqa: ARG001 - for the document; the middleware has read it
    dry_run: DryRun = False,  # noqa: FBT002 - FastAPI's form
) -> JSONResponse:
    """Accept a fleet: with the answer 202 its rows are committed, and nothing is lost any more.

    Sent again with the same `Idempotency-Key` it is the same fleet. With `dry_run` the answer is 200 and the plan.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise malformed("Idempotency-Key: expected 1 to 255 printable ASCII characters without spaces")
    asked = parse_request(body)
    if dry_run:
        return _plan(deps, body, key)
    state = request.state
    accepted: Submission = _with_catalog(
        deps,
        key.tenant,
        partial(
            deps.service.submit,
            asked,
            tenant=key.tenant,
            actor=f"key {key.key_id}",
            idempotency_key=idempotency_key,
            trace=Trace(state.request_id, state.traceparent),
        ),
    )
    about(fleet=accepted.fleet.id)
    return _accepted(accepted)


def _accepted(accepted: Submission) -> JSONResponse:
    content = {
        "fleet": accepted.fleet.to_json(),
        "warnings": [warning.to_json() for warning in accepted.warnings],
        "rejected": [fault.to_json() for fault in accepted.faults],
        "replayed": accepted.replayed,
        "root_passwords": [password.to_json() for password in accepted.root_passwords],
    }
    headers = {
        "Location": f"/v1/fleets/{accepted.fleet.id}",
        "Cache-Control": "no-store",
    }  # it may hold passwords
    return JSONResponse(content, HTTPStatus.ACCEPTED, headers)


def plan_fleet(key: Reader, body: JsonBody, deps: Deps) -> JSONResponse:
    """Say what a submit of this document would do, refusals included. Nothing is stored."""
    return _plan(deps, body, key)


def _plan(deps: ServiceDeps, body: object, key: Reader) -> JSONResponse:
    made = _with_catalog(deps, key.tenant, partial(deps.service.plan, parse_request(body), tenant=key.tenant))
    return JSONResponse({"plan": made.to_json()})


def _with_catalog(deps: ServiceDeps, tenant: str, act: Callable[[], Found]) -> Found:
    """Do what needs a catalog; while its first read is under way, wait for it."""
    deadline = time.monotonic() + CATALOG_PATIENCE
    while True:
        try:
            return act()
        except CatalogUnavailable:
            if deps.service.catalog_state(tenant) != "none" or time.monotonic() > deadline:
                raise
            threading.Event().wait(0.2)


def list_fleets(key: Reader, deps: Deps, limit: Limit = 100, after: After = None) -> JSONResponse:
    """List fleets, newest first."""
    place = unseal(after, _LIST)
    found = deps.service.fleets(key.tenant, limit=limit + 1, after=place)
    more = seal(found[limit - 1].id, _LIST) if len(found) > limit else None
    return JSONResponse({"fleets": [fleet.to_json() for fleet in found[:limit]], "next": more})


def show_fleet(key: Reader, deps: Deps, ref: str) -> JSONResponse:
    """Show the fleet of this id, or the newest of this name."""
    return JSONResponse({"fleet": deps.service.fleet(ref, key.tenant).to_json()})


def cancel_fleet(key: Operator, body: OptionalJson, deps: Deps, ref: str) -> JSONResponse:
    """Cancel what the fleet has not bought yet, or a part of it; what runs stays.

    A job that is being created is finished, then deleted (`noted`). `refused`: those of `jobs` that own an instance.
    """
    wanted = asked.read(asked.Cancel, body)
    actor = f"key {key.key_id}"
    done = deps.service.cancel(ref, key.tenant, actor=actor, where=wanted.where(), ids=wanted.ids())
    fleet = deps.service.fleet(ref, key.tenant).to_json()
    told = {"fleet": fleet, "cancelled": done.cancelled, "noted": done.noted}
    return JSONResponse({**told, **refusals(done.refused)})


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    location = {"Location": {"description": "Where the fleet is.", "schema": {"type": "string"}}}
    submit = answers(shapes.Submission, 400, 404, 408, 409, 413, 415, status=202, headers=location)
    submit["responses"][200] = {"model": shapes.OnePlan, "description": "The plan, with `dry_run`."}
    router.add_api_route(
        "/fleets", submit_fleet, methods=["POST"], tags=["fleets"], **submit, openapi_extra=takes_fleet()
    )
    router.add_api_route(
        "/fleets", list_fleets, methods=["GET"], tags=["fleets"], **answers(shapes.FleetPage, 404)
    )
    router.add_api_route(
        "/fleets/{ref}", show_fleet, methods=["GET"], tags=["fleets"], **answers(shapes.OneFleet, 404)
    )
    router.add_api_route(
        "/fleets/{ref}/cancel",
        cancel_fleet,
        methods=["POST"],
        tags=["fleets"],
        **answers(shapes.Cancelled, 400, 404, 408, 413, 415),
        openapi_extra=takes(asked.schema(asked.Cancel), required=False),
    )
    router.add_api_route(
        "/plan",
        plan_fleet,
        methods=["POST"],
        tags=["fleets"],
        **answers(shapes.OnePlan, 400, 408, 413, 415),
        openapi_extra=takes_fleet(),
    )

"""What ``/v1`` answers. Every row is its tenant's: nobody sees another's, not even that it exists."""

import re
import threading
import time
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Query, Request, Response
from sqlalchemy.exc import IntegrityError

from jobs.requests import FleetRequest, parse_request
from jobs.service import CatalogUnavailable, Submission
from jobs.states import State
from nodewright.service.access import Operator, Reader, Submitter, part_of
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps, ServiceDeps
from nodewright.service.problems import Problem, malformed

CATALOG_PATIENCE: Final = 10.0
"""How long a submit waits for the first catalog read when that is under way."""
_LARGEST_ID: Final = 2**63 - 1
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

IdempotencyKey = Annotated[str | None, Header(description="One fleet for all requests with the same key.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[str | None, Query(max_length=64, description="The id after which to go on: `next`.")]


def submit_fleet(
    request: Request,
    response: Response,
    body: JsonBody,
    deps: Deps,
    key: Submitter,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Accept a fleet: with the answer 202 its rows are committed, and nothing is lost any more."""
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise malformed("Idempotency-Key: expected 1 to 255 printable ASCII characters without spaces")
    accepted = _submit(deps, parse_request(body), key, idempotency_key, request.state.request_id)
    response.headers["Location"] = f"/v1/fleets/{accepted.fleet.id}"
    response.headers["Cache-Control"] = "no-store"  # it may hold passwords
    return {
        "fleet": accepted.fleet.to_json(),
        "warnings": [warning.to_json() for warning in accepted.warnings],
        "rejected": [fault.to_json() for fault in accepted.faults],
        "replayed": accepted.replayed,
        "root_passwords": [password.to_json() for password in accepted.root_passwords],
    }


def _submit(
    deps: ServiceDeps, asked: FleetRequest, key: Submitter, idempotency_key: str | None, request_id: str
) -> Submission:
    deadline = time.monotonic() + CATALOG_PATIENCE
    while True:
        try:
            return deps.service.submit(
                asked,
                tenant=key.tenant,
                actor=f"key {key.key_id}",
                idempotency_key=idempotency_key,
                request_id=request_id,
            )
        except CatalogUnavailable:
            if deps.service.catalog_state(key.tenant) != "none" or time.monotonic() > deadline:
                raise
            threading.Event().wait(0.2)


def list_fleets(deps: Deps, key: Reader, limit: Limit = 100, after: After = None) -> dict[str, Any]:
    """List fleets, newest first."""
    found = deps.service.fleets(key.tenant, limit=limit, after=after)
    more = found[-1].id if len(found) == limit else None
    return {"fleets": [fleet.to_json() for fleet in found], "next": more}


def show_fleet(deps: Deps, key: Reader, ref: str) -> dict[str, Any]:
    """Show the fleet of this id, or the newest of this name."""
    return {"fleet": deps.service.fleet(ref, key.tenant).to_json()}


def cancel_fleet(deps: Deps, key: Operator, ref: str) -> dict[str, Any]:
    """Cancel what the fleet has not bought yet; what runs stays."""
    done = deps.service.cancel(ref, key.tenant, actor=f"key {key.key_id}")
    fleet = deps.service.fleet(ref, key.tenant).to_json()
    return {"fleet": fleet, "cancelled": done.cancelled, "noted": done.noted}


def list_jobs(
    deps: Deps,
    key: Reader,
    fleet: Annotated[str | None, Query(max_length=128, description="A fleet's id or name.")] = None,
    state: State | None = None,
    limit: Limit = 100,
    after: After = None,
) -> dict[str, Any]:
    """List jobs: a fleet's by position, else the newest first."""
    found = deps.service.jobs(key.tenant, fleet=fleet, state=state, limit=limit, after=after)
    more = found[-1].id if len(found) == limit else None
    return {"jobs": [job.to_json() for job in found], "next": more}


def show_job(deps: Deps, key: Reader, job_id: str) -> dict[str, Any]:
    """Show a job with its timeline."""
    return {"job": deps.service.job(job_id, key.tenant).to_json()}


def resolve_job(body: JsonBody, deps: Deps, key: Operator, job_id: str) -> dict[str, Any]:
    """Settle an uncertain job by hand: `{"adopt": ID}`, it owns that instance; `{"absent": true}`, there is none."""
    adopt = _resolution(body)
    try:
        done = deps.service.resolve(job_id, key.tenant, actor=f"key {key.key_id}", adopt=adopt)
    except IntegrityError:
        detail = f"instance {adopt} is another job's already"
        raise Problem(HTTPStatus.CONFLICT, "instance_owned", detail) from None
    return {"job": done.to_json()}


def _resolution(body: object) -> int | None:
    if isinstance(body, dict) and set(body) == {"absent"} and body["absent"] is True:
        return None
    adopt = body.get("adopt") if isinstance(body, dict) and set(body) == {"adopt"} else None
    if type(adopt) is int and 0 < adopt <= _LARGEST_ID:
        return adopt
    detail = 'expected {"adopt": ID} with the id of an instance, or {"absent": true}, and nothing else'
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)


def show_rate_windows(deps: Deps, key: Reader) -> dict[str, Any]:
    """Show what the API's rate limits still allow."""
    return {"rate_windows": [window.to_json() for window in deps.service.status(part_of(key)).windows]}


def show_status(deps: Deps, key: Reader) -> dict[str, Any]:
    """Show alarms, catalogs, rate windows, and when a worker was last seen."""
    return deps.service.status(part_of(key)).to_json()


def install(app: FastAPI) -> None:
    """Put the routes of ``/v1`` on ``app``."""
    app.add_api_route(
        "/v1/fleets", submit_fleet, methods=["POST"], status_code=HTTPStatus.ACCEPTED, tags=["fleets"]
    )
    app.add_api_route("/v1/fleets", list_fleets, methods=["GET"], tags=["fleets"])
    app.add_api_route("/v1/fleets/{ref}", show_fleet, methods=["GET"], tags=["fleets"])
    app.add_api_route("/v1/fleets/{ref}/cancel", cancel_fleet, methods=["POST"], tags=["fleets"])
    app.add_api_route("/v1/jobs", list_jobs, methods=["GET"], tags=["jobs"])
    app.add_api_route("/v1/jobs/{job_id}", show_job, methods=["GET"], tags=["jobs"])
    app.add_api_route("/v1/jobs/{job_id}/resolve", resolve_job, methods=["POST"], tags=["jobs"])
    app.add_api_route("/v1/rate-windows", show_rate_windows, methods=["GET"], tags=["service"])
    app.add_api_route("/v1/status", show_status, methods=["GET"], tags=["service"])

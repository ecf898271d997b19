"""Retry of what failed, and the cancel of single jobs."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.picks import Refusal
from jobs.regiven import read_given
from jobs.retrying import Deadline, Retried, Wishes
from nodewright import answers as shapes
from nodewright.service import asked
from nodewright.service.access import Operator
from nodewright.service.bodies import OptionalJson
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes
from nodewright.service.problems import Problem
from nodewright.service.tracing import about

MOST_REFUSED: Final = 100
"""So many refusals an answer spells out; it counts all."""


def retry_fleet(key: Operator, body: OptionalJson, deps: Deps, ref: str) -> JSONResponse:
    """Give the fleet's failed jobs, or a part of them, a new attempt; an instance that one still owns goes first.

    `refused` says which jobs are not retried, and why. With `dry_run` nothing is changed.
    """
    wanted = asked.read(asked.Retry, body)
    done = deps.service.retry(
        ref,
        key.tenant,
        actor=f"key {key.key_id}",
        where=wanted.where(),
        ids=wanted.ids(),
        wishes=_wishes(wanted),
    )
    fleet = deps.service.fleet(ref, key.tenant).to_json()
    return JSONResponse({"fleet": fleet, **_told(done), **refusals(done.refused)})


def _wishes(wanted: asked.RetryOne) -> Wishes:
    given = read_given([one.model_dump() for one in wanted.secrets])
    deadline = None if wanted.deadline is None else Deadline(asked.deadline_of(wanted.deadline))
    return Wishes(given, deadline, wanted.dry_run)


def _told(done: Retried) -> dict[str, object]:
    return {"queued": done.queued, "deleting": done.deleting, "dry_run": done.dry_run}


def refusals(found: tuple[Refusal, ...]) -> dict[str, object]:
    """Return the part of an answer that says for which jobs nothing was done."""
    return {"refused": [one.to_json() for one in found[:MOST_REFUSED]], "refused_count": len(found)}


def retry_job(key: Operator, body: OptionalJson, deps: Deps, job_id: str) -> JSONResponse:
    """Give a failed job a new attempt; where it still owns an instance, that goes first."""
    wanted = asked.read(asked.RetryOne, body)
    job = deps.service.job(job_id, key.tenant).job
    about(fleet=job.fleet_id)
    actor = f"key {key.key_id}"
    done = deps.service.retry(job.fleet_id, key.tenant, actor=actor, ids=(job.id,), wishes=_wishes(wanted))
    _refuse(done.refused)
    return JSONResponse({"job": deps.service.job(job.id, key.tenant).to_json(), **_told(done)})


def cancel_job(key: Operator, body: OptionalJson, deps: Deps, job_id: str) -> JSONResponse:
    """Cancel a job that is not bought yet; one that is being created is finished, then deleted (`noted`)."""
    asked.read(asked.Nothing, body)
    job = deps.service.job(job_id, key.tenant).job
    about(fleet=job.fleet_id)
    done = deps.service.cancel(job.fleet_id, key.tenant, actor=f"key {key.key_id}", ids=(job.id,))
    _refuse(done.refused)
    shown = deps.service.job(job.id, key.tenant).to_json()
    return JSONResponse({"job": shown, "cancelled": done.cancelled, "noted": done.noted})


def _refuse(found: tuple[Refusal, ...]) -> None:
    for one in found:
        raise Problem(HTTPStatus.CONFLICT, one.code, f"job {one.label}: {one.message}; {one.remedy}")


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    errors = (400, 404, 408, 413, 415)
    router.add_api_route(
        "/fleets/{ref}/retry",
        retry_fleet,
        methods=["POST"],
        tags=["fleets"],
        **answers(shapes.Retried, *errors),
        openapi_extra=takes(asked.schema(asked.Retry), required=False),
    )
    router.add_api_route(
        "/jobs/{job_id}/retry",
        retry_job,
        methods=["POST"],
        tags=["jobs"],
        **answers(shapes.JobRetried, *errors, 409),
        openapi_extra=takes(asked.schema(asked.RetryOne), required=False),
    )
    router.add_api_route(
        "/jobs/{job_id}/cancel",
        cancel_job,
        methods=["POST"],
        tags=["jobs"],
        **answers(shapes.JobCancelled, *errors, 409),
        openapi_extra=takes(asked.schema(asked.Nothing), required=False),
    )

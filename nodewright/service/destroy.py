"""Destroy: a dry run lists what would go and answers a confirmation; with it, that goes."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.destruction import MOST_SHOWN, Preview
from jobs.views import moment, usd
from nodewright import answers as shapes
from nodewright.service import asked
from nodewright.service.access import Operator
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes
from nodewright.service.problems import Problem

_SCHEMA: Final = {
    **asked.schema(asked.Destroy),
    "oneOf": [
        {"required": ["dry_run"], "properties": {"dry_run": {"const": True}}},
        {"required": ["confirm"]},
    ],
}


def destroy_fleet(key: Operator, body: JsonBody, deps: Deps, ref: str) -> JSONResponse:
    """Delete a fleet's instances and cancel what it has not bought: all of it, or the jobs that fit the filters.

    With `dry_run` the answer is 200, what would go, and a `confirm` that is good for exactly that for 15 minutes; with
    that `confirm` it is 202, and the instances are being deleted.
    """
    wanted = asked.read(asked.Destroy, body)
    if bool(wanted.confirm) == wanted.dry_run:
        detail = (
            'a destroy needs a confirmation: send {"dry_run": true} first, then its `confirm`, one of the two'
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "confirmation_needed", detail)
    where, ids, service = wanted.where(), wanted.ids(), deps.service
    if wanted.dry_run:
        made = service.plan_destroy(ref, key.tenant, where, ids)
        return JSONResponse({"fleet": service.fleet(ref, key.tenant).to_json(), **_shown(made)})
    actor = f"key {key.key_id}"
    done = service.destroy(ref, key.tenant, where, ids, confirm=wanted.confirm, actor=actor)
    answer = {
        "fleet": service.fleet(ref, key.tenant).to_json(),
        "deleting": done.deleting,
        "cancelled": done.cancelled,
        "noted": done.noted,
        "refused": [one.to_json() for one in done.refused],
    }
    return JSONResponse(answer, HTTPStatus.ACCEPTED)


def _shown(made: Preview) -> dict[str, Any]:
    return {
        "instances": made.count(owns=True),
        "unbought": made.count(owns=False),
        "hourly_usd": usd(made.hourly_microusd),
        "jobs": [one.to_json() for one in made.targets[:MOST_SHOWN]],
        "refused": [one.to_json() for one in made.refused],
        "confirm": made.confirm,
        "expires_at": moment(made.expires_at),
    }


def install(router: APIRouter) -> None:
    """Put the route on ``router``."""
    done = answers(shapes.Destroyed, 400, 404, 408, 409, 413, 415, status=202)
    done["responses"][200] = {"model": shapes.DestroyPlan, "description": "What would go, with `dry_run`."}
    router.add_api_route(
        "/fleets/{ref}/destroy",
        destroy_fleet,
        methods=["POST"],
        tags=["fleets"],
        **done,
        openapi_extra=takes(_SCHEMA),
    )

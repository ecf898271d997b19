"""Destroy: a dry run lists what would go and answers a confirmation; with it, that goes."""

import re
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.destruction import MOST_SHOWN, Preview
from jobs.listing import JobFilter
from jobs.requests import nearest, printable
from jobs.states import State
from jobs.views import moment, usd
from nodewright import answers as shapes
from nodewright.service.access import Operator
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.jobs import SINCE, moment_of
from nodewright.service.openapi import answers, takes
from nodewright.service.problems import Problem, bad_parameter

_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$"
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": _PATTERN}
_FILTERS: Final = {
    "state": {"enum": [state.value for state in State], "description": "Only jobs in this state."},
    "label": {**_TEXT, "description": "The instance's label, exactly."},
    "type": {**_TEXT, "description": "The plan's id."},
    "region": {**_TEXT, "description": "The region's id."},
    "tag": {**_TEXT, "description": "A tag that the fleet's document gives the job."},
    "error_code": {**_TEXT, "description": "Why it ended or waits."},
    "since": {
        "type": "string",
        "pattern": SINCE,
        "description": "Submitted then or later, as `2026-03-01T12:00:00Z`.",
    },
}
_JOBS: Final = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "uuid"},
    "description": "Only these jobs, by their ids.",
}
_FIELDS: Final = (*_FILTERS, "jobs", "dry_run", "confirm")
_LONGEST: Final = 128


def _body(**how: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON schemas
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(how),
        "properties": {**how, "jobs": _JOBS, **_FILTERS},
    }


_SCHEMA: Final = {
    "oneOf": [
        _body(dry_run={"const": True, "description": "Answer what would go; nothing is done."}),
        _body(confirm={"type": "string", "description": "`confirm` of a dry run with the same filters."}),
    ]
}


def destroy_fleet(key: Operator, body: JsonBody, deps: Deps, ref: str) -> JSONResponse:
    """Delete a fleet's instances and cancel what it has not bought: all of it, or the jobs that fit the filters.

    With `dry_run` the answer is 200, what would go, and a `confirm` that is good for exactly that for 15 minutes; with
    that `confirm` it is 202, and the instances are being deleted.
    """
    asked = _checked(body)
    where, ids = _filter(asked), asked.get("jobs")
    service = deps.service
    if "confirm" not in asked:
        made = service.plan_destroy(ref, key.tenant, where, ids)
        return JSONResponse({"fleet": service.fleet(ref, key.tenant).to_json(), **_shown(made)})
    actor = f"key {key.key_id}"
    done = service.destroy(ref, key.tenant, where, ids, confirm=asked["confirm"], actor=actor)
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


# Reading the body ----------------------------------------------------------------------------------------------------


def _checked(body: object) -> dict[str, Any]:
    """Return the body if it says what to do, or every fault at once."""
    if not isinstance(body, dict):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", "expected a JSON object")
    faults = [fault for name, value in body.items() if (fault := _fault(name, value)) is not None]
    if faults:
        said = "; ".join(f"{one['field']}: {one['message']}; {one['remedy']}" for one in faults)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", said, faults=faults)
    if ("confirm" in body) == ("dry_run" in body):
        detail = (
            'a destroy needs a confirmation: send {"dry_run": true} first, then its `confirm`, one of the two'
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "confirmation_needed", detail)
    return body


def _fault(name: str, value: object) -> dict[str, Any] | None:
    if name not in _FIELDS:
        close = nearest(name, _FIELDS)
        remedy = f"did you mean `{close}`?" if close else "remove it"
        return _said(name, "unknown field", remedy, close)
    if name == "dry_run":
        return None if value is True else _said(name, "expected true", "leave it out, and send `confirm`")
    if name == "jobs":
        return None if _is_id_list(value) else _said(name, "expected a list of job ids", "name one at least")
    if not _is_text(value):
        return _said(name, f"expected a text of 1 to {_LONGEST} characters", "correct it")
    if name == "since" and re.fullmatch(SINCE, str(value)) is None:
        return _said(name, "expected a moment", "write it like 2026-03-01T12:00:00Z")
    if name == "state" and value not in [state.value for state in State]:
        close = nearest(str(value), tuple(state.value for state in State))
        remedy = f"did you mean `{close}`?" if close else "choose one that `GET /v1/jobs` takes"
        return _said(name, f"there is no state '{printable(str(value))}'", remedy, close)
    return None


def _said(name: str, message: str, remedy: str, close: str | None = None) -> dict[str, Any]:
    made = bad_parameter(printable(name), message, remedy, nearest=close, code="invalid_request")
    return {**made, "pointer": "/" + name.replace("~", "~0").replace("/", "~1")}


def _is_text(value: object) -> bool:
    fits = isinstance(value, str) and len(value) <= _LONGEST and re.fullmatch(_PATTERN, value) is not None
    return fits and not any("\ud800" <= letter <= "\udfff" for letter in str(value))


def _is_id_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_text(one) for one in value)


def _filter(asked: dict[str, Any]) -> JobFilter:
    exact = {name: asked.get(name) for name in ("label", "type", "region", "tag", "error_code")}
    state = asked.get("state")
    return JobFilter(
        state=None if state is None else State(state), since=moment_of(asked.get("since")), **exact
    )


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

"""Jobs: find them by what they are, show one with its timeline, settle an uncertain one."""

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError

from jobs.listing import JobFilter, JobPage, Sort, is_place
from jobs.requests import nearest, printable
from jobs.states import State
from nodewright import answers as shapes
from nodewright.service.access import Operator, Reader
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes
from nodewright.service.paging import After, Limit, not_ours, seal, unseal
from nodewright.service.problems import Problem, bad_parameter, refused_parameters

FIELDS: Final = tuple(shapes.Job.model_fields)
_LARGEST_ID: Final = 2**63 - 1
_RESOLUTION: Final = {
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["adopt"],
            "properties": {
                "adopt": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": _LARGEST_ID,
                    "description": "The id of the instance that the job owns.",
                }
            },
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["absent"],
            "properties": {"absent": {"const": True, "description": "Its instance does not exist."}},
        },
    ]
}


def _text(description: str) -> Any:  # noqa: ANN401 - FastAPI's own type
    # Control characters are nowhere in what we store, and PostgreSQL refuses to look for some of them.
    return Query(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description=description)


FleetQuery = Annotated[str | None, _text("A fleet's id or name: the newest of that name.")]
StateQuery = Annotated[State | None, Query(description="Where the jobs stand.")]
Label = Annotated[str | None, _text("The instance's label, exactly.")]
Region = Annotated[str | None, _text("The region's id.")]
Type = Annotated[str | None, _text("The plan's id.")]
Tag = Annotated[str | None, _text("A tag that the fleet's document gives the job.")]
Search = Annotated[
    str | None,
    _text("What a label begins with; or the id of a job or of an instance, or an instance's IP address."),
]
Order = Annotated[
    Sort | None,
    Query(description="The order. Without it a fleet's jobs come by position, others the newest first."),
]
ErrorCode = Annotated[str | None, _text("Why it ended or waits.")]
_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
SINCE: Final = f"^{_DAY}([Tt ]{_TIME})?$"
Since = Annotated[
    str | None,
    Query(
        pattern=SINCE,
        description="Submitted then or later, as `2026-03-01` or `2026-03-01T12:00:00Z`; without an offset it is UTC.",
    ),
]
Fields = Annotated[
    str | None, Query(max_length=1000, description="Only these fields of each job, separated by commas.")
]


def list_jobs(  # noqa: PLR0913, PLR0917 - one parameter per filter
    key: Reader,
    deps: Deps,
    fleet: FleetQuery = None,
    state: StateQuery = None,
    label: Label = None,
    region: Region = None,
    type: Type = None,  # noqa: A002 - the parameter's name
    tag: Tag = None,
    error_code: ErrorCode = None,
    since: Since = None,
    fields: Fields = None,
    q: Search = None,
    sort: Order = None,
    limit: Limit = 100,
    after: After = None,
) -> JSONResponse:
    """List jobs: a fleet's by position, else the newest first. Pages stay stable while jobs are added.

    A page looks at 25,000 jobs at most. It may hold fewer than `limit`, or none, and still have a `next`.
    """
    wanted = _fields(fields)
    where = JobFilter(
        state=state,
        label=label,
        type=type,
        region=region,
        tag=tag,
        error_code=error_code,
        since=moment_of(since),
        q=q,
    )
    more = {"fleet": fleet, "sort": sort}
    asked = {**where.to_json(), **{name: value for name, value in more.items() if value is not None}}
    place = unseal(after, asked)
    if fleet is not None:
        # A cursor stays with its fleet, also when a newer one of the same name has come since.
        fleet_id, _, place = place.partition(" ") if place is not None else (fleet, "", None)
        where = replace(where, fleet_id=deps.service.fleet_id(fleet_id, key.tenant))
    if place is not None and not is_place(place, where, sort):
        raise not_ours(after or "")
    page = deps.service.job_page(key.tenant, where, sort=sort, limit=limit, after=place)
    rows = [job.to_json() for job in page.jobs]
    return JSONResponse({"jobs": [_only(row, wanted) for row in rows], "next": _cursor(page, where, asked)})


def _cursor(page: JobPage, where: JobFilter, asked: dict[str, str]) -> str | None:
    if page.next is None:
        return None
    return seal(page.next if where.fleet_id is None else f"{where.fleet_id} {page.next}", asked)


def moment_of(text: str | None) -> datetime | None:
    """Return the moment that ``since`` names. Raises the refusal of what names none."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message, remedy = f"there is no such moment as {text!r}", "write it like 2026-03-01T12:00:00Z"
        raise refused_parameters([bad_parameter("since", message, remedy, value=text)]) from None


def _fields(text: str | None) -> tuple[str, ...]:
    if text is None:
        return FIELDS
    names = [name.strip() for name in text.split(",")]
    faults = [_unknown_field(name) for name in names if name not in FIELDS]
    if faults:
        raise refused_parameters(faults)
    return tuple(dict.fromkeys(names))


def _unknown_field(name: str) -> dict[str, Any]:
    close = nearest(name, FIELDS)
    remedy = f"did you mean `{close}`?" if close else f"choose among {', '.join(FIELDS)}"
    message = f"there is no field '{printable(name)}'"
    return bad_parameter("fields", message, remedy, value=name, nearest=close)


def _only(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return row if names is FIELDS else {name: row[name] for name in names}


def show_job(key: Reader, deps: Deps, job_id: str) -> JSONResponse:
    """Show a job with its timeline."""
    return JSONResponse({"job": deps.service.job(job_id, key.tenant).to_json()})


def resolve_job(key: Operator, body: JsonBody, deps: Deps, job_id: str) -> JSONResponse:
    """Settle an uncertain job by hand: `{"adopt": ID}`, it owns that instance; `{"absent": true}`, there is none."""
    adopt = _resolution(body)
    try:
        done = deps.service.resolve(job_id, key.tenant, actor=f"key {key.key_id}", adopt=adopt)
    except IntegrityError:
        detail = f"instance {adopt} is another job's already"
        raise Problem(HTTPStatus.CONFLICT, "instance_owned", detail) from None
    return JSONResponse({"job": done.to_json()})


def _resolution(body: object) -> int | None:
    if isinstance(body, dict) and set(body) == {"absent"} and body["absent"] is True:
        return None
    adopt = body.get("adopt") if isinstance(body, dict) and set(body) == {"adopt"} else None
    if type(adopt) is int and 0 < adopt <= _LARGEST_ID:
        return adopt
    detail = 'expected {"adopt": ID} with the id of an instance, or {"absent": true}, and nothing else'
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    router.add_api_route("/jobs", list_jobs, methods=["GET"], tags=["jobs"], **answers(shapes.Page, 404))
    router.add_api_route(
        "/jobs/{job_id}", show_job, methods=["GET"], tags=["jobs"], **answers(shapes.OneJob, 404)
    )
    router.add_api_route(
        "/jobs/{job_id}/resolve",
        resolve_job,
        methods=["POST"],
        tags=["jobs"],
        **answers(shapes.OneJob, 400, 404, 408, 409, 413, 415),
        openapi_extra=takes(_RESOLUTION),
    )

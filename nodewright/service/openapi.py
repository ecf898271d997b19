"""The OpenAPI document: what each route takes and answers, errors included. Tests hold the service to it."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from jobs.schema_of import fleet_schema
from nodewright.answers import FleetEvent, OneFleet, Problem
from nodewright.service.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]
_REF: Final = "#/components/schemas/"
_DOCUMENT: Final = "FleetDocument"
_STREAMED: Final = "StreamedEvent"
_DEFINITION: Final = "#/$defs/"
_OF_A_KEY: Final = (401, 403, 422, 429, 503)
"""What every route under /v1 may answer: no key, not its scope, a wrong parameter, too often, no database."""
_TEXTS: Final = {
    400: "The request is malformed.",
    401: "No API key, or none that is known.",
    403: "The API key lacks a scope.",
    404: "There is no such thing, or it is another tenant's.",
    409: "It clashes with what is there; `code` says with what.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body's media type is not application/json.",
    422: "Something in the request is wrong; `errors` says what, all at once.",
    429: "Too many requests with this key; try again after `Retry-After` seconds.",
    503: "Not now; try again after `Retry-After` seconds.",
}
_RETRIED: Final = {429, 503}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
}
DESCRIPTION: Final = """Provisions fleets of Linodes, each instance exactly once.

Every answer has an `X-Request-Id`; one that is sent along is kept. Each error is a problem document (RFC 9457) with a
stable `code` and every fault at once. `traceparent` (W3C) is kept with the fleet that it came with."""


def answers(
    model: type[BaseModel] | None,
    *errors: int,
    status: int = 200,
    headers: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a route under /v1 answers, as options of ``add_api_route``."""
    responses: Responses = {code: problem(code) for code in sorted({*_OF_A_KEY, *errors})}
    responses[status] = {"description": "Done.", "headers": {"X-Request-Id": _REQUEST_ID, **(headers or {})}}
    return {"response_model": model, "status_code": status, "responses": responses}


_REQUEST_ID: Final = {"description": "The request's id.", "schema": {"type": "string"}}


def problem(code: int) -> dict[str, Any]:
    """Return the documentation of one error status."""
    headers = {"X-Request-Id": _REQUEST_ID, **(_RETRY_AFTER if code in _RETRIED else {})}
    return {
        "description": _TEXTS[code],
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}{Problem.__name__}"}}},
    }


def streams(media_type: str) -> dict[str, Any]:
    """Return the documentation of a stream's content: OpenAPI 3.1 has no word for it, so the schema is one event's."""
    return {media_type: {"schema": {"$ref": f"{_REF}{_STREAMED}"}}}


def _streamed(event: str, model: type[BaseModel], *more: str) -> dict[str, Any]:
    content = {"$ref": f"{_REF}{model.__name__}"}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    properties = {"event": {"const": event}, "data": data} | {name: {"type": "string"} for name in more}
    return {"type": "object", "properties": properties, "required": ["event", "data", *more]}


def takes_fleet() -> dict[str, Any]:
    """Return the documentation of a fleet document as body."""
    return takes({"$ref": f"{_REF}{_DOCUMENT}"})


def takes(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Return the documentation of a JSON body."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the function that makes the document of ``app``, once."""

    @cache
    def document() -> dict[str, Any]:
        found = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        schemas = found["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in (Problem, FleetEvent):
            schemas[model.__name__] = _schema_of(model, schemas)
        schemas[_STREAMED] = {
            "description": "One server-sent event; its `data` is JSON.",
            "oneOf": [_streamed("job", FleetEvent, "id"), _streamed("end", OneFleet)],
        }
        schemas.update(_fleet_schemas())
        _ask_for_keys(found)
        return found

    return document


def _schema_of(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    made = model.model_json_schema(mode="serialization", by_alias=True, ref_template=_REF + "{model}")
    schemas.update(made.pop("$defs", {}))
    return made


def _fleet_schemas() -> dict[str, Any]:
    whole = _moved(fleet_schema())
    inner = whole.pop("$defs")
    for name in ("$schema", "$id"):
        whole.pop(name, None)
    return {**inner, _DOCUMENT: whole}


def _moved(schema: Any) -> Any:  # noqa: ANN401 - a JSON Schema is any JSON
    """Return a schema whose references lead to the document's components."""
    if isinstance(schema, dict):
        return {
            name: value.replace(_DEFINITION, _REF) if name == "$ref" else _moved(value)
            for name, value in deepcopy(schema).items()
        }
    return [_moved(one) for one in schema] if isinstance(schema, list) else schema


def _ask_for_keys(document: dict[str, Any]) -> None:
    bearer = {"type": "http", "scheme": "bearer", "description": "An API key."}
    document["components"]["securitySchemes"] = {"ApiKey": bearer}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/") or path == "/metrics":
                operation["security"] = [{"ApiKey": []}]

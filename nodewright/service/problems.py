"""Errors as RFC 9457 problem details: every fault at once, each with its JSON pointer, code and nearest value."""

import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from jobs.destruction import ConfirmationRefused
from jobs.hooks import TooManyWebhooks, WebhookDisabled
from jobs.requests import InvalidRequest, RequestFault, nearest, printable
from jobs.service import (
    AccountPaused,
    CatalogUnavailable,
    FleetRefused,
    IdempotencyConflict,
    NotFound,
    NoTimeToLive,
    NotUncertain,
    SecretsRefused,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
_SAID: Final = 20
"""So many faults are in the sentence; `errors` has all."""
_FOR_PROGRAMS: Final = ("/v1/", "/metrics", "/livez", "/readyz", "/openapi.json")
_SPACE: Final = "urn:nodewright:problem:"


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that is no success."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        faults: Iterable[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = list(faults)
        self.headers = headers or {}
        super().__init__(detail)

    def response(self, request: Request) -> Response:
        """Return the answer to ``request``: a page where a browser asks for one, else a problem document."""
        draw: Draw | None = getattr(request.app.state, "draw_problem", None)
        if draw is not None and wants_page(request):
            return draw(request, self)
        body = {
            "type": f"{_SPACE}{self.code}",
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
            "instance": request.url.path,
            "request_id": getattr(request.state, "request_id", None),
            "errors": self.faults,
        }
        return JSONResponse(body, int(self.status), self.headers, media_type=MEDIA_TYPE)


Draw = Callable[[Request, Problem], Response]


def wants_page(request: Request) -> bool:
    """Whether a browser asks, for something that is not for programs."""
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(_FOR_PROGRAMS)


def invalid(faults: Iterable[RequestFault]) -> Problem:
    """Return the refusal of a document with these faults."""
    found = list(faults)
    others = f", and {len(found) - 1} more" if len(found) > 1 else ""
    codes = {fault.code for fault in found}
    code = codes.pop() if len(codes) == 1 else "invalid_request"
    shown = [fault.to_json() for fault in found]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, code, f"{found[0]}{others}", faults=shown)


def malformed(detail: str, *, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> Problem:
    """Return the refusal of a request that is not even a document."""
    return Problem(status, "malformed_request", detail)


def _not_found(error: NotFound) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "not_found", str(error))


def _no_catalog(error: CatalogUnavailable) -> Problem:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "catalog_unavailable", f"{error}; try again later", headers=headers
    )


def _database_away(error: OperationalError) -> Problem:  # noqa: ARG001 - its words may hold an address
    detail = "the database does not answer; nothing was stored; try again later"
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", detail, headers=headers)


def bad_parameter(
    name: str,
    message: str,
    remedy: str,
    *,
    value: str | None = None,
    nearest: str | None = None,
    code: str = "invalid_parameter",
) -> dict[str, Any]:
    """Return one fault of a query parameter or a header, in the shape of a document's faults."""
    shown = None if value is None else printable(value)
    return {
        "code": code,
        "pointer": "",
        "field": name,
        "message": message,
        "remedy": remedy,
        "value": shown,
        "nearest": nearest,
        "group": None,
        "line": None,
    }


def refused_parameters(faults: list[dict[str, Any]]) -> Problem:
    """Return the refusal of a request with these faults in its parameters or headers."""
    said = [f"{one['field']}: {one['message']}; {one['remedy']}" for one in faults[:_SAID]]
    code = faults[0]["code"]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, code, ". ".join(said), faults=faults)


def _parameters(error: RequestValidationError) -> Problem:
    return refused_parameters([_parameter(one) for one in error.errors()])


def _parameter(one: dict[str, Any]) -> dict[str, Any]:
    value = one["input"] if isinstance(one.get("input"), str) else None
    context = one.get("ctx") or {}
    if one["type"] != "enum":
        got = "" if value is None else f", got {printable(value)!r}"
        words = f"{str(one['msg']).removeprefix('Value error, ')}{got}"
        return bad_parameter(str(one["loc"][-1]), words, "correct it", value=value)
    names = tuple(re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    close = None if value is None else nearest(value, names)
    remedy = f"did you mean `{close}`?" if close else "choose one of them"
    message = "expected one of " + ", ".join(f"'{name}'" for name in names)
    return bad_parameter(str(one["loc"][-1]), message, remedy, value=value, nearest=close)


def _http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    return Problem(status, status.phrase.lower().replace(" ", "_"), str(error.detail), headers=headers)


_TRANSLATIONS: Final[dict[type[Exception], Callable[[Any], Problem]]] = {
    Problem: lambda error: error,
    InvalidRequest: lambda error: invalid(error.faults),
    NotFound: _not_found,
    FleetRefused: lambda error: Problem(HTTPStatus.NOT_FOUND, "fleet_refused", str(error)),
    CatalogUnavailable: _no_catalog,
    IdempotencyConflict: lambda error: Problem(HTTPStatus.CONFLICT, "idempotency_conflict", str(error)),
    NotUncertain: lambda error: Problem(HTTPStatus.CONFLICT, "not_uncertain", str(error)),
    NoTimeToLive: lambda error: Problem(HTTPStatus.CONFLICT, "no_ttl", str(error)),
    AccountPaused: lambda error: Problem(HTTPStatus.CONFLICT, error.code, f"the account is paused: {error}"),
    SecretsRefused: lambda error: Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "secrets_refused", str(error)),
    TooManyWebhooks: lambda error: Problem(HTTPStatus.CONFLICT, "too_many_webhooks", str(error)),
    WebhookDisabled: lambda error: Problem(HTTPStatus.CONFLICT, "webhook_disabled", str(error)),
    OperationalError: _database_away,
    ConfirmationRefused: lambda error: Problem(HTTPStatus.CONFLICT, error.code, str(error)),
    RequestValidationError: _parameters,
    HTTPException: _http,
}


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document."""
    for kind, translate in _TRANSLATIONS.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return translate(error).response(request)

    return answer

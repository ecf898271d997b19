"""Errors as RFC 9457 problem details: every fault at once, each with its JSON pointer, code and nearest value."""

from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from jobs.requests import InvalidRequest, RequestFault
from jobs.service import (
    AccountPaused,
    CatalogUnavailable,
    IdempotencyConflict,
    NotFound,
    NotUncertain,
    SecretsRefused,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
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

    def response(self, request: Request) -> JSONResponse:
        """Return the answer to ``request``."""
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


def _parameters(error: RequestValidationError) -> Problem:
    faults = [
        {
            "code": "invalid_parameter",
            "pointer": "",
            "field": str(one["loc"][-1]),
            "message": _parameter_words(one),
            "value": one["input"] if isinstance(one.get("input"), str) else None,
        }
        for one in error.errors()
    ]
    detail = "; ".join(f"{one['field']}: {one['message']}, got {one['value']!r}" for one in faults)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter", detail, faults=faults)


def _parameter_words(one: dict[str, Any]) -> str:
    if one["type"] == "enum":
        return f"expected one of {one['ctx']['expected']}"
    return str(one["msg"])


def _http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    return Problem(status, status.phrase.lower().replace(" ", "_"), str(error.detail), headers=headers)


_TRANSLATIONS: Final[dict[type[Exception], Callable[[Any], Problem]]] = {
    Problem: lambda error: error,
    InvalidRequest: lambda error: invalid(error.faults),
    NotFound: _not_found,
    CatalogUnavailable: _no_catalog,
    IdempotencyConflict: lambda error: Problem(HTTPStatus.CONFLICT, "idempotency_conflict", str(error)),
    NotUncertain: lambda error: Problem(HTTPStatus.CONFLICT, "not_uncertain", str(error)),
    AccountPaused: lambda error: Problem(HTTPStatus.CONFLICT, error.code, f"the account is paused: {error}"),
    SecretsRefused: lambda error: Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "secrets_refused", str(error)),
    OperationalError: _database_away,
    RequestValidationError: _parameters,
    HTTPException: _http,
}


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document."""
    for kind, translate in _TRANSLATIONS.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return translate(error).response(request)

    return answer

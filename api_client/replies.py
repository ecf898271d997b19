"""What a reply means: pure functions from status, headers and body to a value or an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import pydantic_core

from api_client.errors import (
    BadRequest,
    ErrorDetail,
    Forbidden,
    LinodeError,
    MethodNotAllowed,
    NotFound,
    OutcomeUnknown,
    Reason,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
)
from api_client.rates import RateInfo, parse_rate

T = TypeVar("T")

LONGEST_TEXT = 2_000
SHORTEST_SECRET = 4
MASK = "**********"

_REJECTIONS: dict[int, type[Rejected]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
}


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A success: the value, and what the reply said besides.

    rate: its rate headers. status: the HTTP status. request_id: its `X-Request-Id`, if any.
    scopes: what the token may do (`X-OAuth-Scopes`), None when the reply did not say; `unknown` in it marks a
    token that the API does not recognise (a public GET succeeds with one all the same).
    sent_at: when the call was made, in epoch seconds by our clock. elapsed: seconds until it was read.
    written: seconds until its last byte was written, None when the transport did not say.
    """

    value: T
    rate: RateInfo
    status: int
    request_id: str | None = None
    scopes: frozenset[str] | None = None
    sent_at: float = 0.0
    elapsed: float = 0.0
    written: float | None = None

    @property
    def token_recognised(self) -> bool | None:
        """Whether the API knows the token; None when the reply did not say."""
        return None if self.scopes is None else "unknown" not in self.scopes


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply as it came: headers by lower-case name.

    `body` is None when it could not be read whole; then `flaw` says why, and `cause` is the foreign error.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None = field(repr=False)
    flaw: str = ""
    cause: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether the reply is a success that was read whole."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES and self.body is not None


def describe(bare: ErrorDetail, answer: Answer, *, now: float, secrets: Iterable[str]) -> ErrorDetail:
    """The call's detail, filled in with what its reply said; secrets that the reply echoes are masked."""
    headers = answer.headers
    errors = tuple(_masked(reason, secrets) for reason in read_errors(answer.body))
    return replace(
        bare,
        summary=answer.flaw or _summary(answer.status, has_words=bool(errors)),
        status=answer.status,
        errors=errors,
        rate=parse_rate(headers, now=now),
        request_id=request_id(headers),
        scopes=parse_scopes(headers.get("x-oauth-scopes")),
        maintenance=_short(headers.get("x-maintenance-mode")),
    )


def error_class(status: int, *, has_words: bool) -> type[LinodeError]:
    """The branch of the tree for a status; `has_words` says whether the body is the API's own `errors`."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFault
    definite = HTTPStatus.BAD_REQUEST <= status != HTTPStatus.REQUEST_TIMEOUT
    return _REJECTIONS.get(status, Rejected) if definite and has_words else OutcomeUnknown


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is any of its types
    """The body as JSON; an empty one is None. Raises ValueError, which quotes nothing of the body."""
    return pydantic_core.from_json(body) if body.strip() else None


def read_errors(body: bytes | None) -> tuple[Reason, ...]:
    """The API's `errors` list; empty when the body is anything else."""
    try:
        found = read_json(body or b"")
    except ValueError:
        return ()
    entries = found.get("errors") if isinstance(found, dict) else None
    return tuple(_reasons(entries)) if isinstance(entries, list) else ()


def parse_scopes(text: str | None) -> frozenset[str] | None:
    """The scopes in an `X-OAuth-Scopes` header, which separates them by spaces."""
    return None if text is None else frozenset(text.replace(",", " ").split())


def request_id(headers: Mapping[str, str]) -> str | None:
    """The reply's `X-Request-Id`, if it has one."""
    return _short(headers.get("x-request-id"))


def _reasons(entries: list[Any]) -> Iterable[Reason]:
    for entry in entries:
        reason = entry.get("reason") if isinstance(entry, dict) else None
        if isinstance(reason, str):
            field = entry.get("field")
            yield Reason(reason, field if isinstance(field, str) else None)


def _masked(entry: Reason, secrets: Iterable[str]) -> Reason:
    """Frameworks may quote the input in their errors. Masking very short secrets would garble words."""
    reason = entry.reason
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            reason = reason.replace(secret, MASK)
    return Reason(reason[:LONGEST_TEXT], _short(entry.field))


def _short(text: str | None) -> str | None:
    return None if text is None else text[:200]


def _summary(status: int, *, has_words: bool) -> str:
    known = status in HTTPStatus._value2member_map_
    phrase = HTTPStatus(status).phrase if known else "unknown status"
    return phrase if has_words else f"{phrase}, without the API's own words"

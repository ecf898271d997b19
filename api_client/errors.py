# ruff: noqa: N818 - each name says what became of the call; that all of them are errors is plain
"""What can go wrong with a call, cut by what the caller does next.

LinodeError
  x NotSent              nothing reached the server     -> send again later, it costs nothing
  x OutcomeUnknown       it may have been applied       -> look before sending a write again
    + ServerFault        the server said 5xx            -> the same, and go easy on the server
  x Throttled            429, certainly not applied     -> wait for the window (`rate`), then send again
  x Rejected             a definite no, in JSON         -> do not send this again as it is
    + BadRequest         400: read `errors`
    + Unauthorized       401: invalid token, or a token without the scope
    + Forbidden          403: the user behind the token lacks a grant
    + NotFound           404: there is no such thing
    + MethodNotAllowed   405

`Rejected` needs the API's own words: a JSON object with a non-empty `errors` list. A 4xx with anything else
in it was written by some load balancer or proxy that does not know what the API did: it is `OutcomeUnknown`.
So are 408, every 1xx and 3xx, and a 2xx that cannot be read. 429 counts whatever its body is.

No error holds a secret: neither its text, repr, args, attributes nor its pickle. The foreign error stays
reachable as `__cause__`, stripped of its request and of its traceback, whose frames hold headers and body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from api_client.rates import UNKNOWN_RATE, RateInfo

READS = frozenset({"GET", "HEAD"})


class Reason(NamedTuple):
    """One entry of the API's `errors` list: its words, and the request field they are about, if any."""

    reason: str
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.reason} ({self.field})" if self.field else self.reason


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Everything an error knows, as one picklable value without secrets.

    method, path: the call; the path is relative to the base URL and has no query.
    summary: what happened, in a few words of ours.
    status: the HTTP status, None when no reply was read.
    errors: the API's own words, in its order; empty when it gave none.
    rate: the reply's rate headers (all unknown when there was no reply).
    request_id: the reply's `X-Request-Id`, if any.
    scopes: the reply's `X-OAuth-Scopes`, None when it was not sent.
    maintenance: the reply's `X-Maintenance-Mode` header, None when it was not sent.
    written: seconds from the call's beginning until its last byte was written; None: unknown, or it never was.
    """

    method: str
    path: str
    summary: str
    status: int | None = None
    errors: tuple[Reason, ...] = ()
    rate: RateInfo = UNKNOWN_RATE
    request_id: str | None = None
    scopes: frozenset[str] | None = None
    maintenance: str | None = None
    written: float | None = None


class LinodeError(Exception):
    """A call did not end in a readable success; the subclass says what to do about it."""

    def __init__(self, detail: ErrorDetail) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        words = "; ".join(map(str, self.errors)) or self.detail.summary
        status = f"{self.status} " if self.status else ""
        return f"{self.method} {self.path}: {status}{words}"

    @property
    def method(self) -> str:
        """The HTTP method of the call."""
        return self.detail.method

    @property
    def path(self) -> str:
        """The path of the call, relative to the base URL, without query."""
        return self.detail.path

    @property
    def status(self) -> int | None:
        """The HTTP status, None when no reply was read."""
        return self.detail.status

    @property
    def errors(self) -> tuple[Reason, ...]:
        """The API's `errors` list as (reason, field) pairs; empty when it gave none."""
        return self.detail.errors

    @property
    def reasons(self) -> tuple[str, ...]:
        """The API's words alone, one string per entry of `errors`."""
        return tuple(entry.reason for entry in self.errors)

    @property
    def rate(self) -> RateInfo:
        """What the reply said about the rate window."""
        return self.detail.rate

    @property
    def request_id(self) -> str | None:
        """The reply's `X-Request-Id`, to quote to the provider's support."""
        return self.detail.request_id

    @property
    def scopes(self) -> frozenset[str] | None:
        """The scopes of the token as the reply named them; None when it did not."""
        return self.detail.scopes

    @property
    def maintenance(self) -> bool:
        """Whether the reply carried `X-Maintenance-Mode`."""
        return self.detail.maintenance is not None

    @property
    def outcome_unknown(self) -> bool:
        """Whether the server may have applied the call; a read has nothing to apply, so it is False there."""
        return isinstance(self, OutcomeUnknown) and self.method not in READS


class NotSent(LinodeError):
    """Nothing reached the server: refused connection, DNS, TLS, connect or pool timeout, or sent too late."""


class OutcomeUnknown(LinodeError):
    """The call may have been applied: timeout, reset, 408, or a reply that cannot be read or trusted."""


class ServerFault(OutcomeUnknown):
    """The server answered 5xx; a write may have been applied all the same."""


class Throttled(LinodeError):
    """The server answered 429 and did not apply the call; `rate` says what it said about the window."""


class Rejected(LinodeError):
    """The API said no in its own JSON, and did not apply the call; `errors` holds its words."""


class BadRequest(Rejected):
    """400: the request as it stands is refused; beware `Linode busy.` and the label's uniqueness."""


class Unauthorized(Rejected):
    """401: the token is invalid, or lacks the scope for this call (the API does not use 403 for that)."""


class Forbidden(Rejected):
    """403: the user behind the token lacks the grant."""


class NotFound(Rejected):
    """404: there is no such thing, in the API's own words."""


class MethodNotAllowed(Rejected):
    """405: the path does not take this method."""

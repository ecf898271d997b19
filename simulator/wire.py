"""What goes over the wire, as values: a request, a reply with its transport effect, and API errors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["reply", "reset", "refuse", "hang", "cut"]
"""How the edge ends a call.

reply: whole. reset: the connection breaks without a reply. refuse: as if nothing listened. hang: no reply
ever. cut: the status and headers are right, but the connection ends before the body does.
"""

Headers = tuple[tuple[str, str], ...]
JSON_TYPE = ("Content-Type", "application/json")
HTML_TYPE = ("Content-Type", "text/html")


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One call. Header names are lower case; ``path`` may be percent-encoded; ``query`` has no ``?``."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class SimReply:
    """What to answer, and how.

    ``delay`` is in seconds, before the first byte (and before any outcome). Where the outcome is no reply, status
    is 0.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    outcome: Outcome = "reply"
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Complaint:
    """One object of an ``errors`` list: there are no machine codes, only words and sometimes a field."""

    reason: str
    field: str | None = None

    def shown(self) -> dict[str, str]:
        """The object as the API sends it: without ``field`` where there is none."""
        if self.field is None:
            return {"reason": self.reason}
        return {"reason": self.reason, "field": self.field}


class ApiError(Exception):
    """A refusal with a status and the API's own words."""

    def __init__(self, status: int, complaints: Sequence[Complaint]) -> None:
        super().__init__(status, complaints)
        self.status = status
        self.complaints = tuple(complaints)


def refusal(status: int, reason: str, field: str | None = None) -> ApiError:
    """An error that says one thing."""
    return ApiError(status, [Complaint(reason, field)])


def encode(payload: Any) -> bytes:  # noqa: ANN401  # JSON is any
    """JSON bytes, compact."""
    return json.dumps(payload, separators=(",", ":")).encode()


def error_body(complaints: Sequence[Complaint]) -> bytes:
    """The ``errors`` object of a refusal."""
    return encode({"errors": [complaint.shown() for complaint in complaints]})

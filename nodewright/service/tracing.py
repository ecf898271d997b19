"""A request's id, in and out, and the caller's trace.

The id is taken from ``X-Request-Id`` where it is usable, and stands in every answer, every log line and the
fleet's row. ``traceparent`` (W3C trace context) is kept with the fleet and in log lines; a malformed one is ignored, as
W3C asks.
"""

import re
import time
import uuid
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodewright.logs import FilteringBoundLogger
from nodewright.service.problems import Problem

HEADER: Final = "X-Request-Id"
TRACE_HEADER: Final = "traceparent"
_USABLE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACE: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_LONGEST_TRACE: Final = 256


def traceparent(value: str) -> str | None:
    """Return a W3C trace context if it is one, else None.

    >>> traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    >>> traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    """
    found = _TRACE.fullmatch(value) if len(value) <= _LONGEST_TRACE and value.isprintable() else None
    if found is None or found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0"):
        return None
    # Later versions may say more at the end; the first one does not.
    return None if found[1] == "00" and found[4] else value


_ABOUT: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)
_NAMED: Final = {"job_id": "job", "ref": "fleet", "fleet_id": "fleet"}
"""What a path names, and how log lines call it."""


def about(**facts: str) -> None:
    """Say for the log what the present request is about, such as the fleet that it made."""
    known = _ABOUT.get()
    if known is not None:
        known.update(facts)


class Tracing:
    """ASGI middleware: gives each request its id, logs it, and answers for what nobody else caught."""

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        exchange = _Exchange(given if _USABLE.fullmatch(given) else uuid.uuid4().hex, send)
        state = scope.setdefault("state", {})
        state["request_id"] = exchange.request_id
        state["traceparent"] = traceparent(headers.get(TRACE_HEADER, ""))
        began = time.perf_counter()
        # Threads that answer have a copy of the context: what they say is written into the one thing in it.
        said: dict[str, str] = {}
        _ABOUT.set(said)
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the outermost place: it is logged, and answered
            self._log.exception("request failed", **{**_facts(scope), **said}, error=type(error).__name__)
            if exchange.status is None:
                await _failure(Request(scope))(scope, receive, exchange.send)
        finally:
            seconds = round(time.perf_counter() - began, 4)
            facts = {**_facts(scope), **said}
            self._log.info("request", **facts, status=exchange.status, seconds=seconds)


class _Exchange:
    """What is known of one answer."""

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.status: int | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on, with the id among its headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self.request_id
        await self._send(message)


def _facts(scope: Scope) -> dict[str, Any]:
    # No query: what somebody puts there by mistake must not end in a log.
    state = scope["state"]
    facts = {"method": scope["method"], "path": scope["path"], "request_id": state["request_id"]}
    given = scope.get("path_params", {})
    facts |= {_NAMED[name]: value for name, value in given.items() if name in _NAMED}
    return {**facts, "traceparent": state["traceparent"]} if state["traceparent"] else facts


def _failure(request: Request) -> ASGIApp:
    detail = "the service met an error of its own; its log has the request id"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail).response(request)

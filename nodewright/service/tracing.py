"""A request's id, in and out: taken from ``X-Request-Id`` where it is usable, in every answer and log line."""

import re
import time
import uuid
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodewright.logs import FilteringBoundLogger
from nodewright.service.problems import Problem

HEADER: Final = "X-Request-Id"
_USABLE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestIds:
    """ASGI middleware: gives each request its id, logs it, and answers for what nobody else caught."""

    def __init__(self, app: ASGIApp, log: FilteringBoundLogger) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        exchange = _Exchange(given if _USABLE.fullmatch(given) else uuid.uuid4().hex, send)
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        began = time.perf_counter()
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the outermost place: it is logged, and answered
            self._log.exception("request failed", request_id=exchange.request_id, error=type(error).__name__)
            if exchange.status is None:
                await _failure(Request(scope))(scope, receive, exchange.send)
        finally:
            seconds = round(time.perf_counter() - began, 4)
            self._log.info("request", **_facts(scope), status=exchange.status, seconds=seconds)


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
    return {"method": scope["method"], "path": scope["path"], "request_id": scope["state"]["request_id"]}


def _failure(request: Request) -> ASGIApp:
    detail = "the service met an error of its own; its log has the request id"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail).response(request)

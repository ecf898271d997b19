"""What one service process counts itself: the requests that it answers."""

import time
from collections.abc import Callable
from http import HTTPMethod, HTTPStatus
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nodewright.metrics import METRICS

NOWHERE: Final = "(none)"
"""The route of a request that no route takes."""
_OTHER: Final = "OTHER"
_METHODS: Final = frozenset(HTTPMethod)
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Meter:
    """Counts what this process answers. Labels are route templates, so that nobody's paths make new series."""

    def __init__(self, monotonic: Callable[[], float] = time.perf_counter) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a twin: since when
        self.registry = CollectorRegistry(auto_describe=False)
        self.monotonic = monotonic
        said = METRICS["nodewright_http_requests_total"]
        self._requests = Counter(said.name, said.documentation, said.labels, registry=self.registry)
        said = METRICS["nodewright_http_request_seconds"]
        self._seconds = Histogram(
            said.name, said.documentation, said.labels, registry=self.registry, buckets=_BOUNDS
        )
        said = METRICS["nodewright_build_info"]
        info = Gauge(said.name, said.documentation, said.labels, registry=self.registry)
        info.labels(version("nodewright")).set(1)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        known = method if method in _METHODS else _OTHER
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)


class Metered:
    """ASGI middleware: measures each request until its answer begins, because streams last for minutes."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._meter)
        try:
            await self._app(scope, receive, exchange.send)
        finally:
            # Whoever broke off without an answer is given a 500 further out.
            exchange.count(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Exchange:
    """One request that is being answered."""

    def __init__(self, scope: Scope, send: Send, meter: Meter) -> None:
        self._scope = scope
        self._send = send
        self._meter = meter
        self._began = meter.monotonic()
        self._counted = False

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one is counted."""
        if message["type"] == "http.response.start":
            self.count(message["status"])
        await self._send(message)

    def count(self, status: int) -> None:
        """Count the answer, once."""
        if self._counted:
            return
        self._counted = True
        route = getattr(self._scope.get("route"), "path", NOWHERE)
        self._meter.answered(self._scope["method"], route, status, self._meter.monotonic() - self._began)

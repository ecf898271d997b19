"""Whether the service lives, is ready, and how it does: for load balancers, Kubernetes and Prometheus."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.service import Service
from jobs.states import State
from jobs.views import Status
from nodewright import answers as shapes
from nodewright.service.access import Overseer
from nodewright.service.deps import Deps
from nodewright.service.openapi import Responses, problem
from nodewright.service.problems import RETRY_SECONDS, Problem


def livez() -> dict[str, str]:
    """Answer that the process is alive."""
    return {"status": "alive"}


def readyz(deps: Deps) -> dict[str, Any]:
    """Answer whether requests can be served: the database is there and at the right version."""
    why_not = deps.ready()
    if why_not is not None:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", why_not, headers=headers)
    return {"status": "ready", "catalog": deps.service.catalog_state()}


def metrics(deps: Deps, reader: Overseer) -> Response:  # noqa: ARG001 - who may read it
    """Answer a few gauges in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(deps.service))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Gauges(Collector):
    """Reads the numbers when they are asked for: they are the table's, not this process's."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield each gauge."""
        status = self._service.status()
        yield _jobs(status)
        yield _windows("nodewright_rate_window_calls", "Calls that the window allows.", status, "allowed")
        yield _windows("nodewright_rate_window_spent", "Calls spent in the window.", status, "spent")
        yield _windows("nodewright_rate_window_refused_total", "Calls answered 429.", status, "refused")
        yield _alarms(status)
        yield _refused(self._service.refused_messages())
        yield from _ages(status)


def _jobs(status: Status) -> GaugeMetricFamily:
    family = GaugeMetricFamily("nodewright_jobs", "Jobs by state.", labels=["state"])
    for state in State:
        family.add_metric([state.value], status.states.get(state, 0))
    return family


def _windows(name: str, documentation: str, status: Status, field: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=["account", "token", "route", "bucket"])
    for window in status.windows:
        labels = [window.account, window.token, window.route, str(window.bucket)]
        family.add_metric(labels, getattr(window, field))
    return family


def _alarms(status: Status) -> GaugeMetricFamily:
    family = GaugeMetricFamily("nodewright_alarms", "Alarms that a person should look at.", labels=["code"])
    codes = [alarm.code for alarm in status.alarms]
    for code in sorted(set(codes)):
        family.add_metric([code], codes.count(code))
    return family


def _refused(count: int) -> GaugeMetricFamily:
    text = "Fleets sent by Celery that can never be accepted."
    return GaugeMetricFamily("nodewright_refused_messages_total", text, count)


def _ages(status: Status) -> Iterator[GaugeMetricFamily]:
    moments = {"catalog": status.catalog_fetched_at, "worker": status.worker_seen_at}
    for name, moment in moments.items():
        if moment is not None:
            age = (datetime.now(UTC) - moment).total_seconds()
            yield GaugeMetricFamily(
                f"nodewright_{name}_age_seconds", f"Seconds since the {name} was seen.", age
            )


def install(app: FastAPI) -> None:
    """Put the routes on ``app``."""
    add = app.add_api_route
    add("/livez", livez, methods=["GET"], tags=["health"], response_model=shapes.Alive)
    add(
        "/readyz",
        readyz,
        methods=["GET"],
        tags=["health"],
        response_model=shapes.Ready,
        responses={503: problem(503)},
    )
    text = {"description": "The gauges.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    responses: Responses = {200: text, 401: problem(401), 403: problem(403), 503: problem(503)}
    add("/metrics", metrics, methods=["GET"], tags=["health"], response_class=Response, responses=responses)

"""``/metrics``, which Prometheus reads. Most of it comes from the database, so that it outlives every process."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from jobs import tallies
from jobs.alarms import CODES, WORKER_SILENT
from jobs.gauges import Gauges, Readings, WindowGauge
from jobs.states import Event, State
from jobs.views import usd
from nodewright.metrics import METRICS
from nodewright.service.access import MetricsReader
from nodewright.service.deps import ServiceDeps
from nodewright.service.metering import Meter, Metered
from nodewright.service.openapi import Responses, problem

KEPT_SECONDS: Final = 1.0
"""Who asks again so soon is shown the same."""
_TIMES: Final = 20
"""Where reading takes long, what was read is shown for so many times as long: it takes 5 % of a core at most."""
_LONGEST: Final = 30.0

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]
Tallies = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


def metrics(request: Request, reader: MetricsReader) -> Response:  # noqa: ARG001 - who may read it
    """Answer every metric, in Prometheus' text format or as OpenMetrics, whichever is asked for."""
    registry: CollectorRegistry = request.app.state.metrics
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=kind)


def install(app: FastAPI) -> None:
    """Put the route on ``app``, and measure what the app answers."""
    deps: ServiceDeps = app.state.deps

    def read() -> Readings:
        return deps.service.readings()

    meter = Meter()
    meter.registry.register(DatabaseCollector(read))
    app.state.metrics = meter.registry
    app.add_middleware(Metered, meter=meter)
    text = {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    responses: Responses = {200: text, 401: problem(401), 403: problem(403), 503: problem(503)}
    app.add_api_route(
        "/metrics", metrics, methods=["GET"], tags=["health"], response_class=Response, responses=responses
    )


class DatabaseCollector(Collector):
    """Shows what the database knows; what was read is kept for a moment."""

    def __init__(
        self, readings: Callable[[], Readings], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._readings = readings
        self._monotonic = monotonic
        self._reading = threading.Lock()
        self._kept: tuple[Sequence[Metric], float] = ((), 0.0)

    def describe(self) -> list[Metric]:
        """Describe nothing, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        with self._reading:  # who asks meanwhile waits, and is shown the same
            found, until = self._kept
            began = self._monotonic()
            if not found or began >= until:
                found = tuple(families(self._readings()))
                now = self._monotonic()
                self._kept = (found, now + min(max(KEPT_SECONDS, (now - began) * _TIMES), _LONGEST))
        yield from found


# A counter that appears with its first count, and not at 0 before, has grown by nothing in Prometheus' eyes.
_EXPLAINED: Final = (State.FAILED, State.REJECTED)
_ENDS: Final = tuple(
    (state.value, code)
    for state in tallies.ENDS
    for code in (tallies.CODES if state in _EXPLAINED else ("",))
)
_EVENTS: Final = tuple((event.value,) for event in Event)


# Families ------------------------------------------------------------------------------------------------------------


def families(read: Readings) -> Iterator[Metric]:
    """Yield each metric that the database knows."""
    yield from _of_jobs(read)
    yield from _of_calls(read)
    yield from _of_house(read)
    codes = sorted({*CODES, *read.alarms})
    yield _gauge("nodewright_alarms", (((code,), read.alarms.get(code, 0)) for code in codes))


def _of_jobs(read: Readings) -> Iterator[Metric]:
    now = read.gauges
    yield _gauge("nodewright_jobs", (((state.value,), read.states.get(state, 0)) for state in State))
    yield _gauge("nodewright_jobs_parked", [((), now.parked)])
    yield _tallied(tallies.ENDED, read.tallies, begin=_ENDS)
    yield _tallied(tallies.EVENTS, read.tallies, begin=_EVENTS)
    for name in tallies.BUCKETS:
        yield _histogram(name, read.tallies)
    yield _gauge("nodewright_job_events_unfolded", [((), now.unfolded)])
    yield _gauge("nodewright_queue_oldest_seconds", [((), _age(now, now.oldest_waiting_at))])
    yield _gauge("nodewright_spend_usd_per_hour", [((), usd(now.hourly_microusd))])


def _of_calls(read: Readings) -> Iterator[Metric]:
    windows = read.gauges.windows
    yield _gauge("nodewright_rate_window_limit", ((_bucket(one), one.limit) for one in windows))
    # Without a limit any number is left, which no number says.
    limited = ((_bucket(one), one.left) for one in windows if one.limit)
    yield _gauge("nodewright_rate_window_left", limited)
    yield _gauge("nodewright_rate_window_seconds", ((_bucket(one), one.seconds) for one in windows))
    refused: dict[Labels, int] = {}
    for one in windows:
        key = _bucket(one)[:-1]
        refused[key] = refused.get(key, 0) + one.refused
    yield _counter("nodewright_linode_refused_total", refused.items())
    yield _tallied(tallies.REQUESTS, read.tallies)


def _bucket(window: WindowGauge) -> Labels:
    return (window.account, window.token, window.route, str(window.bucket))


def _of_house(read: Readings) -> Iterator[Metric]:
    now = read.gauges
    yield _gauge("nodewright_accounts_paused", (((by,), count) for by, count in now.paused.items()))
    yield _gauge("nodewright_paused", [((), int(now.held))])
    alive = sum(now.now - at <= WORKER_SILENT for at in now.workers.values())
    yield _gauge("nodewright_workers", [((), alive)])
    yield _gauge("nodewright_worker_heartbeat_age_seconds", [((), _age(now, now.worker_seen_at))])
    failing = ((tallies.chore_labels(name), int(fails)) for name, fails in now.chores)
    yield _gauge("nodewright_chore_failing", failing)
    yield _tallied(tallies.CHORES_FAILED, read.tallies)
    ages = (((account, kind), _age(now, at)) for account, kind, at in now.catalogs)
    yield _gauge("nodewright_catalog_age_seconds", ages)
    backlog = (((state,), count) for state, count in now.deliveries.items())
    yield _gauge("nodewright_webhook_deliveries", backlog)
    yield _gauge("nodewright_webhooks_disabled", [((), now.endpoints_disabled)])
    yield _counter("nodewright_refused_messages_total", [((), now.refused_messages)])


def _age(now: Gauges, moment: datetime | None) -> float:
    return 0.0 if moment is None else max((now.now - moment).total_seconds(), 0.0)


def _gauge(name: str, samples: Samples) -> Metric:
    said = METRICS[name]
    family = GaugeMetricFamily(said.name, said.documentation, labels=said.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _counter(name: str, samples: Samples) -> Metric:
    said = METRICS[name]
    family = CounterMetricFamily(said.name, said.documentation, labels=said.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _tallied(name: str, found: Tallies, begin: Iterable[Labels] = ()) -> Metric:
    labels = METRICS[name].labels
    values = dict.fromkeys(begin, 0.0)
    values |= {tuple(said[label] for label in labels): value for said, value in found.get(name, ())}
    return _counter(name, values.items())


def _histogram(name: str, found: Tallies) -> Metric:
    said = METRICS[name]
    counts = {labels["le"]: value for labels, value in found.get(f"{name}_bucket", ())}
    bounds = [*(str(float(bound)) for bound in tallies.BUCKETS[name]), "+Inf"]
    heights = accumulate(counts.get(bound, 0) for bound in bounds)
    total = sum(value for _, value in found.get(f"{name}_sum", ()))
    family = HistogramMetricFamily(said.name, said.documentation)
    family.add_metric((), buckets=list(zip(bounds, heights, strict=True)), sum_value=total)
    return family

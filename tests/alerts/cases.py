"""For each alert rule: metrics with which it fires, and metrics with which it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SERVICE: Final = 'job="nodewright",instance="one"'
"""The labels that Prometheus itself puts on what it reads."""


@dataclass(frozen=True)
class Case:
    """Metrics over time, in promtool's words, and whether the alert fires at ``minute``.

    series: metric with its own labels → its values, one a minute. labels: the alert's, beside its severity.
    """

    alert: str
    fires: bool
    minute: int
    series: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


def fires(alert: str, minute: int, series: Mapping[str, str], **labels: str) -> Case:
    """Return a case in which the alert fires."""
    return Case(alert, True, minute, series, {"job": "nodewright", **labels})


def quiet(alert: str, minute: int, series: Mapping[str, str]) -> Case:
    """Return a case in which it does not."""
    return Case(alert, False, minute, series)


_SENT: Final = 'nodewright_job_events_total{event="sent"}'
_FAILED: Final = 'nodewright_jobs_ended_total{outcome="failed",code="no_capacity"}'
_RAN: Final = 'nodewright_jobs_ended_total{outcome="running",code=""}'
_REFUSED: Final = (
    'nodewright_linode_refused_total{account="default",token="t",route="POST /linode/instances"}'
)
_CATALOG: Final = 'nodewright_catalog_age_seconds{account="default",kind="types"}'
_CHORE: Final = 'nodewright_chore_failing{chore="watch",account="default"}'
_PENDING: Final = 'nodewright_webhook_deliveries{state="pending"}'
_DEAD: Final = 'nodewright_webhook_deliveries{state="dead"}'
_GOOD: Final = 'nodewright_http_requests_total{method="GET",route="/v1/jobs",status="200"}'
_BAD: Final = 'nodewright_http_requests_total{method="GET",route="/v1/jobs",status="500"}'
_LATENCY: Final = 'nodewright_http_request_seconds_bucket{{method="GET",route="/v1/jobs",le="{}"}}'
_STUCK: Final = {
    "nodewright_queue_oldest_seconds": "600+60x30",
    _SENT: "50x30",
    "nodewright_paused": "0x30",
    'nodewright_accounts_paused{by="api"}': "0x30",
}

CASES: Final = (
    fires("NodewrightDown", 4, {"up": "1 0x10"}, instance="one"),
    quiet("NodewrightDown", 4, {"up": "1x10"}),
    quiet("NodewrightDown", 2, {"up": "1 0x10"}),
    fires("NodewrightNoWorker", 5, {"nodewright_worker_heartbeat_age_seconds": "5 65+60x10"}),
    quiet("NodewrightNoWorker", 5, {"nodewright_worker_heartbeat_age_seconds": "5x10"}),
    fires("NodewrightAlarm", 4, {'nodewright_alarms{code="parked"}': "0 1x10"}, code="parked"),
    quiet("NodewrightAlarm", 4, {'nodewright_alarms{code="parked"}': "0x10"}),
    quiet("NodewrightAlarm", 4, {'nodewright_alarms{code="ttl_soon"}': "1x10"}),
    fires(
        "NodewrightPausedForLong",
        250,
        {'nodewright_alarms{code="fleet_paused"}': "1x300"},
        code="fleet_paused",
    ),
    quiet("NodewrightPausedForLong", 200, {'nodewright_alarms{code="fleet_paused"}': "1x300"}),
    fires("NodewrightQueueStuck", 20, _STUCK),
    quiet("NodewrightQueueStuck", 20, {**_STUCK, _SENT: "50+20x30"}),
    quiet("NodewrightQueueStuck", 20, {**_STUCK, "nodewright_queue_oldest_seconds": "30x30"}),
    quiet("NodewrightQueueStuck", 20, {**_STUCK, "nodewright_paused": "1x30"}),
    quiet("NodewrightQueueStuck", 20, {**_STUCK, 'nodewright_accounts_paused{by="api"}': "1x30"}),
    fires("NodewrightJobsFail", 40, {_FAILED: "0+1x60", _RAN: "0+2x60"}),
    quiet("NodewrightJobsFail", 40, {_FAILED: "0+1x60", _RAN: "0+20x60"}),
    quiet("NodewrightJobsFail", 40, {_FAILED: "0x30 3x30", _RAN: "0x60"}),
    fires(
        "NodewrightUncertainForLong", 40, {'nodewright_jobs{state="uncertain"}': "0 2x60"}, state="uncertain"
    ),
    quiet("NodewrightUncertainForLong", 40, {'nodewright_jobs{state="uncertain"}': "2x20 0x60"}),
    fires("NodewrightRefused", 40, {_REFUSED: "0+1x60"}, account="default", token="t"),
    quiet("NodewrightRefused", 40, {_REFUSED: "0x20 1x60"}),
    fires("NodewrightCatalogOld", 75, {_CATALOG: "0+60x90"}, account="default", kind="types"),
    quiet("NodewrightCatalogOld", 75, {_CATALOG: "900x90"}),
    fires("NodewrightChoreFailing", 20, {_CHORE: "0 1x30"}, chore="watch", account="default"),
    quiet("NodewrightChoreFailing", 20, {_CHORE: "1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1"}),
    fires("NodewrightWebhooksBehind", 40, {_PENDING: "101x60"}, state="pending"),
    quiet("NodewrightWebhooksBehind", 40, {_PENDING: "101x20 40x40"}),
    fires("NodewrightWebhooksGivenUp", 30, {_DEAD: "2x20 3x60"}, state="dead"),
    quiet("NodewrightWebhooksGivenUp", 85, {_DEAD: "2x20 3x90"}),
    fires("NodewrightMessagesRefused", 30, {"nodewright_refused_messages_total": "2x20 3x60"}),
    quiet("NodewrightMessagesRefused", 30, {"nodewright_refused_messages_total": "2x60"}),
    fires("NodewrightSpendsMuch", 20, {"nodewright_spend_usd_per_hour": "45x30"}),
    quiet("NodewrightSpendsMuch", 20, {"nodewright_spend_usd_per_hour": "35x30"}),
    fires("NodewrightServiceFails", 20, {_GOOD: "0+90x30", _BAD: "0+10x30"}, instance="one"),
    quiet("NodewrightServiceFails", 20, {_GOOD: "0+990x30", _BAD: "0+10x30"}),
    fires(
        "NodewrightServiceSlow",
        25,
        {
            _LATENCY.format("1"): "0+90x30",
            _LATENCY.format("5"): "0+100x30",
            _LATENCY.format("+Inf"): "0+100x30",
        },
        instance="one",
    ),
    quiet(
        "NodewrightServiceSlow",
        25,
        {
            _LATENCY.format("1"): "0+99x30",
            _LATENCY.format("5"): "0+100x30",
            _LATENCY.format("+Inf"): "0+100x30",
        },
    ),
    fires("NodewrightCountersBehind", 15, {"nodewright_job_events_unfolded": "20000x30"}),
    quiet("NodewrightCountersBehind", 15, {"nodewright_job_events_unfolded": "20000x5 30x20"}),
)
"""Each alert is in here with both."""

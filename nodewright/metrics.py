"""Every metric of ``/metrics``: the reference page is generated from this table, and what is not in it is not shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs import tallies

PER_PROCESS: Final = "process"
SHARED: Final = "database"


@dataclass(frozen=True)
class Declared:
    """One metric: its name as rules and dashboards write it, what it is and tells, its labels, where it is kept."""

    name: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    documentation: str
    labels: tuple[str, ...] = ()
    kept: str = SHARED
    """:data:`SHARED`: the same from every service. :data:`PER_PROCESS`: one service's own, since its start."""


_WINDOW: Final = ("account", "token", "route", "bucket")
_CHORE: Final = ("chore", "account")
_DECLARED: Final = (
    Declared("nodewright_jobs", "gauge", "Jobs by state.", ("state",)),
    Declared("nodewright_jobs_parked", "gauge", "Uncertain jobs that a person has to settle."),
    Declared(
        tallies.ENDED,
        "counter",
        "Jobs that ended, by outcome and error code. A job that goes on and ends again counts again.",
        ("outcome", "code"),
    ),
    Declared(tallies.EVENTS, "counter", "Events on the timelines of jobs.", ("event",)),
    Declared(
        tallies.WAITING,
        "histogram",
        "From a job's acceptance, or its last retry, to the send that made its instance.",
    ),
    Declared(tallies.CREATING, "histogram", "From that send until the instance was known."),
    Declared(tallies.BOOTING, "histogram", "From then until the instance was seen up."),
    Declared(
        "nodewright_queue_oldest_seconds",
        "gauge",
        "Age of the oldest job that only the rate limit keeps from being sent; 0: there is none.",
    ),
    Declared("nodewright_rate_window_limit", "gauge", "Calls that a window allows; 0: any number.", _WINDOW),
    Declared("nodewright_rate_window_left", "gauge", "Calls that may be sent in a window now.", _WINDOW),
    Declared("nodewright_rate_window_seconds", "gauge", "Length of a window.", _WINDOW),
    Declared(
        "nodewright_linode_refused_total",
        "counter",
        "Calls within our windows that the Linode API answered 429.",
        ("account", "token", "route"),
    ),
    Declared(
        tallies.REQUESTS,
        "counter",
        "Calls of the workers to the Linode API by status; none: there was no answer.",
        ("method", "route", "status"),
    ),
    Declared("nodewright_spend_usd_per_hour", "gauge", "What all instances cost an hour now, in US dollars."),
    Declared(
        "nodewright_accounts_paused",
        "gauge",
        "Accounts that take no creates, by whose doing: api or person.",
        ("by",),
    ),
    Declared("nodewright_paused", "gauge", "1 while a person has paused everything."),
    Declared("nodewright_alarms", "gauge", "Alarms that a person should look at, by code.", ("code",)),
    Declared("nodewright_workers", "gauge", "Workers that were seen within the last 30 seconds."),
    Declared("nodewright_worker_heartbeat_age_seconds", "gauge", "Since any worker's loop last ran."),
    Declared("nodewright_chore_failing", "gauge", "1 where the last run of a chore failed.", _CHORE),
    Declared(tallies.CHORES_FAILED, "counter", "Runs of a chore that failed.", _CHORE),
    Declared(
        "nodewright_catalog_age_seconds",
        "gauge",
        "Since a catalog was read from the API.",
        ("account", "kind"),
    ),
    Declared(
        "nodewright_webhook_deliveries",
        "gauge",
        "Messages to webhooks that wait (pending) or were given up (dead).",
        ("state",),
    ),
    Declared("nodewright_webhooks_disabled", "gauge", "Webhooks that are disabled."),
    Declared(
        "nodewright_refused_messages_total", "counter", "Fleets sent by Celery that can never be accepted."
    ),
    Declared(
        "nodewright_job_events_unfolded",
        "gauge",
        "Events of jobs that the counters above do not count yet.",
    ),
    Declared(
        "nodewright_http_requests_total",
        "counter",
        "Requests that this service answered.",
        ("method", "route", "status"),
        PER_PROCESS,
    ),
    Declared(
        "nodewright_http_request_seconds",
        "histogram",
        "Until this service began to answer a request.",
        ("method", "route"),
        PER_PROCESS,
    ),
    Declared("nodewright_build_info", "gauge", "1, with this service's version.", ("version",), PER_PROCESS),
)
METRICS: Final[Mapping[str, Declared]] = {one.name: one for one in _DECLARED}
"""Every metric by its name."""


def series(name: str) -> tuple[str, ...]:
    """Return the names under which Prometheus keeps a metric."""
    if METRICS[name].kind != "histogram":
        return (name,)
    return (f"{name}_bucket", f"{name}_sum", f"{name}_count")

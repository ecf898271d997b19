"""What people and programs see of fleets and jobs: plain values, the same in CLI, HTTP and page."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jobs.states import PENDING, State


def moment(value: datetime | None) -> str | None:
    """Return a time as every face writes it: ISO 8601 in UTC, to the millisecond."""
    return None if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def usd(microusd: int) -> float:
    """Return micro-dollars as dollars."""
    return microusd / 1_000_000


@dataclass(frozen=True)
class ErrorView:
    """Why a job ended or waits."""

    code: str
    reason: str | None
    field: str | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {"code": self.code, "reason": self.reason, "field": self.field}


@dataclass(frozen=True)
class Spend:
    """What instances have cost so far, and the part that was paid for those that failed. In micro-dollars."""

    spent_microusd: int = 0
    wasted_microusd: int = 0
    hourly_microusd: int = 0
    """What they cost an hour now."""
    instances: int = 0
    """Those that are paid for now."""

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            self.spent_microusd + other.spent_microusd,
            self.wasted_microusd + other.wasted_microusd,
            self.hourly_microusd + other.hourly_microusd,
            self.instances + other.instances,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "spent_usd": usd(self.spent_microusd),
            "wasted_usd": usd(self.wasted_microusd),
            "hourly_usd": usd(self.hourly_microusd),
        }


@dataclass(frozen=True)
class TenantSpend:
    """What a tenant's fleets have cost so far."""

    tenant: str
    spend: Spend

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {"tenant": self.tenant, "instances": self.spend.instances, **self.spend.to_json()}


@dataclass(frozen=True)
class FleetSpend:
    """What a fleet has cost so far."""

    id: str
    name: str
    tenant: str
    spend: Spend

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "id": self.id,
            "name": self.name,
            "tenant": self.tenant,
            "instances": self.spend.instances,
            **self.spend.to_json(),
        }


@dataclass(frozen=True)
class FleetView:
    """A fleet with its jobs counted by state (only states that occur)."""

    id: str
    name: str
    tenant: str
    count: int
    states: dict[str, int]
    created_at: datetime
    request_id: str | None = None
    traceparent: str | None = None
    held_at: datetime | None = None
    """Since when a person has paused it."""
    not_before: datetime | None = None
    deadline: datetime | None = None
    """None: there is none, or it was seen to."""
    ttl_seconds: int | None = None
    boot_timeout_seconds: int | None = None
    stopped_at: datetime | None = None
    stop_reason: str | None = None
    spend: Spend = Spend()

    @property
    def settled(self) -> bool:
        """Whether no job of the fleet is at work any more."""
        return not any(self.states.get(state) for state in PENDING)

    @property
    def all_running(self) -> bool:
        """Whether every job of the fleet runs."""
        return self.states.get(State.RUNNING, 0) == self.count

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "id": self.id,
            "name": self.name,
            "count": self.count,
            "states": self.states,
            "created_at": moment(self.created_at),
            "request_id": self.request_id,
            "traceparent": self.traceparent,
            "held_at": moment(self.held_at),
            "not_before": moment(self.not_before),
            "deadline": moment(self.deadline),
            "ttl_seconds": self.ttl_seconds,
            "boot_timeout_seconds": self.boot_timeout_seconds,
            "stopped_at": moment(self.stopped_at),
            "stop_reason": self.stop_reason,
            **self.spend.to_json(),
        }


@dataclass(frozen=True)
class JobView:
    """One row of the results table."""

    id: str
    fleet_id: str
    fleet: str
    tenant: str
    position: int
    label: str
    type: str
    region: str
    image: str | None
    state: str
    attempt: int
    sends: int
    linode_id: int | None
    ipv4: str | None
    ipv6: str | None
    got_type: str | None
    got_region: str | None
    hourly_microusd: int
    error: ErrorView | None
    parked: bool
    submitted_at: datetime
    sent_at: datetime | None
    created_at: datetime | None
    running_at: datetime | None
    ended_at: datetime | None
    run_after: datetime | None
    ending: str | None
    """How it ends once its create's outcome is known: ``cancel``, ``fail``, or None: it goes on."""
    choice: int = 0
    """Which of its request's alternatives it is, or asks for now."""
    expires_at: datetime | None = None
    """When its instance is deleted."""
    group: int = 0
    """Which of its fleet's groups it is of, from 0."""
    spent_microusd: int = 0
    """What its instances have cost so far."""
    wasted_microusd: int = 0
    """The part of that which was paid for instances that failed."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "id": self.id,
            "label": self.label,
            "state": self.state,
            "linode_id": self.linode_id,
            "ipv4": self.ipv4,
            "ipv6": self.ipv6,
            "error": None if self.error is None else self.error.to_json(),
            "fleet_id": self.fleet_id,
            "fleet": self.fleet,
            "position": self.position,
            "type": self.got_type or self.type,
            "region": self.got_region or self.region,
            "image": self.image,
            "attempt": self.attempt,
            "sends": self.sends,
            "parked": self.parked,
            "ending": self.ending,
            "hourly_usd": usd(self.hourly_microusd),
            "spent_usd": usd(self.spent_microusd),
            "wasted_usd": usd(self.wasted_microusd),
            "submitted_at": moment(self.submitted_at),
            "sent_at": moment(self.sent_at),
            "created_at": moment(self.created_at),
            "running_at": moment(self.running_at),
            "ended_at": moment(self.ended_at),
            "run_after": moment(self.run_after),
            "choice": self.choice,
            "expires_at": moment(self.expires_at),
            "group": self.group,
        }


@dataclass(frozen=True)
class Asked:
    """What a job's request asked for: types, and regions that are alternatives, or that it was spread over."""

    types: tuple[str, ...]
    regions: tuple[str, ...]
    spread: bool

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {"types": list(self.types), "regions": list(self.regions), "spread": self.spread}


@dataclass(frozen=True)
class GroupView:
    """One group of a fleet's request, without what is secret or large."""

    index: int
    name: str | None
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {"index": self.index, "name": self.name, "tags": list(self.tags)}


@dataclass(frozen=True)
class EventView:
    """One line of a job's timeline."""

    at: datetime
    event: str
    state: str
    actor: str
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "at": moment(self.at),
            "event": self.event,
            "state": self.state,
            "actor": self.actor,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class JobDetail:
    """One job with its timeline, oldest line first."""

    job: JobView
    timeline: tuple[EventView, ...]
    asked: Asked

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        timeline = [event.to_json() for event in self.timeline]
        return {**self.job.to_json(), "asked": self.asked.to_json(), "timeline": timeline}


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at: a paused account, a parked job."""

    code: str
    message: str
    since: datetime | None
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "since": moment(self.since),
        }


@dataclass(frozen=True)
class WindowView:
    """A rate window as it stands."""

    account: str
    token: str
    """The token's id, which is its fingerprint."""
    route: str
    bucket: int
    allowed: int
    seconds: float
    spent: int
    opened_at: datetime | None
    closed_until: datetime | None
    refused: int
    refused_at: datetime | None
    withheld: int = 0
    """Calls of each window that we leave to others."""
    margin_seconds: float = 0.0
    """How much later than the window's end the next call goes: what the network's delays were seen to differ by."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "account": self.account,
            "token": self.token,
            "route": self.route,
            "bucket": self.bucket,
            "allowed": self.allowed,
            "seconds": self.seconds,
            "spent": self.spent,
            "opened_at": moment(self.opened_at),
            "closed_until": moment(self.closed_until),
            "refused": self.refused,
            "refused_at": moment(self.refused_at),
            "withheld": self.withheld,
            "margin_seconds": round(self.margin_seconds, 3),
        }


@dataclass(frozen=True)
class Status:
    """The service as a whole."""

    installation: str
    alarms: tuple[Alarm, ...]
    windows: tuple[WindowView, ...]
    catalog: str
    """``fresh``, ``stale``, ``none`` (not read yet) or ``failed`` (the first read failed)."""
    catalog_fetched_at: datetime | None
    worker_seen_at: datetime | None
    states: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "installation": self.installation,
            "alarms": [alarm.to_json() for alarm in self.alarms],
            "rate_windows": [window.to_json() for window in self.windows],
            "catalog": {"state": self.catalog, "fetched_at": moment(self.catalog_fetched_at)},
            "worker_seen_at": moment(self.worker_seen_at),
            "states": self.states,
        }

"""What the service answers, as frozen values: the client reads answers as these, and the OpenAPI document shows them.

A client is older or younger than its service now and then: fields that it does not know are kept, and those that it may
do without have a default. The service itself always sends every field.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

STATES: Final = (
    "submitted",
    "rejected",
    "queued",
    "dispatched",
    "creating",
    "uncertain",
    "booting",
    "running",
    "failed",
    "cancelled",
    "deleting",
    "deleted",
)
SETTLED: Final = frozenset({"running", "failed", "rejected", "cancelled", "deleted"})
"""States that nobody but a person changes."""
PAUSES: Final = frozenset({"unauthorized", "missing_scope", "account_limit", "paused"})
"""Codes of alarms with which an account takes no creates."""

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time as the service writes it: ISO 8601 in UTC, to the millisecond."""
StateName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(STATES)})]
Counts = Annotated[
    dict[str, int],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"enum": list(STATES)},
            "additionalProperties": {"type": "integer", "minimum": 0},
        }
    ),
]
"""How many jobs are in which state; only states that occur."""
Value = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="allow", json_schema_serialization_defaults_required=True)

    def to_json(self) -> dict[str, Any]:
        """Return it as the service sent it."""
        return self.model_dump(mode="json", by_alias=True)


# Jobs and fleets


class JobError(Answer):
    """Why a job ended otherwise, or what it waits for."""

    code: str
    reason: str | None = None
    field: str | None = None


class Job(Answer):
    """One job: one instance asked for."""

    id: str
    label: str
    state: StateName
    linode_id: int | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    error: JobError | None = None
    fleet_id: str = ""
    fleet: str = ""
    position: int = 0
    type: str = ""
    region: str = ""
    image: str | None = None
    attempt: int = 1
    sends: int = 0
    parked: bool = False
    ending: str | None = None
    hourly_usd: float = 0
    spent_usd: float = 0
    wasted_usd: float = 0
    submitted_at: Moment | None = None
    sent_at: Moment | None = None
    created_at: Moment | None = None
    running_at: Moment | None = None
    ended_at: Moment | None = None
    run_after: Moment | None = None
    choice: int = 0
    """Which of its request's alternatives it is, or asks for now; 0 is the first one as written."""
    expires_at: Moment | None = None
    group: int = 0
    """Which of its fleet's groups it is of, from 0."""


class Asked(Answer):
    """What a job's request asked for: types, and regions that are alternatives or that it was spread over."""

    types: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    spread: bool = False


class TimelineEvent(Answer):
    """One line of a job's timeline."""

    at: Moment
    event: str
    state: StateName
    actor: str
    detail: dict[str, Any] | None = None


class JobDetail(Job):
    """A job with its timeline, oldest line first."""

    timeline: tuple[TimelineEvent, ...] = ()
    asked: Asked | None = None


class FleetEvent(Answer):
    """Something that happened to one job of a fleet. ``id`` resumes the stream after it."""

    id: str
    job_id: str
    label: str
    position: int
    at: Moment
    event: str
    state: StateName
    actor: str
    detail: dict[str, Any] | None = None


class Fleet(Answer):
    """One accepted request, and how many of its jobs are in which state."""

    id: str
    name: str
    count: int
    states: Counts = Field(default_factory=dict)
    created_at: Moment | None = None
    request_id: str | None = None
    traceparent: str | None = None
    held_at: Moment | None = None
    """Since when a person has paused it."""
    not_before: Moment | None = None
    deadline: Moment | None = None
    """None: there is none, or it was seen to."""
    ttl_seconds: int | None = None
    boot_timeout_seconds: int | None = None
    stopped_at: Moment | None = None
    stop_reason: str | None = None
    spent_usd: float = 0
    """What its instances have cost so far."""
    wasted_usd: float = 0
    """The part of that which was paid for instances that failed."""
    hourly_usd: float = 0
    """What its instances cost an hour now."""

    @property
    def settled(self) -> bool:
        """Whether nothing is under way any more."""
        return all(state in SETTLED for state, count in self.states.items() if count)

    @property
    def all_running(self) -> bool:
        """Whether every job ended with a running instance."""
        return self.states.get("running", 0) == self.count


class Fault(Answer):
    """One thing that is wrong, or worth a warning: where, what, and what would be right."""

    message: str = ""
    code: str = ""
    pointer: str = ""
    field: str | None = None
    value: Value = None
    remedy: str | None = None
    nearest: str | None = None
    group: int | None = None


class RootPassword(Answer):
    """A root password that was made for one group of the document."""

    group: int
    name: str | None = None
    root_pass: str = Field(repr=False)


class Submission(Answer):
    """An accepted request; ``replayed`` says that an earlier one with the same key was found."""

    fleet: Fleet
    warnings: tuple[Fault, ...] = ()
    rejected: tuple[Fault, ...] = ()
    replayed: bool = False
    root_passwords: tuple[RootPassword, ...] = Field(default=(), repr=False)
    """Those that were made because of ``reveal_root_pass``. No other answer has them."""


class FleetPage(Answer):
    """Some fleets, and the cursor after which more follow."""

    fleets: tuple[Fleet, ...] = ()
    next: str | None = None


class Page(Answer):
    """Some jobs, and the cursor after which more follow."""

    jobs: tuple[Job, ...] = ()
    next: str | None = None


class OneFleet(Answer):
    """One fleet."""

    fleet: Fleet


class OneJob(Answer):
    """One job."""

    job: JobDetail


class Refusal(Answer):
    """Why nothing is done for a job."""

    job_id: str
    label: str
    state: StateName
    code: str
    message: str
    remedy: str


class Cancelled(Answer):
    """What a cancel came to: ``cancelled`` ended at once, ``noted`` end as soon as their outcome is known."""

    fleet: Fleet
    cancelled: int
    noted: int
    refused: tuple[Refusal, ...] = ()
    """The first hundred of them."""
    refused_count: int = 0


class JobCancelled(Answer):
    """What the cancel of one job came to."""

    job: JobDetail
    cancelled: int
    noted: int


class Retried(Answer):
    """What a retry came to: ``queued`` wait again, the instances of ``deleting`` are deleted first."""

    fleet: Fleet
    queued: int
    deleting: int
    dry_run: bool = False
    refused: tuple[Refusal, ...] = ()
    """The first hundred of them."""
    refused_count: int = 0


class JobRetried(Answer):
    """What the retry of one job came to."""

    job: JobDetail
    queued: int
    deleting: int
    dry_run: bool = False


class Leaving(Answer):
    """A job that goes: by ``cancel``, nothing is bought for it yet, or by ``delete``, with its instance."""

    job_id: str
    label: str
    state: StateName
    linode_id: int | None = None
    action: str


class Scaled(Answer):
    """What scaling came to, or would (``dry_run``): how many there were and are to be, who comes and who goes."""

    fleet: Fleet
    was: int
    to: int
    failed: int = 0
    """Failed jobs without an instance: they are not counted."""
    labels: tuple[str, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    confirm: str | None = None
    dry_run: bool = False
    unchanged: bool = False


class TenantSpend(Answer):
    """What a tenant's instances have cost so far, and cost an hour now."""

    tenant: str
    instances: int
    spent_usd: float
    wasted_usd: float
    hourly_usd: float


class FleetSpend(Answer):
    """What a fleet's instances have cost so far, and cost an hour now."""

    id: str
    name: str
    tenant: str
    instances: int
    spent_usd: float
    wasted_usd: float
    hourly_usd: float


class Spending(Answer):
    """Each tenant's spend, some fleets', and the cursor after which more follow."""

    tenants: tuple[TenantSpend, ...] = ()
    fleets: tuple[FleetSpend, ...] = ()
    next: str | None = None


class Hold(Answer):
    """What a pause or a resume came to.

    ``held_at``: since when it is paused, None: it is not. ``settled``: nothing of it can still be sent. ``waiting``
    jobs are kept; creates ``in_flight`` are finished and recorded. ``held_by``: what else keeps it paused.
    """

    scope: Annotated[str, WithJsonSchema({"type": "string", "enum": ["fleet", "account", "everything"]})]
    name: str
    held_at: Moment | None = None
    changed: bool = True
    settled: bool = True
    waiting: int = 0
    in_flight: int = 0
    held_by: tuple[str, ...] = ()


class Doomed(Answer):
    """A job that a destroy would end; with ``linode_id`` its instance is deleted."""

    id: str
    label: str
    state: StateName
    linode_id: int | None = None
    region: str = ""
    hourly_usd: float = 0


class DestroyPlan(Answer):
    """What a destroy would do: delete ``instances``, and end ``unbought`` jobs that have none yet.

    ``confirm`` confirms exactly this until ``expires_at``. ``jobs`` are the first thousand of them.
    """

    fleet: Fleet
    instances: int
    unbought: int
    hourly_usd: float
    jobs: tuple[Doomed, ...] = ()
    refused: tuple[Refusal, ...] = ()
    confirm: str
    expires_at: Moment


class Destroyed(Answer):
    """What a destroy came to.

    ``deleting`` instances are being deleted; ``cancelled`` jobs ended at once; those that are ``noted`` end, or are
    deleted, as soon as their create's outcome is known; ``refused`` ones are as they were.
    """

    fleet: Fleet
    deleting: int
    cancelled: int
    noted: int
    refused: tuple[Refusal, ...] = ()


class Extended(Answer):
    """What an extension came to: ``extended`` jobs live longer."""

    fleet: Fleet
    extended: int


# Plan


class Alternative(Answer):
    """A type in a region."""

    type: str
    region: str


class PlanLine(Answer):
    """What is asked for of one type in one region."""

    type: str
    region: str
    count: int
    accepted: int
    hourly_usd: float | None
    monthly_usd: float | None
    backups_hourly_usd: float | None
    alternatives: tuple[Alternative, ...] = ()
    """What is taken in its place where it cannot be had, in the order of trying."""


class Quota(Answer):
    """How much of a guard is used, and would be."""

    limit: float
    used: float
    after: float


class Quotas(Answer):
    """The tenant's guards."""

    instances: Quota
    hourly_usd: Quota


class Estimate(Answer):
    """When it would be done if nothing else comes and nothing fails; seconds from now."""

    jobs_ahead: int
    creates_per_minute: float | None
    boot_seconds: float
    boot_seconds_known: bool
    last_create_seconds: float
    all_running_seconds: float
    holds: tuple[str, ...] = ()


class Rate(Answer):
    """What the rate limit on creates lets through, over all tokens.

    ``opens_in_seconds``: when the next window opens; None: none is open, the next create opens one.
    """

    allowed: int
    spent: int
    seconds: float
    opens_in_seconds: float | None = None


class Outlook(Answer):
    """What is still to come of a fleet.

    ``rate`` is None where there is no limit, or none is known yet; ``estimate`` where nothing is under way.
    """

    rate: Rate | None = None
    estimate: Estimate | None = None


class Example(Answer):
    """One job of several."""

    id: str
    label: str


class FailureGroup(Answer):
    """Jobs that ended otherwise for one reason, and what to do about it.

    ``rejected`` of them were never sent and cannot be retried; ``owning`` of them still own an instance, which costs
    money. ``examples`` are some of them. ``more``: there are more failures than were looked at.
    """

    code: str
    reason: str | None = None
    field: str | None = None
    count: int
    rejected: int = 0
    owning: int = 0
    remedy: str = ""
    examples: tuple[Example, ...] = ()
    more: bool = False


class Failures(Answer):
    """Why jobs of a fleet failed or were rejected, the most frequent reason first."""

    failures: tuple[FailureGroup, ...] = ()


class Group(Answer):
    """One group of a fleet's request."""

    index: int
    name: str | None = None
    tags: tuple[str, ...] = ()


class Groups(Answer):
    """The groups of a fleet's request, in their order."""

    groups: tuple[Group, ...] = ()


class Plan(Answer):
    """What a submit of this document would do; nothing is stored."""

    name: str
    count: int
    verdict: Annotated[str, WithJsonSchema({"type": "string", "enum": ["accept", "accept_some", "refuse"]})]
    accepted: int
    lines: tuple[PlanLine, ...]
    hourly_usd: float
    monthly_usd: float
    most_hourly_usd: float | None = None
    most_monthly_usd: float | None = None
    """The most that it may come to cost, by its alternatives."""
    errors: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    quota: Quotas
    estimate: Estimate | None = None
    catalog_fetched_at: Moment | None = None


class OnePlan(Answer):
    """A plan."""

    plan: Plan


# The service


class Alarm(Answer):
    """Something that a person should look at, and what to do about it."""

    code: str
    message: str
    remedy: str = ""
    since: Moment | None = None

    @property
    def pauses(self) -> bool:
        """Whether nothing is created until somebody acts."""
        return self.code in PAUSES

    @property
    def sentence(self) -> str:
        """What is wrong, and the code."""
        return f"{self.message} ({self.code})"


class RateWindow(Answer):
    """What the API's rate limit on one route still allows."""

    route: str
    bucket: int
    allowed: int
    account: str = ""
    token: str = ""
    seconds: float
    spent: int
    opened_at: Moment | None = None
    closed_until: Moment | None = None
    refused: int = 0
    refused_at: Moment | None = None
    withheld: int = 0
    margin_seconds: float = 0.0


class RateWindows(Answer):
    """Every window."""

    rate_windows: tuple[RateWindow, ...] = ()


class CatalogState(Answer):
    """How old the catalogs are."""

    state: Annotated[str, WithJsonSchema({"type": "string", "enum": ["fresh", "stale", "none", "failed"]})]
    fetched_at: Moment | None = None


class Status(Answer):
    """How the service and its workers are."""

    installation: str = ""
    alarms: tuple[Alarm, ...] = ()
    rate_windows: tuple[RateWindow, ...] = ()
    catalog: CatalogState | None = None
    worker_seen_at: Moment | None = None
    states: Counts = Field(default_factory=dict)


class Alive(Answer):
    """The process is alive."""

    status: str


class Ready(Answer):
    """Requests can be served."""

    status: str
    catalog: str


# Catalog


class RegionPrice(Answer):
    """The price in a region where it is another one."""

    region: str
    hourly_usd: float
    monthly_usd: float


class Price(Answer):
    """A price, and the regions where it is another one."""

    hourly_usd: float
    monthly_usd: float
    regions: tuple[RegionPrice, ...] = ()


class InstanceType(Answer):
    """A plan that can be bought. Sizes are in MB."""

    id: str
    label: str
    class_: str = Field(alias="class")
    memory: int | None
    disk: int | None
    vcpus: int | None
    gpus: int
    price: Price
    backups: Price


class Region(Answer):
    """A place where instances can be."""

    id: str
    label: str
    country: str
    status: str
    capabilities: tuple[str, ...] | None


class Image(Answer):
    """An image. ``size`` is in MB; ``regions`` are those that hold a copy, where the API says."""

    id: str
    label: str
    status: str
    deprecated: bool
    eol: Moment | None
    size: int | None
    capabilities: tuple[str, ...] | None
    regions: tuple[str, ...]
    is_public: bool


class TypePage(Answer):
    """Some types, and the cursor after which more follow."""

    types: tuple[InstanceType, ...] = ()
    next: str | None = None
    fetched_at: Moment | None = None


class RegionPage(Answer):
    """Some regions, and the cursor after which more follow."""

    regions: tuple[Region, ...] = ()
    next: str | None = None
    fetched_at: Moment | None = None


class ImagePage(Answer):
    """Some images, and the cursor after which more follow."""

    images: tuple[Image, ...] = ()
    next: str | None = None
    fetched_at: Moment | None = None


# Webhooks


class Webhook(Answer):
    """An endpoint: who is told of what, and where. Its secrets are shown to nobody."""

    id: str
    url: str
    kinds: tuple[str, ...]
    state: Annotated[str, WithJsonSchema({"type": "string", "enum": ["enabled", "disabled"]})]
    pending: int = 0
    dead: int = 0
    previous_until: Moment | None = None
    disabled_at: Moment | None = None
    disabled_reason: str | None = None
    created_at: Moment | None = None


class Webhooks(Answer):
    """A tenant's endpoints."""

    webhooks: tuple[Webhook, ...] = ()


class OneWebhook(Answer):
    """One endpoint."""

    webhook: Webhook


class NewWebhook(Answer):
    """An endpoint and its new secret. No other answer has that."""

    webhook: Webhook
    secret: str = Field(repr=False)


class RemovedWebhook(Answer):
    """An endpoint that is gone; ``dropped`` deliveries had not arrived."""

    webhook: Webhook
    dropped: int


class Delivery(Answer):
    """One message to one endpoint: what it says, and how far it got."""

    id: str
    webhook_id: str
    kind: str
    state: Annotated[str, WithJsonSchema({"type": "string", "enum": ["pending", "delivered", "dead"]})]
    tries: int = 0
    status: int | None = None
    error: str | None = None
    fleet_id: str | None = None
    sequence: int | None = None
    payload: dict[str, Any] = Field(default_factory=dict)
    created_at: Moment | None = None
    due_at: Moment | None = None
    tried_at: Moment | None = None
    ended_at: Moment | None = None


class OneDelivery(Answer):
    """One delivery."""

    delivery: Delivery


class DeliveryPage(Answer):
    """Some deliveries, and the cursor after which more follow."""

    deliveries: tuple[Delivery, ...] = ()
    next: str | None = None


class Resent(Answer):
    """How many deliveries are sent again."""

    resent: int


# Errors


class Problem(Answer):
    """An RFC 9457 problem document."""

    type: str = ""
    title: str = ""
    status: int = 0
    code: str = ""
    detail: str = ""
    instance: str = ""
    request_id: str | None = None
    faults: tuple[Fault, ...] = Field(default=(), alias="errors")

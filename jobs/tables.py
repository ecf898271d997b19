"""The tables, as SQLModel declares them. Validation happens before a row is made.

A ``table=True`` model skips validation when it is constructed (SQLModel's documented behaviour), so requests are
validated by the plain models of :mod:`jobs.requests`, and CHECK constraints back them here.
Money is whole micro-dollars (1 USD = 1,000,000), so that sums are exact.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, MetaData, Text, text
from sqlmodel import Field, SQLModel

from jobs.columns import Identifier, JsonDocument, LabelText, RowNumber, UtcDateTime
from jobs.states import State

metadata: MetaData = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_STATES = ", ".join(f"'{state}'" for state in State)
_OWNS = "state IN ('submitted','queued','dispatched','creating','uncertain','booting','running','deleting')"
_FREED = "(state IN ('rejected','cancelled','deleted') OR (state = 'failed' AND linode_id IS NULL))"
MAY_OWN = f"{_OWNS} OR (state = 'failed' AND linode_id IS NOT NULL)"
"""Which jobs may still own an instance. A statement that says it in these very words can use the label's index."""
SETTLED = (State.RUNNING, State.FAILED, State.REJECTED, State.CANCELLED, State.DELETED)
"""Where jobs stay for long: each of these states is listed along an index, at the price of a write per job."""
IN_SETTLED = f"state IN ({','.join(repr(state.value) for state in SETTLED)})"
"""A statement in these very words can use that index."""
PAID_FOR = "spent_microusd > 0 OR wasted_microusd > 0"
"""Which jobs have paid for instances of closed attempts. A statement in these very words can use an index."""


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Installation(SQLModel, table=True):
    """The one row that says which installation this database is, and in which epoch."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("row = 1", name="one_row"),)

    row: int = Field(default=1, primary_key=True)
    id: str
    epoch: int = 1
    """Grows when the database was restored, failed over or asleep: admission waits for reconcile then."""
    held_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when a person has paused everything; None: nobody has."""
    timeline: str | None = None
    """PostgreSQL's timeline: another one means that a standby took over."""
    alive_at: datetime = Field(sa_type=UtcDateTime)
    """When a worker's loop last ran on this database."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class WorkerProcess(SQLModel, table=True):
    """A worker process whose loop runs, or ran lately."""

    __tablename__ = "workers"

    name: str = Field(primary_key=True)
    started_at: datetime = Field(sa_type=UtcDateTime)
    """When its loop first ran."""
    seen_at: datetime = Field(sa_type=UtcDateTime)
    """When its loop last ran."""


class Tenant(SQLModel, table=True):
    """Somebody who submits, with guards and a share of the window."""

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("weight > 0", name="weight_positive"),
        CheckConstraint("alive >= 0", name="alive_not_negative"),
        CheckConstraint("hourly_microusd >= 0", name="spend_not_negative"),
    )

    id: str = Field(primary_key=True)
    weight: int = 1
    """Its share of each window, beside those of the others that wait."""
    max_count: int | None = None
    """Jobs per fleet; None: the setting ``NODEWRIGHT_MAX_COUNT`` holds. So with the two below."""
    max_instances: int | None = None
    max_hourly_microusd: int | None = Field(default=None, sa_type=RowNumber)
    alive: int = 0
    """Jobs that count against the guard: exact after the newly ended ones are released."""
    hourly_microusd: int = Field(default=0, sa_type=RowNumber)
    created_at: datetime = Field(sa_type=UtcDateTime)


class TenantAccount(SQLModel, table=True):
    """An account that a tenant's jobs may go to. A tenant without any uses the account ``default``."""

    __tablename__ = "tenant_accounts"

    tenant_id: str = Field(primary_key=True, foreign_key="tenants.id")
    account_id: str = Field(primary_key=True, foreign_key="accounts.id")


class Account(SQLModel, table=True):
    """A Linode account: owner of labels and instances."""

    __tablename__ = "accounts"
    __table_args__ = (Index("uq_accounts_euuid", "euuid", unique=True),)

    id: str = Field(primary_key=True)
    euuid: str | None = None
    """The id that Linode itself gave the account; None: no token of it was allowed to ask."""
    epoch: int = 0
    """The installation's epoch that reconcile has been through; admission needs them equal."""
    paused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    paused_code: str | None = None
    paused_reason: str | None = Field(default=None, sa_type=Text)
    faults: int = 0
    """Not-sent and 5xx outcomes in a row; from a few on, creates go one probe at a time."""
    probe_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """No create before this; then one."""
    unknown_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a create's outcome was last unknown: reconcile looks more often for a while."""
    held_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when a person has paused the account; ``paused_at`` is the API's doing."""
    boot_seconds: float | None = None
    """How long instances lately took to run, smoothed."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Token(SQLModel, table=True):
    """A credential of an account, known by its fingerprint; rate limits are counted per token."""

    __tablename__ = "tokens"

    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.id")
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The encrypted secret; None where it lives in the environment only."""
    scopes: str | None = Field(default=None, sa_type=Text)
    refused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the API last refused it, while its account had another one."""
    refused_reason: str | None = Field(default=None, sa_type=Text)
    probe_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """It rests until then; None: it is sound."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class RateWindow(SQLModel, table=True):
    """What a token may still send on a route until when. See :mod:`jobs.windows` for the arithmetic."""

    __tablename__ = "rate_windows"
    __table_args__ = (
        CheckConstraint("allowed >= 0", name="allowed_not_negative"),
        CheckConstraint("spent >= 0", name="spent_not_negative"),
        CheckConstraint("seconds > 0", name="seconds_positive"),
    )

    token_id: str = Field(primary_key=True, foreign_key="tokens.id")
    route: str = Field(primary_key=True)
    """Method and path template, as ``POST /linode/instances``."""
    bucket: int = Field(default=0, primary_key=True)
    allowed: int
    """Calls per window; 0: no limit."""
    seconds: float
    spent: int = 0
    generation: int = 1
    """Counts windows, so that a late reply teaches the window that it was sent in, not a later one."""
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the first call of this window was about to be sent; None before it. The server's began no sooner."""
    started_by: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the first call that the server accepted had been written: but for the network, its window began no later."""
    granted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """A 429 closed it until then, because its headers differ from what we know."""
    margin_seconds: float = 0.08
    """How much later than started_by + seconds the next call goes: by how much the delays of two calls may differ."""
    withheld: int = 0
    """Calls of each window that we leave alone: others spend them, or the limit is lower than it says."""
    patience_seconds: float = 0.0
    """How long after the last refusal fewer are withheld."""
    rejected: int = 0
    """429s of this window."""
    rejected_by: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the last of them had been written."""
    counted: int = 0
    """The most that a reply said is counted in this window; kept only while it differs from what we spent."""
    claimed: int | None = None
    """A higher limit that replies name, and that holds once a second window confirms it."""
    claimed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The opening of the window in which that was first read."""
    refused: int = 0
    """429s ever."""
    refused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    shares: dict[str, float] | None = Field(default=None, sa_column=Column(JsonDocument))
    """What tenants are ahead of the one that is served next, in calls per weight. Kept in the first bucket."""


class Fleet(SQLModel, table=True):
    """One accepted request; its rows are in ``jobs``."""

    __tablename__ = "fleets"
    __table_args__ = (
        CheckConstraint("count >= 1", name="count_positive"),
        Index("uq_fleets_tenant_id_idempotency_key", "tenant_id", "idempotency_key", unique=True),
        Index("ix_fleets_tenant_id_name", "tenant_id", "name"),
        _partial("ix_fleets_sealed", "id", where="sealed IS NOT NULL"),
        _partial("ix_fleets_deadline_at", "deadline_at", where="deadline_at IS NOT NULL"),
        _partial("ix_fleets_stopped_at", "stopped_at", where="stopped_at IS NOT NULL"),
        _partial("ix_fleets_held_at", "held_at", where="held_at IS NOT NULL"),
        _partial("ix_fleets_retired_at", "retired_at", where="retired_at IS NOT NULL"),
    )

    id: str = Field(primary_key=True, sa_type=Identifier)
    tenant_id: str = Field(foreign_key="tenants.id")
    name: str
    count: int
    priority: int = 0
    groups: list[dict[str, Any]] = Field(sa_column=Column(JsonDocument, nullable=False))
    """The groups as asked for, without secrets."""
    sealed: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The groups' secrets, encrypted; erased when no job of the fleet needs them any more."""
    secrets_erased: bool = False
    idempotency_key: str | None = None
    request_hash: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    """The caller's W3C trace context."""
    held_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when a person has paused it: nothing is sent for it."""
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when its own policy (``on_failure``) has stopped it: what waits ends as ``stopped_by_policy``."""
    stop_reason: str | None = Field(default=None, sa_type=Text)
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deadline_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """What is not bought by then ends as ``deadline_exceeded``; None: no deadline, or it was seen to."""
    ttl_seconds: int | None = None
    """So long after its create each instance is deleted."""
    boot_timeout_seconds: int | None = None
    """None: the setting holds."""
    on_failure: dict[str, Any] | None = Field(default=None, sa_column=Column(JsonDocument))
    """``stop_after`` and ``same_cause``, as asked for."""
    told: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """The sequence number of the last thing that webhooks were told of it."""
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when its rows are being pruned: nobody is shown it any more."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Job(SQLModel, table=True):
    """One job: one instance asked for, with everything that decides about it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state_known"),
        CheckConstraint("version >= 1", name="version_positive"),
        CheckConstraint("attempt >= 1", name="attempt_positive"),
        CheckConstraint("ending IS NULL OR ending IN ('cancel', 'fail')", name="ending_known"),
        CheckConstraint("afterwards IS NULL OR afterwards = 'retry'", name="afterwards_known"),
        CheckConstraint(
            "state NOT IN ('booting', 'running', 'deleting') OR linode_id IS NOT NULL",
            name="owner_has_instance",
        ),
        CheckConstraint("state <> 'creating' OR lease_until IS NOT NULL", name="creating_has_lease"),
        CheckConstraint("state <> 'failed' OR error_code IS NOT NULL", name="failed_has_code"),
        _partial("uq_jobs_account_id_label", "account_id", "label", where=MAY_OWN, unique=True),
        _partial(
            "uq_jobs_account_id_linode_id",
            "account_id",
            "linode_id",
            where="linode_id IS NOT NULL",
            unique=True,
        ),
        Index("ix_jobs_fleet_id_state", "fleet_id", "state"),
        Index("ix_jobs_fleet_id_position", "fleet_id", "position"),
        Index("ix_jobs_tenant_id_id", "tenant_id", "id"),
        _partial("ix_jobs_tenant_id_state_id", "tenant_id", "state", "id", where=IN_SETTLED),
        Index("ix_jobs_tenant_id_label_id", "tenant_id", "label", "id"),
        _partial(
            "ix_jobs_tenant_id_error_code_id", "tenant_id", "error_code", "id", where="error_code IS NOT NULL"
        ),
        _partial(
            "ix_jobs_ready",
            "account_id",
            "tenant_id",
            text("priority DESC"),  # type: ignore[arg-type]
            "id",
            where="state = 'queued' AND run_after IS NULL",
        ),
        _partial("ix_jobs_snoozed", "run_after", where="state = 'queued' AND run_after IS NOT NULL"),
        # Two, because an old snapshot keeps all former leases in them, and open grants are counted at each admission.
        _partial("ix_jobs_granted", "lease_until", where="state = 'dispatched'"),
        _partial("ix_jobs_leased", "lease_until", where="state = 'creating'"),
        _partial(
            "ix_jobs_open",
            "account_id",
            "state",
            "run_after",
            where="state IN ('uncertain','booting','deleting')",
        ),
        _partial("ix_jobs_submitted", "account_id", "id", where="state = 'submitted'"),
        _partial(
            "ix_jobs_expires_at",
            "expires_at",
            where="expires_at IS NOT NULL AND state IN ('booting','running','failed')",
        ),
        _partial("ix_jobs_ipv4", "ipv4", where="ipv4 IS NOT NULL"),
        _partial("ix_jobs_ipv6", "ipv6", where="ipv6 IS NOT NULL"),
        _partial("ix_jobs_paid_for", "fleet_id", where=PAID_FOR),
        _partial(
            "ix_jobs_released",
            "tenant_id",
            where=f"counted AND {_FREED}",
        ),
    )

    id: str = Field(primary_key=True, sa_type=Identifier)
    fleet_id: str = Field(sa_type=Identifier, foreign_key="fleets.id")
    tenant_id: str
    account_id: str
    position: int
    """Index in the fleet, from 1."""
    group_index: int = 0
    label: str = Field(sa_type=LabelText)
    type: str
    region: str
    image: str | None = None
    booted: bool = True
    priority: int = 0
    pinned: bool = False
    """It names things that only its account has, or was told its account: no other may take it over."""

    state: str
    version: int = 1
    """The fence: every transition needs the version that it read, and raises it."""
    attempt: int = 1
    """The attempt that is under way or was the last; its tag is ``nw:<id>.<attempt>``."""
    sends: int = 0
    """How many POSTs were about to be sent, over all attempts."""
    tries: int = 0
    """Sends of this attempt whose outcome stayed unknown; too many park the job."""
    looks: int = 0
    """Look-ups since the last unknown send."""

    choice: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Which of the request's alternatives ``type`` and ``region`` are: 0 is the first one."""

    run_after: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Not before this moment; None: now."""
    send_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    window_generation: int | None = None
    token_id: str | None = None

    ending: str | None = None
    """How it ends as soon as nothing is unknown: ``cancel`` or ``fail``."""
    afterwards: str | None = None
    """What follows its delete: ``retry``; None: nothing."""
    last_unknown_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Sticky: while set, only a look-up can end the job."""
    parked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    linode_id: int | None = Field(default=None, sa_type=RowNumber)
    ipv4: str | None = None
    ipv6: str | None = None
    got_type: str | None = None
    got_region: str | None = None
    hourly_microusd: int = Field(default=0, sa_type=RowNumber)
    counted: bool = True
    """Whether the tenant's guard still counts it."""
    reserved_microusd: int = Field(default=0, sa_type=RowNumber, sa_column_kwargs={"server_default": "0"})
    """What the tenant's guard counts for it an hour: the dearest that it may become."""
    spent_microusd: int = Field(default=0, sa_type=RowNumber, sa_column_kwargs={"server_default": "0"})
    """What its instances of closed attempts have cost."""
    wasted_microusd: int = Field(default=0, sa_type=RowNumber, sa_column_kwargs={"server_default": "0"})
    """The part of that which was paid for instances that failed."""

    error_code: str | None = None
    error_reason: str | None = Field(default=None, sa_type=Text)
    error_field: str | None = None

    submitted_at: datetime = Field(sa_type=UtcDateTime)
    dispatched_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When we learnt that the instance exists."""
    running_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ttl_seconds: int | None = None
    boot_timeout_seconds: int | None = None
    """Its fleet's, beside what they are measured against."""
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When its instance's time to live is over."""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class JobEvent(SQLModel, table=True):
    """One line of a job's timeline: what happened, when, by whom. Append-only."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)

    id: int | None = Field(default=None, primary_key=True, sa_type=RowNumber)
    job_id: str = Field(sa_type=Identifier)
    at: datetime = Field(sa_type=UtcDateTime)
    event: str
    state: str
    """The state that it led to."""
    actor: str
    detail: dict[str, Any] | None = Field(default=None, sa_column=Column(JsonDocument))


class StoredCatalog(SQLModel, table=True):
    """The last good copy of one catalog of one account."""

    __tablename__ = "catalogs"

    account_id: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    """``types``, ``regions``, ``images`` or ``availability``."""
    version: str
    rows: list[dict[str, Any]] = Field(sa_column=Column(JsonDocument, nullable=False))
    fetched_at: datetime = Field(sa_type=UtcDateTime)


class RefusedMessage(SQLModel, table=True):
    """A fleet that came by Celery and can never be accepted. Only the last ones are kept."""

    __tablename__ = "refused_messages"

    id: int | None = Field(default=None, primary_key=True, sa_type=RowNumber)
    """Counts all that there ever were."""
    fleet_id: str | None = Field(default=None, sa_type=Identifier)
    """The id that the sender chose; None: it was none."""
    reason: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=UtcDateTime)


class Chore(SQLModel, table=True):
    """One recurring duty, done by one worker at a time."""

    __tablename__ = "chores"

    name: str = Field(primary_key=True)
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner: str | None = None
    fence: int = 0
    hastened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Somebody wants it done again from then on, while it is being done."""
    succeeded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: str | None = Field(default=None, sa_type=Text)
    state: dict[str, Any] | None = Field(default=None, sa_column=Column(JsonDocument))
    """What the chore wants to remember until its next run."""


class ApiKey(SQLModel, table=True):
    """A key of the HTTP service; only its hash is kept."""

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True)
    """The visible prefix."""
    tenant_id: str = Field(foreign_key="tenants.id")
    name: str
    digest: str
    scopes: str = "submit read operate admin"
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Session(SQLModel, table=True):
    """A person who is logged in to the page by an API key; only the hash of the cookie is kept."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_key_id", "key_id"), Index("ix_sessions_expires_at", "expires_at"))

    digest: str = Field(primary_key=True)
    key_id: str
    """The key that it stands for: revoked or expired, it ends the session."""
    key_digest: str
    """The key's hash, because the one that the settings give has no row of its own, and may be changed."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class Tally(SQLModel, table=True):
    """One counter of the metrics, kept beside what it counts: it outlives every process."""

    __tablename__ = "tallies"

    metric: str = Field(primary_key=True)
    labels: str = Field(primary_key=True)
    """JSON with sorted keys, so that one set of labels has one row."""
    value: float = 0.0


class Webhook(SQLModel, table=True):
    """Somebody's endpoint: where its tenant's news go, and what they are signed with."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_tenant_id_id", "tenant_id", "id"),)

    id: str = Field(primary_key=True, sa_type=Identifier)
    tenant_id: str = Field(foreign_key="tenants.id")
    url: str = Field(sa_type=Text)
    kinds: list[str] = Field(sa_column=Column(JsonDocument, nullable=False))
    sealed: bytes = Field(sa_type=LargeBinary)
    """Its secrets, encrypted: the present one, and the one before it while that still signs too."""
    previous_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """So long the secret before the present one signs too."""
    after_event: int = Field(sa_type=RowNumber)
    """It is told of what happened after this event."""
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_reason: str | None = Field(default=None, sa_type=Text)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """A worker sends to it until then; no other does meanwhile."""
    fence: int = 0
    served_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When a worker last sent to it: who waits longest comes first."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class WebhookDelivery(SQLModel, table=True):
    """One message to one endpoint: what it says, and how far it got."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state_known"),
        CheckConstraint("state <> 'pending' OR due_at IS NOT NULL", name="pending_is_due"),
        Index("uq_webhook_deliveries_webhook_id_subject", "webhook_id", "subject", unique=True),
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        _partial("ix_webhook_deliveries_due", "webhook_id", "due_at", where="state = 'pending'"),
        _partial("ix_webhook_deliveries_dead", "webhook_id", "id", where="state = 'dead'"),
        _partial("ix_webhook_deliveries_ended_at", "ended_at", where="ended_at IS NOT NULL"),
    )

    id: str = Field(primary_key=True, sa_type=Identifier)
    """The ``webhook-id`` of every try."""
    webhook_id: str = Field(sa_type=Identifier, foreign_key="webhooks.id")
    kind: str
    subject: str
    """What it tells of, so that one thing is told an endpoint once."""
    fleet_id: str | None = Field(default=None, sa_type=Identifier)
    sequence: int | None = None
    """The fleet's, see ``fleets.told``."""
    payload: str = Field(sa_type=Text)
    """The body, byte for byte: what is sent again is the same."""
    state: str = "pending"
    tries: int = 0
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    tried_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    status: int | None = None
    """The last answer's, None: there was no answer."""
    error: str | None = Field(default=None, sa_type=Text)
    """Why the last try failed, in the receiver's own words where it had some."""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when it is delivered or dead."""
    created_at: datetime = Field(sa_type=UtcDateTime)

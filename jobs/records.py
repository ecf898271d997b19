"""What the engine needs to know of a row, frozen: read once, decided upon, written back under its version."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text

from jobs.identity import AttemptTag
from jobs.states import State
from jobs.tables import IN_SETTLED, Job, metadata

jobs: Final = metadata.tables["jobs"]
job_events: Final = metadata.tables["job_events"]
fleets: Final = metadata.tables["fleets"]
tenants: Final = metadata.tables["tenants"]
tenant_accounts: Final = metadata.tables["tenant_accounts"]
accounts: Final = metadata.tables["accounts"]
tokens: Final = metadata.tables["tokens"]
rate_windows: Final = metadata.tables["rate_windows"]
catalogs: Final = metadata.tables["catalogs"]
chores: Final = metadata.tables["chores"]
installation: Final = metadata.tables["installation"]
workers: Final = metadata.tables["workers"]
api_keys: Final = metadata.tables["api_keys"]
refused_messages: Final = metadata.tables["refused_messages"]
sessions: Final = metadata.tables["sessions"]
tallies: Final = metadata.tables["tallies"]
webhooks: Final = metadata.tables["webhooks"]
webhook_deliveries: Final = metadata.tables["webhook_deliveries"]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The part of a job's row that decisions are made on. The columns are explained in :mod:`jobs.tables`."""

    id: str
    fleet_id: str
    tenant_id: str
    account_id: str
    group_index: int
    label: str
    type: str
    region: str
    image: str | None
    booted: bool
    state: State
    version: int
    attempt: int
    choice: int
    sends: int
    tries: int
    looks: int
    run_after: datetime | None
    send_before: datetime | None
    lease_until: datetime | None
    window_generation: int | None
    token_id: str | None
    ending: str | None
    afterwards: str | None
    last_unknown_at: datetime | None
    parked_at: datetime | None
    linode_id: int | None
    hourly_microusd: int
    reserved_microusd: int
    spent_microusd: int
    wasted_microusd: int
    error_code: str | None
    error_reason: str | None
    error_field: str | None
    submitted_at: datetime
    sent_at: datetime | None
    created_at: datetime | None
    ttl_seconds: int | None
    boot_timeout_seconds: int | None
    expires_at: datetime | None

    @property
    def tag(self) -> AttemptTag:
        """The proof that an instance is this attempt's."""
        return AttemptTag(self.id, self.attempt)


RECORD_COLUMNS: Final = [jobs.c[field.name] for field in fields(JobRecord)]
_STATE_AT: Final = [field.name for field in fields(JobRecord)].index("state")


def record(row: Any) -> JobRecord:  # noqa: ANN401 - any row selected as RECORD_COLUMNS
    """Return the record of a row that was selected as :data:`RECORD_COLUMNS`."""
    values = list(row)
    values[_STATE_AT] = State(values[_STATE_AT])
    return JobRecord(*values)


JOB_COLUMNS: Final = tuple(Job.model_fields)


def in_state(*states: State) -> TextClause:
    """Return the condition that a job is in one of ``states``, in the very words of the partial indexes.

    A state as a bound value would hide from SQLite's planner that such an index serves.
    """
    words = ", ".join(f"'{state}'" for state in states)
    return text(f"jobs.state = {words}" if len(states) == 1 else f"jobs.state IN ({words})")


def in_settled_state(state: State, *, on_sqlite: bool) -> TextClause:
    """Return the condition that a job is in ``state``, so that the index ``ix_jobs_tenant_id_state_id`` serves.

    SQLite has to be told the index's own words; PostgreSQL would take them for a second condition, and expect few rows.
    """
    words = f"jobs.{IN_SETTLED} AND " if on_sqlite else ""
    return text(f"{words}jobs.state = '{state}'")


def in_open_state(state: State) -> TextClause:
    """Return the condition that a job is in ``state``, so that SQLite finds the index ``ix_jobs_open`` too."""
    return text(f"jobs.state IN ('uncertain','booting','deleting') AND jobs.state = '{state}'")

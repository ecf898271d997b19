"""Retry: a new attempt for jobs that failed, within the tenant's guards; the same job, the same history.

A job that owns an instance has it deleted first, and waits again once the API answers 404 for it. Everything is one
transaction: either all jobs that may be retried are, or nothing is changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, update

from jobs import fleets as fleet_rows
from jobs import picks, places, queries, transitions
from jobs.catalog import Catalog
from jobs.database import Database, Transaction
from jobs.fleets import Guards
from jobs.picks import Pick, Refusal, UnknownJobError, refusal
from jobs.records import RECORD_COLUMNS, JobRecord, fleets, jobs, record
from jobs.regiven import CREDENTIALS_ERASED, Given, Keyring
from jobs.requests import INVALID_REQUEST, GroupRequest, InvalidRequest, RequestFault
from jobs.starts import Start, start_of
from jobs.states import State
from jobs.validation import judge_group
from jobs.vault import Vault

NOT_FAILED: Final = "not_failed"
DEADLINE_EXCEEDED: Final = "deadline_exceeded"
LABEL_TAKEN: Final = "label_taken"
_SUBMIT_AGAIN: Final = "its request was wrong: correct it and submit it again"
_REMEDIES: Final = {
    State.REJECTED: _SUBMIT_AGAIN,
    State.CANCELLED: "submit it again, or scale its fleet",
    State.DELETED: "submit it again, or scale its fleet",
    State.DELETING: "wait until its instance is gone",
}
_GOES_ON: Final = "leave it: it goes on by itself"


@dataclass(frozen=True)
class Deadline:
    """A fleet's new deadline; None: it has none from now on."""

    at: datetime | None


@dataclass(frozen=True)
class Wishes:
    """What a retry changes of its fleet. ``dry_run``: nothing is changed, and the answer is what would be."""

    secrets: Sequence[Given] = field(default=(), repr=False)
    deadline: Deadline | None = None
    """None: it stays as it is."""
    dry_run: bool = False


@dataclass(frozen=True)
class Retried:
    """What a retry came to."""

    queued: int
    """They wait for the rate window again."""
    deleting: int
    """Their instances are deleted first."""
    refused: tuple[Refusal, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True)
class Retrier:
    """Retries jobs of one fleet at a time."""

    database: Database
    vault: Vault | None
    guards: Guards
    catalogs: Callable[[str], Catalog | None]

    def retry(self, pick: Pick, wishes: Wishes, *, actor: str) -> Retried:
        """Give the failed jobs among those that are picked a new attempt.

        Raises:
            UnknownJobError: one of the ids is none of the fleet's.
            InvalidRequest: a guard would be exceeded, or the secrets or the deadline are wrong.
            IntegrityError: somebody took a label at the same moment; nothing is changed, try again.

        """
        known = places.catalogs_of(self.database, self.catalogs, pick.tenant, pick.where.fleet_id)
        with self.database.write() as tx:
            rehearsal = tx.connection.begin_nested()
            done = self._retry(tx, pick, wishes, known, actor=actor)
            if wishes.dry_run:
                rehearsal.rollback()
            else:
                rehearsal.commit()
        return done

    def _retry(
        self, tx: Transaction, pick: Pick, wishes: Wishes, known: Mapping[str, Catalog], *, actor: str
    ) -> Retried:
        fleet_rows.release(tx, pick.tenant)  # locks the tenant's row
        fleet = lock_fleet(tx, pick.where.fleet_id)
        picks.check(tx, pick)
        _check_deadline(tx, wishes)
        keys = Keyring(fleet.groups, fleet.sealed, self.vault, wishes.secrets)
        found = _lock(tx, pick)
        judges = _Judges(tx, fleet, wishes, keys, known)
        refused = judges.refusals(found)
        going = [job for job in found if job.id not in refused]
        if going:
            self._reserve(tx, pick.tenant, judges, going)
            transitions.all_retried(tx, [(job, judges.beginning(job)) for job in going], actor=actor)
            tx.execute(update(fleets).where(fleets.c.id == fleet.id).values(**_fleet_columns(wishes, keys)))
        deleting = sum(job.linode_id is not None for job in going)
        return Retried(len(going) - deleting, deleting, tuple(refused.values()), wishes.dry_run)

    def _reserve(self, tx: Transaction, tenant: str, judges: "_Judges", going: Sequence[JobRecord]) -> None:
        """Have the guard hold again those that it has let go; one with an instance it still holds."""
        freed = [job for job in going if job.linode_id is None]
        hourly = sum(judges.beginning(job)["reserved_microusd"] for job in freed)
        fleet_rows.reserve(tx, tenant, self.guards, count=len(freed), hourly=hourly, field="jobs")


def lock_fleet(tx: Transaction, fleet_id: str | None) -> Any:  # noqa: ANN401 - a row of fleets
    """Return a fleet's row, locked: its secrets are not erased meanwhile. Lock order: tenant, fleet, jobs.

    Raises:
        UnknownJobError: it has been retired meanwhile.

    """
    kept = (fleets.c.id == fleet_id, fleets.c.retired_at.is_(None))
    row = tx.execute(select(fleets).where(*kept).with_for_update(key_share=True)).first()
    if row is None:
        raise UnknownJobError("there is no such fleet any more")
    return row


def _lock(tx: Transaction, pick: Pick) -> list[JobRecord]:
    """Lock and return the jobs: the failed ones, or (where ids or a state are asked for) whatever is asked for."""
    if pick.ids is None and pick.where.state is None:
        pick = replace(pick, where=replace(pick.where, state=State.FAILED))
    statement = picks.selected(tx, pick, *RECORD_COLUMNS).with_for_update(of=jobs, skip_locked=True)
    return sorted((record(row) for row in tx.execute(statement)), key=lambda job: job.id)


def _check_deadline(tx: Transaction, wishes: Wishes) -> None:
    at = None if wishes.deadline is None else wishes.deadline.at
    if at is None or at > tx.now:
        return
    fault = RequestFault(
        code=INVALID_REQUEST,
        pointer="/deadline",
        field="deadline",
        value=at.isoformat(),
        message=f"has passed (it is {tx.now.isoformat(timespec='seconds')} now)",
        remedy="give a later one, or `none`",
    )
    raise InvalidRequest([fault])


def _fleet_columns(wishes: Wishes, keys: Keyring) -> dict[str, Any]:
    """Return what a retry changes of its fleet: a person has seen why it was stopped, and wants it to go on."""
    deadline = {} if wishes.deadline is None else {"deadline_at": wishes.deadline.at}
    return {"stopped_at": None, "stop_reason": None, **deadline, **keys.sealed()}


class _Judges:
    """Says of each job whether it may be retried, in the order in which a person would want to know."""

    def __init__(
        self,
        tx: Transaction,
        fleet: Any,  # noqa: ANN401 - a row of fleets
        wishes: Wishes,
        keys: Keyring,
        catalogs: Mapping[str, Catalog],
    ) -> None:
        self._tx = tx
        self._wishes = wishes
        self._keys = keys
        self._groups = [GroupRequest.restore(group) for group in fleet.groups]
        self._passed = fleet.deadline_at is not None and fleet.deadline_at <= tx.now
        self._catalogs = catalogs
        self._verdicts: dict[tuple[str, int, str], tuple[str, str, str] | None] = {}
        self._starts: dict[tuple[str, int, str], Start] = {}

    def refusals(self, found: Sequence[JobRecord]) -> Mapping[str, Refusal]:
        """Return why some jobs are not retried, by their ids."""
        said = {job.id: self._refusal(job) for job in found}
        good = [job for job in found if said[job.id] is None and job.linode_id is None]
        said |= _labels(self._tx, good)
        return {job_id: one for job_id, one in said.items() if one is not None}

    def _refusal(self, job: JobRecord) -> Refusal | None:
        if job.state is not State.FAILED:
            message = f"it is {job.state}; only a failed job can be retried"
            return refusal(job, NOT_FAILED, message, _REMEDIES.get(job.state, _GOES_ON))
        late = self._passed or job.error_code == DEADLINE_EXCEEDED
        if late and self._wishes.deadline is None:
            remedy = "give a new one (`deadline`), or `none`"
            return refusal(job, DEADLINE_EXCEEDED, "its fleet's deadline has passed", remedy)
        if missing := self._keys.missing(job.group_index):
            message = f"{' and '.join(missing)} of group {job.group_index} was erased once nothing needed it"
            return refusal(job, CREDENTIALS_ERASED, message, "give it again with the retry (`secrets`)")
        verdict = self._verdict(job)
        return None if verdict is None else refusal(job, *verdict)

    def _verdict(self, job: JobRecord) -> tuple[str, str, str] | None:
        """Return what the catalog has against every alternative of a job's group."""
        catalog = self._catalogs.get(job.account_id)
        if catalog is None:
            return None
        key = (job.account_id, job.group_index, job.region)
        if key not in self._verdicts:  # once for all that are alike
            found = judge_group(self._groups[job.group_index], job.region, catalog, now=self._tx.now)
            faults = (verdict for verdict in found if verdict.level == "fault")
            fault = next(faults, None)
            self._verdicts[key] = None if fault is None else (fault.code, fault.message, fault.remedy)
        return self._verdicts[key]

    def beginning(self, job: JobRecord) -> dict[str, Any]:
        """Return what the next attempt begins with, at today's price: the first alternative that is not refused.

        Nothing where its instance is still to be paid for.
        """
        if job.linode_id is not None:
            return {}
        catalog = self._catalogs.get(job.account_id)
        if catalog is None:
            return {"reserved_microusd": job.reserved_microusd}
        key = (job.account_id, job.group_index, job.region)
        if key not in self._starts:  # once for all that are alike
            self._starts[key] = start_of(self._groups[job.group_index], job.region, catalog, self._tx.now)
        start = self._starts[key]
        return {
            "choice": start.choice,
            "type": start.pair.type,
            "region": start.pair.region,
            "hourly_microusd": 0 if start.price is None else start.price.hourly,
            "reserved_microusd": start.dearest.hourly,
        }


def _labels(tx: Transaction, wanting: Sequence[JobRecord]) -> dict[str, Refusal | None]:
    """Return the refusals of jobs whose label another job has by now, or another one of these wants."""
    said: dict[str, Refusal | None] = {}
    for account in sorted({job.account_id for job in wanting}):
        mine = [job for job in wanting if job.account_id == account]
        taken = queries.taken_labels(tx, account, [job.label for job in mine])
        for job in mine:
            if job.label in taken:
                message = f"label '{job.label}' belongs to another job by now"
                said[job.id] = refusal(
                    job, LABEL_TAKEN, message, "free the label, or submit under another name"
                )
            taken.add(job.label)
    return said

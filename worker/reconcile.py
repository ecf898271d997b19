"""Reconcile: compares what the API holds with what the rows say, adopts what is ours, and removes what came late."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.exc import IntegrityError

from api_client import F, Instance, LinodeError, NotFound
from jobs import house, transitions
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.identity import AttemptTag, installation_tag, parse_attempt_tags
from jobs.records import JobRecord, jobs
from jobs.states import Event, State
from jobs.transitions import Reason
from worker.config import DELETE_INSTANCE, GET_INSTANCE
from worker.engine import Engine
from worker.lookup import list_instances
from worker.outcomes import facts_of

SOON_AFTER_UNKNOWN: Final = timedelta(minutes=10)
"""How long after an unknown create reconcile looks more often: the API may still apply it."""
_CHUNK: Final = 500
_MOST_CHECKS: Final = 50
_MOST_REPORTED: Final = 100
_REOPENS: Final = frozenset({State.QUEUED, State.DISPATCHED})
_ENDED: Final = frozenset({State.REJECTED, State.FAILED, State.CANCELLED, State.DELETED})


class Kind(StrEnum):
    """What an instance of ours turns out to be."""

    OWNED = "owned"
    OPEN = "open"
    """A create of this attempt is under way; whoever does it decides."""
    ADOPT = "adopt"
    FOUND = "found"
    """A waiting job whose attempt exists already: the database forgot a send."""
    ORPHAN = "orphan"
    """Of an ended job or attempt, and no row owns it: it goes."""
    STRANGE = "strange"
    """It carries our installation's tag, but leads to no row: reported, never touched."""


def classify(tag: AttemptTag | None, job: JobRecord | None, *, owned: bool, account: str) -> Kind:
    """Say what an instance in ``account`` is by its attempt's tag, if it has one. ``owned``: some row has its id."""
    if owned:
        return Kind.OWNED
    if tag is None or job is None:
        return Kind.STRANGE
    if tag.attempt != job.attempt or job.linode_id is not None or job.state in _ENDED:
        return Kind.ORPHAN
    if job.account_id != account:
        # A restored database forgot that this account had taken the job over. Once it is sent where it is now, whatever
        # comes of that decides.
        return Kind.FOUND if job.state in _REOPENS and job.sends == 0 else Kind.OPEN
    if job.state is State.UNCERTAIN:
        return Kind.ADOPT
    return Kind.FOUND if job.state in _REOPENS else Kind.OPEN


@dataclass(frozen=True)
class Finding:
    """One instance, what it is, and the job that its attempt's tag names."""

    instance: Instance
    tag: AttemptTag | None
    job: JobRecord | None
    kind: Kind


class Reconcile:
    """Goes through every instance of this installation."""

    lease = timedelta(seconds=30)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = f"reconcile:{engine.identity.account_id}"

    def wanted(self, tx: Transaction) -> datetime | None:
        """Say now: its due date is the only condition."""
        return tx.now

    def run(self, claim: Claim) -> datetime:
        """Go through all instances; return when to do it again."""
        engine = self._engine
        account = engine.identity.account_id
        with engine.parts.database.read() as tx:
            epoch, _ = house.epochs(tx, account)
            began = tx.now
        listed = list_instances(engine, F("tags") == installation_tag(engine.identity.installation))
        findings = self._findings(listed)
        self._adopt(findings)
        self._remove(claim, [finding for finding in findings if finding.kind is Kind.ORPHAN], began)
        claim.state["strange"] = [f.instance.id for f in findings if f.kind is Kind.STRANGE][:_MOST_REPORTED]
        claim.state["untagged"] = list(self._missing(listed, began))
        with engine.parts.database.write() as tx:
            house.reconciled(tx, account, epoch)
            return tx.now + self._pause(tx, claim)

    def _pause(self, tx: Transaction, claim: Claim) -> timedelta:
        pace = self._engine.pace
        unknown_at = house.unknown_at(tx, self._engine.identity.account_id)
        lately = unknown_at is not None and tx.now - unknown_at < SOON_AFTER_UNKNOWN
        return pace.reconcile_soon if lately or claim.state.get("orphans") else pace.reconcile

    # Comparing -------------------------------------------------------------------------------------------------------

    def _findings(self, listed: Sequence[Instance]) -> list[Finding]:
        found: list[Finding] = []
        with self._engine.parts.database.read() as tx:
            for start in range(0, len(listed), _CHUNK):
                found += self._compare(tx, listed[start : start + _CHUNK])
        return found

    def _compare(self, tx: Transaction, listed: Sequence[Instance]) -> Iterator[Finding]:
        tags = {instance.id: _last_tag(instance) for instance in listed}
        ids = {tag.job_id for tag in tags.values() if tag is not None}
        known = {job.id: job for job in transitions.select_records(tx, jobs.c.id.in_(ids))}
        account = self._engine.identity.account_id
        mine = and_(jobs.c.account_id == account, jobs.c.linode_id.in_(tags))
        owned = set(tx.execute(select(jobs.c.linode_id).where(mine)).scalars())
        for instance in listed:
            tag = tags[instance.id]
            job = None if tag is None else known.get(tag.job_id)
            kind = classify(tag, job, owned=instance.id in owned, account=account)
            yield Finding(instance, tag, job, kind)

    # Acting ----------------------------------------------------------------------------------------------------------

    def _adopt(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            if finding.job is None or finding.kind not in {Kind.ADOPT, Kind.FOUND}:
                continue
            # Where another job has the label here, the row cannot move: it is tried again next time.
            with suppress(IntegrityError), self._engine.parts.database.write() as tx:
                self._settle(tx, finding, finding.job)

    def _settle(self, tx: Transaction, finding: Finding, job: JobRecord) -> None:
        engine = self._engine
        if finding.kind is Kind.FOUND:
            transitions.found(tx, job, actor=engine.actor, account_id=engine.identity.account_id)
        else:
            facts = facts_of(finding.instance)
            transitions.owned(tx, job, facts, actor=engine.actor, proof=f"tag {finding.tag}")

    def _remove(self, claim: Claim, orphans: Sequence[Finding], now: datetime) -> None:
        """Delete orphans that were seen before, at least a grace period ago; remember the others."""
        seen: dict[str, str] = claim.state.get("orphans", {})
        still: dict[str, str] = {}
        for finding in orphans:
            key = str(finding.instance.id)
            first = datetime.fromisoformat(seen[key]) if key in seen else now
            if now - first < self._engine.pace.grace or not self._delete(finding):
                still[key] = first.isoformat()
        claim.state["orphans"] = still

    def _delete(self, finding: Finding) -> bool:
        if not self._still_orphan(finding) or finding.job is None:
            return True
        engine, number = self._engine, finding.instance.id
        try:
            engine.read(DELETE_INSTANCE, lambda: engine.parts.client.instances.delete(number))
        except NotFound:
            return True
        except LinodeError:
            return False
        with engine.parts.database.write() as tx:
            transitions.orphan_deleted(tx, finding.job, number, actor=engine.actor, tag=str(finding.tag))
        # It stays on the list until it is no longer listed: a delete that was answered may yet not be done.
        return False

    def _still_orphan(self, finding: Finding) -> bool:
        with self._engine.parts.database.read() as tx:
            again = list(self._compare(tx, [finding.instance]))
        return bool(again) and again[0].kind is Kind.ORPHAN

    def _missing(self, listed: Sequence[Instance], began: datetime) -> Iterator[int]:
        """Ask for each instance that its row owns and the list lacks; yield those that only lost their tag."""
        present = {instance.id for instance in listed}
        with self._engine.parts.database.read() as tx:
            candidates = self._settled_owners(tx, began - self._engine.pace.grace)
        absent = [job for job in candidates if job.linode_id not in present]
        for job in absent[:_MOST_CHECKS]:
            if self._exists(job):
                yield job.linode_id or 0

    def _settled_owners(self, tx: Transaction, before: datetime) -> list[JobRecord]:
        account = jobs.c.account_id == self._engine.identity.account_id
        states = jobs.c.state.in_([State.BOOTING.value, State.RUNNING.value])
        return transitions.select_records(tx, account, states, jobs.c.created_at < before)

    def _exists(self, job: JobRecord) -> bool:
        engine, number = self._engine, job.linode_id or 0
        try:
            engine.read(GET_INSTANCE, lambda: engine.parts.client.instances.get(number))
        except NotFound:
            why = Reason("vanished", f"instance {number} is gone: the API answers 404 for it")
            with engine.parts.database.write() as tx:
                transitions.lost(tx, job, Event.VANISHED, why, actor=engine.actor)
            return False
        except LinodeError:
            return False
        return True


def _last_tag(instance: Instance) -> AttemptTag | None:
    tags = parse_attempt_tags(instance.tags)
    return tags[-1] if tags else None

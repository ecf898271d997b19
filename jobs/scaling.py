"""Scale: a fleet gets more jobs of one of its groups, or loses its newest ones. The wish is absolute: so many there.

More jobs go on where positions and labels ended. Fewer: what waits is cancelled first, then instances are deleted, the
newest first; that is done only with the confirmation of a dry run that has listed exactly these jobs.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from sqlalchemy import func, select, update

from jobs import cancelling, picks, places, transitions
from jobs import fleets as fleet_rows
from jobs.catalog import Catalog
from jobs.database import Database, Transaction
from jobs.destruction import ConfirmationRefused
from jobs.existing import THERE
from jobs.fleets import Draft, Guards
from jobs.labels import label_fault, templates_of
from jobs.listing import JobFilter
from jobs.picks import Pick
from jobs.places import Places
from jobs.records import RECORD_COLUMNS, JobRecord, fleets, jobs, record
from jobs.regiven import CREDENTIALS_ERASED, Given, Keyring
from jobs.requests import INVALID_REQUEST, FleetRequest, GroupRequest, InvalidRequest, RequestFault, Scalar
from jobs.retrying import lock_fleet
from jobs.states import State
from jobs.validation import Report, Rules, validate
from jobs.vault import Vault

CONFIRMATION: Final = "confirmation_needed"
_UNBOUGHT: Final = frozenset(
    {State.SUBMITTED, State.QUEUED, State.DISPATCHED, State.CREATING, State.UNCERTAIN}
)


@dataclass(frozen=True)
class Wish:
    """What somebody wants of a fleet's size.

    to: how many instances there are to be; None: as many less as ``ids`` names.
    group: which group grows, by index or name; None: the last one.
    ids: which jobs go; None: waiting ones, then the newest.
    confirm: what the dry run answered.
    """

    to: int | None = None
    group: int | str | None = None
    ids: tuple[str, ...] | None = None
    confirm: str | None = None
    dry_run: bool = False
    secrets: Sequence[Given] = field(default=(), repr=False)


@dataclass(frozen=True)
class Leaving:
    """A job that goes: ``cancel``, nothing is bought for it yet; ``delete``: with its instance."""

    job_id: str
    label: str
    state: str
    linode_id: int | None
    action: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return dict(vars(self))


@dataclass(frozen=True)
class Scaled:
    """What scaling came to, or (``dry_run``) would come to."""

    was: int
    to: int
    failed: int
    """Failed jobs without an instance, which are not counted: a retry is their way."""
    labels: tuple[str, ...] = ()
    """Of the jobs that were added."""
    leaving: tuple[Leaving, ...] = ()
    confirm: str | None = None
    """What confirms that ``leaving`` may go; None: nothing goes."""
    dry_run: bool = False


def digest(fleet_id: str, leaving: Sequence[Leaving]) -> str:
    """Return what confirms that exactly these jobs of the fleet may go, and in which way."""
    lines = sorted(f"{one.job_id} {one.action} {one.linode_id}" for one in leaving)
    return hashlib.sha256("\n".join([fleet_id, *lines]).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Here:
    """Whose fleet is scaled by whom, and what its accounts offer."""

    fleet_id: str
    tenant: str
    catalogs: Mapping[str, Catalog]
    actor: str


@dataclass(frozen=True)
class Scaler:
    """Changes the size of one fleet at a time."""

    database: Database
    vault: Vault | None
    guards: Guards
    catalogs: Callable[[str], Catalog | None]
    dice: Random

    def scale(self, fleet_id: str, tenant: str, wish: Wish, *, actor: str) -> Scaled:
        """Bring a fleet to the size that is wished for; nothing is done where it has it already.

        Raises:
            UnknownJobError: one of the ids is none of the fleet's.
            InvalidRequest: the wish is wrong, over a guard, or not confirmed; nothing is done.
            ConfirmationRefused: the confirmation is that of another list; nothing is done.
            IntegrityError: somebody took a label at the same moment; nothing is done, try again.

        """
        known = places.catalogs_of(self.database, self.catalogs, tenant, fleet_id)
        with self.database.write() as tx:
            rehearsal = tx.connection.begin_nested()
            done = self._resize(tx, _Here(fleet_id, tenant, known, actor), wish)
            if wish.dry_run:
                rehearsal.rollback()
            else:
                rehearsal.commit()
        if done.leaving and not wish.dry_run:
            self._remove([one.job_id for one in done.leaving], actor=actor)
        return done

    def _resize(self, tx: Transaction, here: "_Here", wish: Wish) -> Scaled:
        fleet_rows.release(tx, here.tenant)  # locks the tenant's row
        fleet = lock_fleet(tx, here.fleet_id)
        there = _there(tx, fleet.id)
        goal = _goal(tx, fleet, wish, there)
        seen = Scaled(len(there), goal, _failed(tx, fleet.id), dry_run=wish.dry_run)
        if goal > len(there):
            return self._grow(tx, fleet, here, wish, there, seen)
        if goal < len(there):
            return _shrink(tx, fleet, wish, there, seen)
        return seen

    # More ------------------------------------------------------------------------------------------------------------

    def _grow(
        self,
        tx: Transaction,
        fleet: Any,  # noqa: ANN401 - a row of fleets
        here: "_Here",
        wish: Wish,
        there: Sequence[JobRecord],
        seen: Scaled,
    ) -> Scaled:
        index = _group_index(fleet, wish)
        keys = Keyring(fleet.groups, fleet.sealed, self.vault, wish.secrets)
        _refuse_growth(tx, fleet, index, keys)
        request = _request(tx, fleet, index, seen.to - seen.was)
        names = places.names_for(tx, here.tenant, request)
        where = places.ready(names, here.catalogs, named=request.account is not None)
        last = _last_position(tx, fleet.id)
        labels = _labels(tx, fleet.id, request, last + request.total)
        draft = Draft(
            fleet_id=fleet.id,
            tenant=here.tenant,
            actor=here.actor,
            request=request,
            labels=[labels],
            report=_judged(tx, request, where, labels),
            catalog=where.catalog,
            homes=places.spread(tx, where, request),
            pins=where.pins(request),
        )
        more = {**_of_fleet(tx, fleet), "group_index": index}
        fleet_rows.insert_more(
            tx, draft, total=seen.to, after=last, more=more, guards=self.guards, dice=self.dice
        )
        counts = Counter(job.group_index for job in there)
        counts[index] += len(labels)
        _keep_counts(tx, fleet, seen.to, counts, keys.sealed())
        return Scaled(seen.was, seen.to, seen.failed, labels=tuple(labels), dry_run=wish.dry_run)

    # Fewer -----------------------------------------------------------------------------------------------------------

    def _remove(self, ids: Sequence[str], *, actor: str) -> None:
        """Cancel or delete jobs, a chunk at a time, in the order of their ids; what went already is left alone."""
        ordered = sorted(ids)
        for start in range(0, len(ordered), picks.CHUNK):
            missed = 1
            while missed:  # somebody moved a job meanwhile
                with self.database.write() as tx:
                    missed = _remove_some(tx, ordered[start : start + picks.CHUNK], actor=actor)


def _remove_some(tx: Transaction, ids: Sequence[str], *, actor: str) -> int:
    """Cancel or delete some jobs; return how many moved meanwhile."""
    found = transitions.select_records(tx, jobs.c.id.in_(ids), THERE, order_by=(jobs.c.id,))
    unbought = [job for job in found if job.state in _UNBOUGHT]
    others = [job for job in found if job.state not in _UNBOUGHT]
    _, _, missed = cancelling.cancel_records(tx, unbought, actor=actor)
    return missed + sum(transitions.destroyed(tx, job, actor=actor) is None for job in others)


# What there is -------------------------------------------------------------------------------------------------------


def _there(tx: Transaction, fleet_id: str) -> list[JobRecord]:
    """Return the jobs that count, by position."""
    statement = select(*RECORD_COLUMNS).where(jobs.c.fleet_id == fleet_id, THERE).order_by(jobs.c.position)
    return [record(row) for row in tx.execute(statement)]


def _failed(tx: Transaction, fleet_id: str) -> int:
    lost = (jobs.c.state == State.FAILED.value, jobs.c.linode_id.is_(None))
    found: int = tx.execute(
        select(func.count()).select_from(jobs).where(jobs.c.fleet_id == fleet_id, *lost)
    ).scalar_one()
    return found


def _last_position(tx: Transaction, fleet_id: str) -> int:
    return tx.execute(select(func.max(jobs.c.position)).where(jobs.c.fleet_id == fleet_id)).scalar() or 0


def _goal(tx: Transaction, fleet: Any, wish: Wish, there: Sequence[JobRecord]) -> int:  # noqa: ANN401 - a row of fleets
    """Return the size that is wished for."""
    if wish.ids is None:
        if wish.to is None:
            raise InvalidRequest([_fault("to", "is missing", "say how many instances there are to be")])
        goal = wish.to
    else:
        goal = _goal_without(tx, fleet, wish, there)
    if goal < 1:
        remedy = "cancel what waits and destroy the rest"
        raise InvalidRequest(
            [_fault("to", f"would leave {goal} instances; a fleet has one at least", remedy, goal)]
        )
    return goal


def _goal_without(tx: Transaction, fleet: Any, wish: Wish, there: Sequence[JobRecord]) -> int:  # noqa: ANN401 - a row of fleets
    ids = frozenset(wish.ids or ())
    picks.check(tx, Pick(fleet.tenant_id, JobFilter(fleet_id=fleet.id), tuple(sorted(ids))))
    here = ids & {job.id for job in there}
    goal = len(there) - len(here)
    if wish.to is None or wish.to == goal or (not here and wish.to == len(there)):
        return goal
    message = f"is {wish.to}, and without the {len(here)} jobs named there are {goal} of {len(there)}"
    raise InvalidRequest([_fault("to", message, "leave out `to`, or name other jobs", wish.to)])


def _fault(
    name: str, message: str, remedy: str, value: Scalar = None, *, code: str = INVALID_REQUEST
) -> RequestFault:
    return RequestFault(
        code=code, pointer=f"/{name}", field=name, value=value, message=message, remedy=remedy
    )


# More ----------------------------------------------------------------------------------------------------------------


def _group_index(fleet: Any, wish: Wish) -> int:  # noqa: ANN401 - a row of fleets
    names = [str(group.get("name") or position) for position, group in enumerate(fleet.groups)]
    if wish.group is None:
        return len(names) - 1
    if isinstance(wish.group, int) and 0 <= wish.group < len(names):
        return wish.group
    if str(wish.group) in names:
        return names.index(str(wish.group))
    remedy = f"choose {', '.join(names[:20])}, or leave it out for the last one"
    raise InvalidRequest([_fault("group", f"the fleet has no group {wish.group!r}", remedy, wish.group)])


def _refuse_growth(tx: Transaction, fleet: Any, index: int, keys: Keyring) -> None:  # noqa: ANN401 - a row of fleets
    """Refuse jobs that would end as soon as they were there."""
    if fleet.stopped_at is not None:
        message = f"the fleet was stopped by its policy: {fleet.stop_reason}"
        fault = _fault("to", message, "retry what failed, which lifts the stop", code="stopped_by_policy")
        raise InvalidRequest([fault])
    if fleet.deadline_at is not None and fleet.deadline_at <= tx.now:
        fault = _fault(
            "to", "the fleet's deadline has passed", "submit a fleet of its own", code="deadline_exceeded"
        )
        raise InvalidRequest([fault])
    if missing := keys.missing(index):
        message = f"{' and '.join(missing)} of group {index} was erased once nothing needed it"
        raise InvalidRequest(
            [_fault("secrets", message, "give it again (`secrets`)", code=CREDENTIALS_ERASED)]
        )


def _request(tx: Transaction, fleet: Any, index: int, count: int) -> FleetRequest:  # noqa: ANN401 - a row of fleets
    """Return a request for so many more of a group, bound to the account that binds its jobs."""
    group = GroupRequest.restore(fleet.groups[index])
    group = group.model_copy(update={"count": count, "name": group.name or str(index + 1)})
    home = tx.execute(
        select(jobs.c.account_id)
        .where(jobs.c.fleet_id == fleet.id, jobs.c.group_index == index, jobs.c.pinned)
        .limit(1)
    ).scalar()
    return FleetRequest(name=fleet.name, groups=[group], priority=fleet.priority, account=home)


def _labels(tx: Transaction, fleet_id: str, request: FleetRequest, most: int) -> list[str]:
    """Return the labels that follow the last one of this pattern that the fleet ever had. No index exceeds ``most``."""
    had = set(tx.execute(select(jobs.c.label).where(jobs.c.fleet_id == fleet_id)).scalars())
    labels: list[str] = []
    for template, count in templates_of(request, 0):
        if not template.indexes:
            message = f"its label pattern has no {{index}}, so that all would be called '{template.text}'"
            raise InvalidRequest([_fault("to", message, "submit another fleet", code="invalid_label")])
        taken = had.union(labels)
        last = max((index for index in range(1, most + 1) if template.label(index) in taken), default=0)
        labels += template.labels(range(last + 1, last + 1 + count))
    return labels


def _judged(tx: Transaction, request: FleetRequest, where: Places, labels: Sequence[str]) -> Report:
    """Judge the group as a submit does, with the labels that its jobs will have."""
    catalog = where.catalog
    if catalog is None:
        raise NoCatalogError
    rules = Rules(max_count=request.total)
    report = where.judged(request, validate(request, catalog, rules=rules, now=tx.now))
    faults = [*report.faults, *_label_faults(tx, where, labels)]
    if faults:
        raise InvalidRequest(faults)
    return Report(labels=(tuple(labels),), warnings=report.warnings)


class NoCatalogError(Exception):
    """There is no catalog yet, so that nothing can be judged."""


def _label_faults(tx: Transaction, where: Places, labels: Sequence[str]) -> list[RequestFault]:
    malformed = label_fault(labels[-1])
    if malformed:
        message = f"the label '{labels[-1]}' {malformed}"
        return [_fault("to", message, "submit another fleet", code="invalid_label")]
    taken = sorted(places.taken_labels(tx, where, list(labels)))
    if not taken:
        return []
    more = f" and {len(taken) - 1} more are" if len(taken) > 1 else " is"
    message = f"label '{taken[0]}'{more} in use by other jobs"
    return [_fault("to", message, "free the labels, or submit under another name", code="label_taken")]


def _of_fleet(tx: Transaction, fleet: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of fleets
    """Return the columns of a new job that its fleet says."""
    later = fleet.not_before is not None and fleet.not_before > tx.now
    return {
        "ttl_seconds": fleet.ttl_seconds,
        "boot_timeout_seconds": fleet.boot_timeout_seconds,
        "run_after": fleet.not_before if later else None,
    }


def _keep_counts(tx: Transaction, fleet: Any, total: int, counts: Counter[int], more: dict[str, Any]) -> None:  # noqa: ANN401 - a row of fleets
    groups = [{**group, "count": counts[position]} for position, group in enumerate(fleet.groups)]
    tx.execute(update(fleets).where(fleets.c.id == fleet.id).values(count=total, groups=groups, **more))


# Fewer ---------------------------------------------------------------------------------------------------------------


def _shrink(tx: Transaction, fleet: Any, wish: Wish, there: Sequence[JobRecord], seen: Scaled) -> Scaled:  # noqa: ANN401 - a row of fleets
    chosen = _chosen(wish, there, seen.was - seen.to)
    leaving = tuple(
        Leaving(job.id, job.label, job.state.value, job.linode_id, _action(job)) for job in chosen
    )
    confirm = digest(fleet.id, leaving)
    if not wish.dry_run:
        _check(wish.confirm, confirm, leaving)
    gone = {job.id for job in chosen}
    counts = Counter(job.group_index for job in there if job.id not in gone)
    _keep_counts(tx, fleet, seen.to, counts, {})
    return Scaled(seen.was, seen.to, seen.failed, leaving=leaving, confirm=confirm, dry_run=wish.dry_run)


def _chosen(wish: Wish, there: Sequence[JobRecord], count: int) -> list[JobRecord]:
    """Return the jobs that go: those that are named, or waiting ones and then the newest."""
    if wish.ids is not None:
        return [job for job in there if job.id in frozenset(wish.ids)]
    newest = list(reversed(there))
    return sorted(newest, key=lambda job: _action(job) != "cancel")[:count]


def _action(job: JobRecord) -> str:
    return "cancel" if job.state in _UNBOUGHT else "delete"


def _check(given: str | None, confirm: str, leaving: Sequence[Leaving]) -> None:
    if given == confirm:
        return
    deletes = sum(one.action == "delete" for one in leaving)
    words = f"{len(leaving)} jobs would go, {deletes} of them with their instance"
    if given is not None:
        again = "look again with a dry run, and confirm what it shows"
        raise ConfirmationRefused(
            "confirmation_outdated", f"the confirmation is of another list: {words}; {again}"
        )
    remedy = "look at them with `dry_run`, and send its `confirm`"
    raise InvalidRequest([_fault("confirm", words, remedy, code=CONFIRMATION)])

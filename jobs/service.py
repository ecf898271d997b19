"""What the faces call: submit, list, show, cancel. One object, given its database and its collaborators."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from jobs import (
    cancelling,
    credentials,
    destruction,
    existing,
    expiry,
    holds,
    house,
    listing,
    messages,
    outlook,
    overview,
    places,
    queries,
    spend,
    tallies,
    tenants,
    transitions,
)
from jobs import fleets as fleet_rows
from jobs.alarms import alarms
from jobs.cancelling import Cancelled
from jobs.catalog import Catalog
from jobs.credentials import RootPassword
from jobs.database import Database, Transaction
from jobs.destruction import Destroyed, Preview
from jobs.feed import FleetFeed, Lookout, is_event_of
from jobs.fleets import Draft, Guards, Trace
from jobs.gauges import Readings, gauges
from jobs.holds import HoldView, Scope
from jobs.identity import new_id
from jobs.labels import labels_of
from jobs.listing import JobFilter, JobPage, Sort
from jobs.picks import Pick, UnknownJobError
from jobs.places import Places
from jobs.plan import Plan
from jobs.planning import plan_fleet
from jobs.records import fleets
from jobs.regiven import Given
from jobs.remembered import REAL, Means, Remembered
from jobs.requests import FleetRequest, InvalidRequest, RequestFault, RequestWarning
from jobs.retrying import Retried, Retrier, Wishes
from jobs.scaling import NoCatalogError, Scaled, Scaler, Wish
from jobs.states import State
from jobs.transitions import InstanceFacts
from jobs.validation import Report, Rules, validate
from jobs.vault import UnreadableSecretError, Vault
from jobs.views import Alarm, FleetSpend, FleetView, GroupView, JobDetail, JobView, Spend, Status, TenantSpend

STALE_AFTER: Final = timedelta(minutes=15)
"""A catalog older than this is refreshed; it is served all the same."""
MESSAGES_OF: Final = "default"
"""The tenant whose fleets come by Celery."""
NO_TRACE: Final = Trace()
ANY: Final = JobFilter()
_MANY: Final = 10_000
"""So many jobs may take long to count."""
_DEAR_SUMS: Final = 0.2
"""No sum says over how many rows it went, so only the time tells; a busy moment does not take so long."""
_LARGE: Final = 1000
"""What so many jobs of one fleet have cost may take long to sum up."""
_TRIES: Final = 3
NO_WISHES: Final = Wishes()
Done = TypeVar("Done")


class ServiceError(Exception):
    """The request was understood and cannot be done; the subclass says why."""


class NotFound(ServiceError):  # noqa: N818 - the words of the answer
    """There is no such fleet or job, or it is another tenant's."""


class FleetRefused(NotFound):
    """There is no such fleet: the message that asked for it was refused, and no other one was accepted since."""


class UnknownEvent(ServiceError):  # noqa: N818 - the words of the answer
    """The fleet has no such event to go on from."""


class CatalogUnavailable(ServiceError):  # noqa: N818 - the words of the answer
    """No catalog was read yet, so nothing can be validated. Try again later."""


class IdempotencyConflict(ServiceError):  # noqa: N818 - the words of the answer
    """The idempotency key was used for another request."""


class SecretsRefused(ServiceError):  # noqa: N818 - the words of the answer
    """The request carries secrets, and this way in takes none."""


class NotUncertain(ServiceError):  # noqa: N818 - the words of the answer
    """The job is not uncertain, so there is nothing to resolve."""


class NoTimeToLive(ServiceError):  # noqa: N818 - the words of the answer
    """The fleet has no time to live."""


class AccountPaused(ServiceError):  # noqa: N818 - the words of the answer
    """The account takes no creates, because its token is not accepted."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Submission:
    """An accepted fleet."""

    fleet: FleetView
    warnings: tuple[RequestWarning, ...] = ()
    faults: tuple[RequestFault, ...] = ()
    """Why some of its jobs were rejected (``on_invalid: skip``)."""
    replayed: bool = False
    """Whether it had been accepted before, under the same key."""
    root_passwords: tuple[RootPassword, ...] = ()
    """Those that were made to be revealed, as long as the database still keeps them."""


class Service:
    """The jobs of one installation.

    Args:
        database: where the rows are.
        vault: seals secrets; None: requests with secrets are refused.
        guards: what a tenant may hold at once.
        catalogs: returns an account's catalog, or None while there is none.
        notify: called after a commit that made work; best effort, never raises.
        dice: randomness for ids and passwords.
        monotonic: the process's clock, for how long counting takes.
        wait: waits so many seconds, between two looks at what a pause waits for.

    """

    def __init__(
        self,
        database: Database,
        *,
        vault: Vault | None,
        guards: Guards,
        catalogs: Callable[[str], Catalog | None],
        notify: Callable[[], None],
        dice: Random,
        means: Means = REAL,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._database = database
        self.lookout = Lookout(database)
        """Looks at the events for all the feeds."""
        self._vault = vault
        self._guards = guards
        self._catalogs = catalogs
        self._notify = notify
        self._dice = dice
        self._wait = wait
        self._states = Remembered(database, _count_states, means, worth=_are_many)
        self._spent = Remembered(database, _spent, means)
        self._sums = Remembered(database, _spent_by_tenants, means, dear_seconds=_DEAR_SUMS)

    # Submit ----------------------------------------------------------------------------------------------------------

    def submit(
        self,
        request: FleetRequest,
        *,
        tenant: str,
        actor: str,
        idempotency_key: str | None = None,
        fleet_id: str | None = None,
        trace: Trace = NO_TRACE,
    ) -> Submission:
        """Accept a fleet: when this returns, its rows are committed.

        Raises:
            InvalidRequest: the request is wrong or over a guard; every fault at once, nothing stored.
            CatalogUnavailable: nothing can be validated yet.
            IdempotencyConflict: the key, or the fleet id, belongs to another request.
            AccountPaused: the account's token is not accepted.
            ValueError: the fleet id is no UUID.

        """
        digests = self._digests(request)
        fleet_id = None if fleet_id is None else _chosen(fleet_id)
        replay = partial(self._replay, tenant, idempotency_key, fleet_id, digests)
        replayed = replay()
        if replayed is not None:
            return replayed
        where = self._places(tenant, request)
        self._refuse_when_unauthorized(where)
        catalog = _known(where.catalog)

        def store() -> Submission:
            self._refuse_existing(request, tenant)
            report = self._validate(request, catalog, tenant, where)
            if report.faults and (request.on_invalid == "refuse" or report.refuses_all):
                raise InvalidRequest(report.faults)
            draft = self._draft(request, report.labels, report, catalog, tenant, actor, fleet_id, trace)
            return self._store(draft, where, idempotency_key, digests)

        return _unless_replayed(store, replay)

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a transaction on this database, for :meth:`submit_in` and rows of the caller's own.

        It commits at the end, or rolls back if an exception leaves it.
        """
        return self._database.connection()

    def submit_in(
        self,
        connection: Connection,
        request: FleetRequest,
        *,
        tenant: str,
        actor: str,
        idempotency_key: str | None = None,
    ) -> Submission:
        """Accept a fleet within the caller's transaction: it is there once that commits, never if it rolls back.

        Workers find it within a second of the commit. Until then the tenant's guard is locked, so commit soon. Where
        this raises, the transaction is as it was before, and may go on.

        Args:
            connection: SQLAlchemy's, in a transaction, to this very database.
            request: what is asked for.
            tenant: whose fleet it is.
            actor: who submits, for the timelines.
            idempotency_key: one fleet for all requests with the same key.

        Raises:
            InvalidRequest, CatalogUnavailable, AccountPaused: as :meth:`submit` does.
            IdempotencyConflict: key or labels are taken, perhaps earlier in the same transaction.

        """
        digests = self._digests(request)
        replayed = self._replay(tenant, idempotency_key, None, digests)
        if replayed is not None:
            return replayed
        where = self._places(tenant, request)
        self._refuse_when_unauthorized(where)
        catalog = _known(where.catalog)
        self._refuse_existing(request, tenant)
        report = self._validate(request, catalog, tenant, where)
        if report.faults and (request.on_invalid == "refuse" or report.refuses_all):
            raise InvalidRequest(report.faults)
        draft = self._draft(request, report.labels, report, catalog, tenant, actor, None, NO_TRACE)
        tx = self._database.joined(connection)
        try:
            with connection.begin_nested():
                draft = self._insert(tx, draft, where, idempotency_key, digests)
        except IntegrityError:
            raise IdempotencyConflict(
                "another request has the same key or labels; end the transaction and send it again"
            ) from None
        fleet = queries.find_fleet(tx, draft.fleet_id, tenant=tenant)
        if fleet is None:
            raise NotFound(f"the fleet {draft.fleet_id} was not stored")
        return self._accepted(draft, fleet)

    def plan(self, request: FleetRequest, *, tenant: str) -> Plan:
        """Return what a submit of the request would do. Nothing is stored.

        Raises:
            InvalidRequest: the request names an account that is not the tenant's.
            CatalogUnavailable: nothing can be validated yet.

        """
        where = self._places(tenant, request)
        catalog = _known(where.catalog)
        report = self._validate(request, catalog, tenant, where)
        # What is never stored is not sealed either: a plan needs no encryption key.
        draft = Draft("", tenant, "plan", request, report.labels, report, catalog)
        return plan_fleet(self._database, draft, report, where, guards=self._guards)

    def catalog(self, tenant: str) -> Catalog:
        """Return what the tenant may ask for, its accounts' private images included. Raises CatalogUnavailable."""
        with self._database.read() as tx:
            names = tenants.accounts_of(tx, tenant)
        found = {name: catalog for name in names if (catalog := self._catalogs(name)) is not None}
        return _known(Places(names, found).catalog)

    def accept(self, request: FleetRequest, *, fleet_id: str, tenant: str, actor: str) -> Submission:
        """Accept a fleet that came by Celery, where nobody waits: wrong jobs become ``rejected`` rows.

        Without a catalog the jobs stay ``submitted`` until one was read.

        Raises:
            SecretsRefused: the request carries secrets; the broker must not.
            IdempotencyConflict: the fleet id belongs to another request.
            InvalidRequest: the request is over a guard, or wrong as a whole.
            ValueError: the fleet id is no UUID. Without one a message that comes twice would be two fleets.

        """
        if request.has_secrets:
            raise SecretsRefused("a request by Celery must carry no secrets: use HTTP, or authorized_keys")
        digests = self._digests(request)
        fleet_id = _chosen(fleet_id)
        replay = partial(self._replay, tenant, None, fleet_id, digests)
        replayed = replay()
        if replayed is not None:
            return replayed
        where = self._places(tenant, request)
        catalog = where.catalog

        def store() -> Submission:
            self._refuse_existing(request, tenant)
            report = None if catalog is None else self._validate(request, catalog, tenant, where)
            if report is not None and report.refuses_all:
                raise InvalidRequest(report.faults)
            labels = labels_of(request) if report is None else report.labels
            draft = self._draft(request, labels, report, catalog, tenant, actor, fleet_id, NO_TRACE)
            return self._store(draft, where, None, digests)

        return _unless_replayed(store, replay)

    def _places(self, tenant: str, request: FleetRequest) -> Places:
        with self._database.read() as tx:
            names = places.names_for(tx, tenant, request)
        found = {name: catalog for name in names if (catalog := self._catalogs(name)) is not None}
        return places.ready(names, found, named=request.account is not None)

    def _refuse_when_unauthorized(self, where: Places) -> None:
        with self._database.read() as tx:
            code, reason = house.paused(tx, where.accounts[0])
        if code in {"unauthorized", "missing_scope"}:
            raise AccountPaused(code, reason or "the token is not accepted")

    def _refuse_existing(self, request: FleetRequest, tenant: str) -> None:
        """Refuse a name that is in use before its labels are: that says more. The insert looks again."""
        with self._database.read() as tx:
            existing.refuse(tx, tenant, request)

    def _validate(self, request: FleetRequest, catalog: Catalog, tenant: str, where: Places) -> Report:
        with self._database.read() as tx:
            report = validate(
                request,
                catalog,
                rules=Rules(
                    max_count=fleet_rows.guards_of(tx, tenant, self._guards).max_count,
                    boot_seconds=house.slowest_boot(tx, where.accounts),
                ),
                now=tx.now,
                taken_labels=lambda labels: places.taken_labels(tx, where, list(labels)),
            )
        return where.judged(request, report)

    def _draft(
        self,
        request: FleetRequest,
        labels: Sequence[Sequence[str]],
        report: Report | None,
        catalog: Catalog | None,
        tenant: str,
        actor: str,
        fleet_id: str | None,
        trace: Trace,
    ) -> Draft:
        return Draft(
            fleet_id=fleet_id or "",
            tenant=tenant,
            actor=actor,
            request=request,
            labels=labels,
            report=report,
            catalog=catalog,
            sealed=self._seal(request),
            trace=trace,
        )

    def _seal(self, request: FleetRequest) -> bytes | None:
        found = credentials.gather(request, self._dice)
        if not found:
            return None
        if self._vault is None:
            raise SecretsRefused("no encryption key is configured (NODEWRIGHT_ENCRYPTION_KEYS)")
        return self._vault.seal(found)

    def _digests(self, request: FleetRequest) -> tuple[str, ...]:
        """Return what tells this request from others, the newest first; another password is another request."""
        whole = {"request": request.public(), "secrets": [group.secrets() for group in request.groups]}
        content = json.dumps(whole, sort_keys=True).encode()
        if self._vault is not None and request.has_secrets:
            return self._vault.marks(content)
        return (hashlib.sha256(content).hexdigest(),)

    def _store(self, draft: Draft, where: Places, key: str | None, digests: tuple[str, ...]) -> Submission:
        try:
            with self._database.write() as tx:
                draft = self._insert(tx, draft, where, key, digests)
        except IntegrityError:
            # Somebody else was quicker: with the same key or fleet id (then it is the same fleet), or with a label.
            return self._replay_or_clash(draft, where, digests)
        self._notify()
        return self._accepted(draft, self.fleet(draft.fleet_id, draft.tenant))

    def _insert(
        self, tx: Transaction, draft: Draft, where: Places, key: str | None, digests: tuple[str, ...]
    ) -> Draft:
        draft = _identified(draft, draft.fleet_id or new_id(tx.now, self._dice), key, digests[0])
        homes, pins = places.spread(tx, where, draft.request), where.pins(draft.request)
        draft = replace(draft, homes=homes, pins=pins)
        fleet_rows.insert_fleet(tx, draft, guards=self._guards, dice=self._dice)
        return draft

    def _accepted(self, draft: Draft, fleet: FleetView) -> Submission:
        faults = () if draft.report is None else draft.report.faults
        warnings = () if draft.report is None else draft.report.warnings
        passwords = self._revealed([group.public() for group in draft.request.groups], draft.sealed)
        return Submission(fleet, warnings, faults, root_passwords=passwords)

    def _revealed(self, groups: list[dict[str, Any]], sealed: bytes | None) -> tuple[RootPassword, ...]:
        if self._vault is None or sealed is None:
            return ()
        try:
            return credentials.revealed(groups, self._vault.open(sealed))
        except UnreadableSecretError:
            return ()

    def _replay_or_clash(self, draft: Draft, where: Places, digests: tuple[str, ...]) -> Submission:
        replayed = self._replay(draft.tenant, draft.idempotency_key, draft.fleet_id, digests)
        if replayed is not None:
            return replayed
        if draft.catalog is not None:
            report = self._validate(draft.request, draft.catalog, draft.tenant, where)
            if report.faults:
                raise InvalidRequest(report.faults)
        raise IdempotencyConflict(
            "another request took the same fleet id or labels at the same moment; send it again"
        )

    def _replay(
        self, tenant: str, key: str | None, fleet_id: str | None, digests: tuple[str, ...]
    ) -> Submission | None:
        with self._database.read() as tx:
            found = _find_earlier(tx, tenant, key, fleet_id)
            if found is None:
                return None
            if found.request_hash not in digests or found.tenant_id != tenant:
                raise IdempotencyConflict("this idempotency key or fleet id was used for another request")
            view = queries.find_fleet(tx, found.id, tenant=tenant)
        if view is None:
            return None
        # A first answer may have been lost: whoever sends the same request again is shown the same passwords.
        passwords = self._revealed(found.groups, found.sealed)
        return Submission(view, replayed=True, root_passwords=passwords)

    # Read ------------------------------------------------------------------------------------------------------------

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that reads, for what a page shows together: all of it as it stood at one moment."""
        return self._database.read()

    def fleet(self, ref: str, tenant: str) -> FleetView:
        """Return a fleet by its id, or the newest of that name. Raises NotFound, or FleetRefused.

        Where summing up takes long, what a large fleet has cost is up to 10 s old; so in :meth:`fleets`.
        """
        with self._database.read() as tx:
            view = queries.find_fleet(tx, ref, tenant=tenant, spending=self._spend_of)
            refused = messages.reason_for(tx, ref) if view is None and tenant == MESSAGES_OF else None
        if refused is not None:
            raise FleetRefused(f"the message that asked for fleet {ref!r} was refused: {refused}")
        if view is None:
            raise NotFound(f"there is no fleet {ref!r}")
        return view

    def fleet_id(self, ref: str, tenant: str) -> str:
        """Return the id of the fleet that :meth:`fleet` finds, and count nothing of it. Raises as that does."""
        with self._database.read() as tx:
            found = queries.find_fleet_id(tx, ref, tenant=tenant)
        return found or self.fleet(ref, tenant).id

    def refuse_message(self, fleet_id: str, reason: str) -> None:
        """Keep why a message that came by Celery can never be accepted."""
        with self._database.write() as tx:
            messages.record(tx, fleet_id, reason)

    def refused_messages(self) -> int:
        """Return how many messages were refused ever."""
        with self._database.read() as tx:
            return messages.total(tx)

    def feed(self, ref: str, tenant: str, *, after: int | None = None) -> FleetFeed:
        """Return the events of a fleet, from its first on, or those after the event ``after``.

        Raises:
            NotFound: there is no such fleet.
            UnknownEvent: it has no such event.

        """
        fleet = self.fleet(ref, tenant)
        if after is not None:
            with self._database.read() as tx:
                if not is_event_of(tx, fleet.id, after):
                    raise UnknownEvent(f"the fleet has no event {after}")
        return FleetFeed(self._database, fleet, after=after, lookout=self.lookout)

    def fleets(self, tenant: str, *, limit: int = 100, after: str | None = None) -> list[FleetView]:
        """Return fleets, newest first; those older than the fleet ``after``. Raises NotFound for an unknown one."""
        last = None if after is None else self.fleet_id(after, tenant)
        with self._database.read() as tx:
            return queries.list_fleets(tx, tenant=tenant, limit=limit, after=last, spending=self._spend_of)

    def jobs(
        self,
        tenant: str,
        where: JobFilter = ANY,
        *,
        fleet: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[JobView]:
        """Return jobs, a fleet's by position, else the newest first; those that follow the place ``after``.

        ``fleet`` is an id or a name. Raises NotFound for an unknown one.
        """
        if fleet is not None:
            where = replace(where, fleet_id=self.fleet_id(fleet, tenant))
        with self._database.read() as tx:
            return listing.list_jobs(tx, tenant=tenant, where=where, limit=limit, after=after)

    def job_page(
        self,
        tenant: str,
        where: JobFilter = ANY,
        *,
        sort: Sort | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> JobPage:
        """Return jobs that follow the place ``after``, and where to go on. It looks at so many rows and no more."""
        with self._database.read() as tx:
            return listing.job_page(tx, tenant=tenant, where=where, limit=limit, after=after, sort=sort)

    def iter_jobs(self, tenant: str, where: JobFilter = ANY) -> Iterator[JobView]:
        """Yield every job, in chunks, so that a million rows need no memory."""
        with self._database.read() as tx:
            yield from listing.iterate_jobs(tx, tenant=tenant, where=where)

    def job(self, job_id: str, tenant: str) -> JobDetail:
        """Return one job with its timeline. Raises NotFound."""
        with self._database.read() as tx:
            view = queries.find_job(tx, job_id, tenant=tenant)
            if view is None:
                raise NotFound(f"there is no job {job_id!r}")
            return queries.job_detail(tx, view)

    def status(self, tenant: str | None = None) -> Status:
        """Return alarms, windows, catalog and counts: the tenant's part, or (None) of the whole installation.

        Where counting takes long, the counts are up to 10 s old.
        """
        with self._database.read() as tx:
            states = self._states.look(tx, [tenant])[tenant]
            return queries.status(tx, stale_after=STALE_AFTER, states=states, tenant=tenant)

    def alarms(self, tenant: str | None = None) -> tuple[Alarm, ...]:
        """Return what is wrong now: the tenant's part, or (None) of the whole installation. Counts nothing."""
        with self._database.read() as tx:
            return alarms(tx, *queries.account_ids(tx, tenant), tenant=tenant)

    def readings(self) -> Readings:
        """Return what the metrics are made of, of the whole installation."""
        with self._database.read() as tx:
            states = self._states.look(tx, [None])[None]
            found = Counter(alarm.code for alarm in alarms(tx, *queries.account_ids(tx, None)))
            return Readings(states, found, gauges(tx), tallies.read(tx))

    def _spend_of(self, tx: Transaction, counts: Mapping[str, int]) -> Mapping[str, Spend]:
        """Return what fleets have cost, given how many jobs they have; of large ones as of a moment ago."""
        large = [fleet_id for fleet_id, count in counts.items() if count >= _LARGE]
        small = [fleet_id for fleet_id in counts if fleet_id not in large]
        now = spend.of_fleets(tx, small) if small else {}
        return {**now, **self._spent.look(tx, large)}

    def outlook(self, ref: str, tenant: str) -> outlook.Outlook:
        """Return what is still to come of a fleet. Raises NotFound."""
        fleet = self.fleet(ref, tenant)
        with self._database.read() as tx:
            return outlook.outlook(tx, fleet)

    def failures(self, ref: str, tenant: str) -> tuple[overview.FailureGroup, ...]:
        """Return why jobs of a fleet failed or were rejected. Raises NotFound."""
        fleet_id = self.fleet_id(ref, tenant)
        with self._database.read() as tx:
            return overview.failures(tx, fleet_id)

    def groups(self, ref: str, tenant: str) -> tuple[GroupView, ...]:
        """Return the groups of a fleet's request. Raises NotFound."""
        fleet_id = self.fleet_id(ref, tenant)
        with self._database.read() as tx:
            return queries.fleet_groups(tx, fleet_id)

    def catalog_state(self, tenant: str | None = None) -> str:
        """Return ``fresh``, ``stale``, ``none`` (not read yet) or ``failed`` (the first read failed)."""
        with self._database.read() as tx:
            return queries.catalog_state(tx, queries.account_ids(tx, tenant), stale_after=STALE_AFTER)[0]

    # Resolve ---------------------------------------------------------------------------------------------------------

    def resolve(self, job_id: str, tenant: str, *, actor: str, adopt: int | None) -> JobDetail:
        """Settle an uncertain job by hand: it owns the instance ``adopt``, or (None) its instance does not exist.

        A person's word replaces the look-up; reconcile corrects it where the API says otherwise.

        Raises:
            NotFound: there is no such job.
            NotUncertain: the job is in another state, so that there is nothing to settle.

        """
        self.job(job_id, tenant)
        with self._database.write() as tx:
            job = transitions.load(tx, job_id)
            if job is None or job.state is not State.UNCERTAIN:
                state = "gone" if job is None else job.state.value
                raise NotUncertain(f"job {job_id} is {state}; only an uncertain job can be resolved")
            if adopt is None:
                transitions.absent(tx, job, actor=actor)
            else:
                transitions.owned(tx, job, InstanceFacts(adopt), actor=actor, proof="a person's word")
        self._notify()
        return self.job(job_id, tenant)

    # Cancel ----------------------------------------------------------------------------------------------------------

    def cancel(
        self,
        ref: str,
        tenant: str,
        *,
        actor: str,
        where: JobFilter = ANY,
        ids: tuple[str, ...] | None = None,
    ) -> Cancelled:
        """Cancel what a fleet has not bought yet, or a part of that. What runs or boots stays.

        Raises:
            NotFound: there is no such fleet, or it has no job of one of the ids; nothing is done.

        """
        with _known_jobs():
            done = cancelling.cancel(self._database, self._pick(ref, tenant, where, ids), actor=actor)
        self._notify()
        return done

    # Retry, scale, spend ---------------------------------------------------------------------------------------------

    def retry(
        self,
        ref: str,
        tenant: str,
        *,
        actor: str,
        where: JobFilter = ANY,
        ids: tuple[str, ...] | None = None,
        wishes: Wishes = NO_WISHES,
    ) -> Retried:
        """Give the failed jobs of a fleet, or a part of them, a new attempt.

        Raises:
            NotFound: there is no such fleet, or it has no job of one of the ids; nothing is done.
            InvalidRequest: a guard would be exceeded, or the secrets or the deadline are wrong; nothing is done.
            SecretsRefused: secrets are given, and there is no key to seal them with.

        """
        self._refuse_secrets(wishes.secrets)
        retrier = Retrier(self._database, self._vault, self._guards, self._catalogs)
        with _known_jobs():
            pick = self._pick(ref, tenant, where, ids)
            done = _unless_taken(partial(retrier.retry, pick, wishes, actor=actor))
        if not wishes.dry_run:
            self._notify()
        return done

    def scale(self, ref: str, tenant: str, wish: Wish, *, actor: str) -> Scaled:
        """Bring a fleet to the size that is wished for; fewer needs the confirmation of a dry run.

        Raises:
            NotFound: there is no such fleet, or it has no job of one of the ids; nothing is done.
            InvalidRequest: the wish is wrong, over a guard, or not confirmed; nothing is done.
            ConfirmationRefused: the confirmation is that of another list; nothing is done.
            CatalogUnavailable: nothing can be validated yet.
            SecretsRefused: secrets are given, and there is no key to seal them with.

        """
        self._refuse_secrets(wish.secrets)
        scaler = Scaler(self._database, self._vault, self._guards, self._catalogs, self._dice)
        fleet_id = self.fleet_id(ref, tenant)
        with _known_jobs():
            done = _unless_taken(partial(scaler.scale, fleet_id, tenant, wish, actor=actor))
        if not wish.dry_run:
            self._notify()
        return done

    def spend(
        self, tenant: str | None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[TenantSpend], list[FleetSpend]]:
        """Return what a tenant (None: each) has cost so far, and its fleets, the newest first, older than ``after``.

        Where summing up takes long, the sums are up to 10 s old.
        """
        with self._database.read() as tx:
            found = spend.list_fleets(tx, tenant, limit=limit, after=after, spending=self._spend_of)
            return self._sums.look(tx, [tenant])[tenant], found

    def _pick(self, ref: str, tenant: str, where: JobFilter, ids: tuple[str, ...] | None) -> Pick:
        named = None if ids is None else tuple(queries.as_id(one) or one for one in ids)
        return Pick(tenant, replace(where, fleet_id=self.fleet_id(ref, tenant)), named)

    def _refuse_secrets(self, given: Sequence[Given]) -> None:
        if given and self._vault is None:
            raise SecretsRefused("no encryption key is configured (NODEWRIGHT_ENCRYPTION_KEYS)")

    # Destroy ---------------------------------------------------------------------------------------------------------

    def plan_destroy(self, ref: str, tenant: str, where: JobFilter, ids: tuple[str, ...] | None) -> Preview:
        """Return what a destroy of a fleet's jobs would do, and what confirms it. Raises NotFound."""
        pick = self._pick(ref, tenant, where, ids)
        with _known_jobs(), self._database.read() as tx:
            return destruction.preview(tx, pick, destruction.select_targets(tx, pick))

    def destroy(
        self,
        ref: str,
        tenant: str,
        where: JobFilter,
        ids: tuple[str, ...] | None,
        *,
        confirm: str,
        actor: str,
    ) -> Destroyed:
        """Have the instances of a fleet's jobs deleted, and cancel what is not bought yet.

        Raises:
            NotFound: there is no such fleet, or one of the jobs is not the fleet's.
            ConfirmationRefused: ``confirm`` is not what a dry run says now. Nothing was done.

        """
        pick = self._pick(ref, tenant, where, ids)
        with _known_jobs(), self._database.read() as tx:
            targets, refused = destruction.split(destruction.select_targets(tx, pick))
            destruction.check(confirm, pick, targets, tx.now)
        done = destruction.destroy(self._database, targets, actor=actor, wait=self._wait)
        self._notify()
        return replace(done, refused=[*refused, *done.refused])

    # Pause -----------------------------------------------------------------------------------------------------------

    def fleet_scope(self, ref: str, tenant: str) -> Scope:
        """Return a fleet as something that can be paused. Raises NotFound."""
        fleet = self.fleet(ref, tenant)
        return holds.of_fleet(fleet.id, fleet.name)

    def account_scope(self, account: str) -> Scope:
        """Return an account as something that can be paused. Raises NotFound."""
        with self._database.read() as tx:
            if "\x00" in account or not holds.account_exists(tx, account):
                raise NotFound(f"there is no account {account!r}")
        return holds.of_account(account)

    def pause(self, scope: Scope, *, actor: str) -> HoldView:
        """Pause it: when this returns, nothing of it is sent any more. What waits is kept."""
        return holds.pause(self._database, scope, actor=actor, wait=self._wait)

    def resume(self, scope: Scope) -> HoldView:
        """Let it go on."""
        done = holds.resume(self._database, scope)
        self._notify()
        return done

    # Time to live ----------------------------------------------------------------------------------------------------

    def extend_ttl(self, ref: str, tenant: str, seconds: int) -> int:
        """Lengthen a fleet's time to live; return how many of its jobs have the longer one.

        Raises:
            NotFound: there is no such fleet.
            NoTimeToLive: it has none.
            InvalidRequest: it would be too long.

        """
        fleet = self.fleet(ref, tenant)
        if fleet.ttl_seconds is None:
            raise NoTimeToLive(f"fleet {fleet.name!r} has no time to live, so there is nothing to extend")
        with self._database.write() as tx:
            if expiry.extend(tx, fleet.id, seconds) is None:
                raise InvalidRequest([expiry.too_long(fleet.ttl_seconds, seconds)])
        count = 0
        after: str | None = ""
        while after is not None:
            with self._database.write() as tx:
                reached, after = expiry.extend_jobs(tx, fleet.id, seconds, after=after or None)
            count += reached
        return count


@contextmanager
def _known_jobs() -> Iterator[None]:
    try:
        yield
    except UnknownJobError as error:
        raise NotFound(str(error)) from None
    except NoCatalogError:
        _known(None)


def _unless_taken(act: Callable[[], Done]) -> Done:
    """Do what takes labels; where another tenant of the account took one at the same moment, look again."""
    for _ in range(_TRIES):
        try:
            return act()
        except IntegrityError:
            continue
    return act()


def _known(catalog: Catalog | None) -> Catalog:
    if catalog is None:
        raise CatalogUnavailable(
            "no catalog was read yet: the Linode API has not been reached since the start"
        )
    return catalog


def _unless_replayed(store: Callable[[], Submission], replay: Callable[[], Submission | None]) -> Submission:
    try:
        return store()
    except InvalidRequest:
        # The same request may have been quicker elsewhere: then it is itself who holds its labels and its quota.
        replayed = replay()
        if replayed is None:
            raise
        return replayed


def _chosen(fleet_id: str) -> str:
    try:
        return str(UUID(fleet_id))  # in one spelling: SQLite would tell others apart
    except ValueError:
        raise ValueError(f"expected a UUID as fleet id, got {fleet_id[:64]!r}") from None


def _identified(draft: Draft, fleet_id: str, key: str | None, digest: str) -> Draft:
    return Draft(**{**vars(draft), "fleet_id": fleet_id, "idempotency_key": key, "request_hash": digest})


def _find_earlier(tx: Transaction, tenant: str, key: str | None, fleet_id: str | None) -> Any:  # noqa: ANN401 - a row
    columns = select(fleets.c.id, fleets.c.tenant_id, fleets.c.request_hash, fleets.c.groups, fleets.c.sealed)
    if fleet_id:
        found = tx.execute(columns.where(fleets.c.id == fleet_id)).first()
        if found is not None:
            return found
    if key:
        return tx.execute(
            columns.where(fleets.c.tenant_id == tenant, fleets.c.idempotency_key == key)
        ).first()
    return None


def _count_states(tx: Transaction, names: Sequence[str | None]) -> dict[str | None, dict[str, int]]:
    return {tenant: queries.count_states(tx, tenant) for tenant in names}


def _are_many(states: Mapping[str, int]) -> bool:
    return sum(states.values()) >= _MANY


def _spent(tx: Transaction, fleet_ids: Sequence[str]) -> dict[str, Spend]:
    return dict.fromkeys(fleet_ids, Spend()) | spend.of_fleets(tx, fleet_ids)


def _spent_by_tenants(tx: Transaction, names: Sequence[str | None]) -> dict[str | None, list[TenantSpend]]:
    return {tenant: spend.of_tenants(tx, tenant) for tenant in names}

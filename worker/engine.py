"""The engine: admits, and carries one job through its create. It knows no Celery; it is given a way to publish.

The run of a create is a list of phases over one record: claim, send, settle. Each effect (commit, send, publish) stands
alone, so that a death between any two of them leaves something that the chores can go on from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError
from structlog.contextvars import bind_contextvars

from api_client import (
    LARGEST_PAGE,
    Collection,
    Filter,
    InstanceCreate,
    LinodeClient,
    LinodeError,
    Metadata,
    Reply,
    Resource,
    Throttled,
)
from jobs import admission, backoff, fleets, places, resting, transitions
from jobs.admission import CREATE, Admission, Heard
from jobs.catalog import Catalog
from jobs.choices import Choice, price_of, rest
from jobs.database import Database, Transaction
from jobs.identity import installation_tag
from jobs.passwords import generate_password
from jobs.records import JobRecord
from jobs.requests import GroupRequest
from jobs.states import Event, State
from jobs.transitions import FALL_BACK_ON, Present, Reason
from jobs.validation import Spec, judge, spec_of
from jobs.vault import UnreadableSecretError, Vault
from jobs.windows import Call, RateFacts, taught
from worker.config import Pace
from worker.group_commit import GroupCommit
from worker.outcomes import (
    Created,
    LabelInUse,
    Limited,
    Outcome,
    Paused,
    Refused,
    Unknown,
    Unsent,
    facts_of,
    rate_facts,
    read_error,
)

T = TypeVar("T")
R = TypeVar("R", bound=Resource)
_MOST_GRANTS: Final = 96
_BACKLOG_SECONDS: Final = 0.02
_MOST_GROUPS: Final = 256
_MOST_PAGES: Final = 1000
_OUR_200: Final = "our own 200"
_OF_OURS: Final = {"count", "name", "label_pattern", "tags", "reveal_root_pass", "regions", "prefer"}
_AS_OF_THE_JOB: Final = {"type", "region"}
_NOT_SENT_AS_ASKED: Final = _OF_OURS | _AS_OF_THE_JOB | {"root_pass", "user_data", "stackscript_data"}


class SnoozeError(Exception):
    """A read has to wait for its window; ``until`` says when to try again."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(f"the window opens at {until.isoformat()}")


@dataclass(frozen=True)
class Parts:
    """The engine's collaborators; each can be another one in a test."""

    database: Database
    client: LinodeClient
    vault: Vault | None
    catalogs: Callable[[str], Catalog | None]
    publish: Callable[[Sequence[str]], None]
    """Sends one wake-up per job id; best effort, never raises."""
    monotonic: Callable[[], float]
    dice: Random
    called: Callable[[str, int | None], object] = lambda _route, _status: None
    """Counts a call of a route by the status of its answer; None: there was none."""


@dataclass(frozen=True)
class Identity:
    """On whose behalf the engine works."""

    installation: str
    account_id: str
    token_id: str
    actor: str


@dataclass(frozen=True)
class Claimed:
    """A create whose intent is committed.

    since: from when its age counts, by our monotonic clock.
    sick: its account is paused, is being probed, or had a fault last, so that a good answer is news.
    request_id: of the request that made its fleet, for the log.
    """

    job: JobRecord
    request: InstanceCreate
    since: float
    sick: bool = True
    request_id: str | None = None


@dataclass(frozen=True)
class _Wish:
    """A job to be created. ``since``: from when its age counts, by our monotonic clock."""

    job_id: str
    catalog: Catalog | None
    since: float


@dataclass(frozen=True)
class _Look:
    """What there is to do for admission. Where there is nothing: look again in ``wait`` seconds, None: when called."""

    waiting: Sequence[admission.Waiting] = ()
    most: int = 0
    """So many of them may be granted."""
    next_at: datetime | None = None
    wait: float | None = None
    others: Sequence[str] = ()
    """Jobs of other accounts that could be taken over."""
    probes: bool = False
    """The token rests: one create finds out whether it is accepted again."""
    wakes: bool = False
    """Snoozes are over."""


class _Group(NamedTuple):
    request: GroupRequest
    sealed: bytes | None
    erased: bool


@dataclass(frozen=True)
class Answer:
    """What came of a send. ``written``: when its last byte left, by our monotonic clock; None: unknown."""

    outcome: Outcome
    facts: RateFacts = field(default_factory=RateFacts)
    written: float | None = None


_Settled = tuple[Claimed, Answer]


class Engine:
    """Admission, the create, and the calls that chores make."""

    def __init__(self, parts: Parts, identity: Identity, pace: Pace) -> None:
        self.parts = parts
        self.identity = identity
        self.pace = pace
        self._groups: dict[tuple[str, int], _Group] = {}
        self._claims = GroupCommit(self._claim_all)
        self._successes = GroupCommit(self._write_all_down)
        self.verdict = lru_cache(maxsize=4096)(_verdict)

    # Admission -------------------------------------------------------------------------------------------------------

    def admit(self) -> tuple[Admission, float | None]:
        """Grant what the window allows and wake workers up; return also in how many seconds to try again."""
        me = self.identity
        look = self._look()
        if look.wakes:
            with self.parts.database.write() as tx:
                admission.wake(tx, me.account_id)
            look = self._look(woken=True)
        if look.others:
            if not self._take_over(look.others):
                return Admission(), None
            look = self._look(woken=True)
        if not look.waiting:
            return Admission(next_at=look.next_at), look.wait
        with self.parts.database.write() as tx:
            if look.probes and not resting.take_probe(tx, me.token_id):
                return Admission(), None
            result = admission.admit(
                tx,
                look.waiting,
                account_id=me.account_id,
                token_id=me.token_id,
                actor=me.actor,
                most=look.most,
            )
            wait = _until(result.next_at, tx.now)
        if result.granted:
            self.parts.publish(list(result.granted))
        return result, wait

    def _look(self, *, woken: bool = False) -> _Look:
        """Find out without a lock what there is to do: waiting costs no write, and the lock is short."""
        me = self.identity
        with self.parts.database.read() as tx:
            snooze = admission.next_snooze(tx, me.account_id)
            if snooze is not None and snooze <= tx.now and not woken:
                return _Look(wakes=True)
            ready = admission.anything_ready(tx, me.account_id)
            others = [] if ready else self._others_jobs(tx)
            if not ready and not others:
                return _Look(wait=_until(snooze, tx.now))
            look = self._look_at_window(tx)
            return replace(look, others=others) if look.most else look

    def _look_at_window(self, tx: Transaction) -> _Look:
        me = self.identity
        chance = admission.next_chance(tx, account_id=me.account_id, token_id=me.token_id)
        rest = resting.rests_until(tx, me.token_id)
        if chance is None and rest is not None and rest > tx.now:
            chance = rest
        if chance is not None:
            return _Look(next_at=chance, wait=_until(chance, tx.now))
        # Two workers that look at the same moment may grant twice as much between them, but not again.
        most = _MOST_GRANTS - admission.open_grants(tx, me.account_id)
        if most < _MOST_GRANTS // 2:
            return _Look(wait=_BACKLOG_SECONDS)
        most = admission.room(tx, me.token_id, most=1 if rest is not None else most)
        waiting = admission.next_jobs(tx, me.account_id, most)
        return _Look(waiting, most, probes=rest is not None, wait=_BACKLOG_SECONDS)

    def _others_jobs(self, tx: Transaction) -> list[str]:
        """Return jobs that wait for other accounts and could go by this one now."""
        me = self.identity
        helped = places.helped_by(tx, me.account_id)
        room = admission.room(tx, me.token_id, most=_MOST_GRANTS) if helped else 0
        return places.movable(tx, me.account_id, helped, room) if room > 0 else []

    def _take_over(self, job_ids: Sequence[str]) -> int:
        try:
            with self.parts.database.write() as tx:
                return places.take_over(tx, self.identity.account_id, job_ids, actor=self.actor)
        except IntegrityError:
            return 0  # somebody took one of the labels in between

    # The run of a create ---------------------------------------------------------------------------------------------

    def create(self, job_id: str) -> str:
        """Carry a dispatched job through its create; return in a word what happened, for the log."""
        claimed = self._claim(job_id, self.parts.catalogs(self.identity.account_id))
        if claimed is None:
            return "not mine"
        bind_contextvars(fleet=claimed.job.fleet_id, request_id=claimed.request_id)
        return self._settle(claimed, self._send(claimed.request, claimed.since))

    def _claim(self, job_id: str, catalog: Catalog | None) -> Claimed | None:
        return self._claims(_Wish(job_id, catalog, self.parts.monotonic()))

    def _claim_all(self, wishes: Sequence[_Wish]) -> list[Claimed | None]:
        """Commit the intents of several creates; None for a job that is not to be created now."""
        with self.parts.database.write() as tx:
            grants = admission.load_grants(tx, [wish.job_id for wish in wishes])
            if len(wishes) > 1 and len(grants) < len(wishes):
                raise transitions.OvertakenError  # somebody works on one of them, or it came twice
            claims = [self._ready(tx, grants.get(wish.job_id), wish) for wish in wishes]
            going = [claim.job for claim in claims if claim is not None]
            if not going:
                return claims
            if any(grants[job.id].unopened for job in going):
                admission.open_window(tx, going[0])
            sent = iter(transitions.all_sent(tx, going, actor=self.actor, lease=self.pace.lease))
            return [None if claim is None else _with(claim, next(sent)) for claim in claims]

    def _ready(self, tx: Transaction, grant: admission.Grant | None, wish: _Wish) -> Claimed | None:
        """Return what is to be sent for a job, or move it on and return None."""
        if grant is None or grant.job.state is not State.DISPATCHED or not self._is_mine(grant.job):
            return None
        job = grant.job
        if job.send_before is not None and tx.now > job.send_before:
            transitions.given_back(tx, job, "the grant came too late for its window", actor=self.actor)
            return None
        if grant.held:
            transitions.given_back(tx, job, "paused", actor=self.actor)
            return None
        aged = self._aged(tx, job, wish.since)
        request = self._prepare(tx, job, wish.catalog)
        if isinstance(request, Reason):
            self._cannot_be_sent(tx, job, request, wish.catalog)
            return None
        return Claimed(job, request, aged, sick=grant.sick, request_id=grant.request_id)

    def _cannot_be_sent(self, tx: Transaction, job: JobRecord, why: Reason, catalog: Catalog | None) -> None:
        event = Event.ERASED if why.code == "credentials_erased" else Event.TURNED_INVALID
        closed = why.code in FALL_BACK_ON and job.last_unknown_at is None
        following = self._following(tx, job, catalog) if closed else None
        if following is not None:
            transitions.fell_back(tx, job, why, following, actor=self.actor)
        else:
            transitions.ended_waiting(tx, job, event, why, actor=self.actor)

    def _is_mine(self, job: JobRecord) -> bool:
        # A grant is for one token: with another it would spend the wrong window, or buy in the wrong account.
        return job.token_id == self.identity.token_id

    def _aged(self, tx: Transaction, job: JobRecord, since: float) -> float:
        """Count a send's age from earlier where it must leave sooner: after its window's end it would be refused."""
        if job.send_before is None:
            return since
        latest = self.parts.monotonic() + (job.send_before - tx.now).total_seconds()
        return min(since, latest - self.pace.stale_send.total_seconds())

    @property
    def actor(self) -> str:
        """Who acts, for the timeline."""
        return self.identity.actor

    def _load_group(self, tx: Transaction, job: JobRecord) -> _Group:
        # A fleet's groups never change, and reading one again for each of its jobs costs more than the rest. Secrets
        # are erased some day, and are never kept in memory; but a fleet without any will not get some.
        key = (job.fleet_id, job.group_index)
        known = self._groups.get(key)
        if known is not None and known.sealed is None and not known.erased:
            return known
        asked, sealed, erased = fleets.load_group(tx, *key)
        group = known.request if known is not None else GroupRequest.restore(asked)
        if len(self._groups) >= _MOST_GROUPS:
            self._groups.clear()
        self._groups[key] = _Group(group, None, erased or sealed is not None)
        return _Group(group, sealed, erased)

    def _prepare(self, tx: Transaction, job: JobRecord, catalog: Catalog | None) -> InstanceCreate | Reason:
        group, sealed, erased = self._load_group(tx, job)
        fault = None if catalog is None else self._judge(tx, group, Choice(job.type, job.region), catalog)
        if fault is not None and not self._sent_all_the_same(tx, job, fault, catalog):
            return fault
        try:
            secrets = self._open(sealed, job.group_index)
        except UnreadableSecretError as error:
            return Reason("credentials_erased", str(error))
        if erased and not secrets:
            return Reason(
                "credentials_erased", "the secrets given with the request were erased; give them again"
            )
        return self._request(job, group, secrets)

    def _judge(self, tx: Transaction, group: GroupRequest, choice: Choice, catalog: Catalog) -> Reason | None:
        return self.verdict(spec_of(group, choice), _ById(catalog), tx.now.date().toordinal())

    def _sent_all_the_same(
        self, tx: Transaction, job: JobRecord, why: Reason, catalog: Catalog | None
    ) -> bool:
        """Whether only the API's own no can tell: after an unknown send nothing else may be taken before that."""
        sticky = job.last_unknown_at is not None and job.ending is None and why.code in FALL_BACK_ON
        return sticky and self._following(tx, job, catalog) is not None

    def _following(self, tx: Transaction, job: JobRecord, catalog: Catalog | None) -> Present | None:
        """Return what the request names to be taken next: the first alternative left that the catalog allows."""
        group = self._load_group(tx, job).request
        for index, choice in rest(group, job.region, job.choice, catalog):
            if catalog is None or self._judge(tx, group, choice, catalog) is None:
                price = price_of(group, choice, catalog)
                hourly = job.reserved_microusd if price is None else price.hourly
                return Present(index, choice.type, choice.region, hourly)
        return None

    def _open(self, sealed: bytes | None, position: int) -> dict[str, Any]:
        if sealed is None:
            return {}
        if self.parts.vault is None:
            raise UnreadableSecretError("this worker has no encryption key")
        opened: dict[str, Any] = self.parts.vault.open(sealed).get(str(position), {})
        return opened

    def _request(self, job: JobRecord, group: GroupRequest, secrets: dict[str, Any]) -> InstanceCreate:
        values = group.model_dump(
            exclude=_NOT_SENT_AS_ASKED,
            exclude_none=True,
            exclude_defaults=True,
        )
        tags = (*group.tags, installation_tag(self.identity.installation), str(job.tag))
        values |= {"label": job.label, "type": job.type, "region": job.region}
        values |= {"tags": tags, "booted": group.booted} | self._credentials(group, secrets)
        return InstanceCreate.model_validate(values)

    def _credentials(self, group: GroupRequest, secrets: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if "root_pass" in secrets:
            values["root_pass"] = secrets["root_pass"]
        elif group.image is not None:
            # Nobody sees it: keys, or the console's password reset, are the way in.
            values["root_pass"] = generate_password(self.parts.dice)
        if "user_data" in secrets:
            values["metadata"] = Metadata.encode(secrets["user_data"].encode())
        if "stackscript_data" in secrets:
            values["stackscript_data"] = secrets["stackscript_data"]
        return values

    def _send(self, request: InstanceCreate, since: float) -> Answer:
        started = self.parts.monotonic()
        if started - since > self.pace.stale_send.total_seconds():
            # A process that was frozen since its intent may have been given up: it must not buy now.
            return Answer(Unsent(Reason("not_sent", "held back: too long after its intent"), ours=True))
        try:
            reply = self._counted(CREATE, lambda: self.parts.client.instances.create(request))
        except LinodeError as error:
            written = _plus(started, error.detail.written)
            return Answer(read_error(error), rate_facts(error.rate), written)
        except ValueError as error:
            return Answer(Refused(Reason("rejected_by_api", f"cannot be written down: {error}")))
        return Answer(Created(facts_of(reply.value)), rate_facts(reply.rate), _plus(started, reply.written))

    def _settle(self, claimed: Claimed, answer: Answer) -> str:
        settled = (claimed, answer)
        try:
            return self._write_down(settled)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The database was restarted behind this connection. Once more is safe: the row's version guards it.
            return self._write_down(settled)

    def _write_down(self, settled: _Settled) -> str:
        # What is not a plain success is rare, touches more than its own row, and is written down alone.
        if isinstance(settled[1].outcome, Created):
            return self._successes(settled)
        return self._write_all_down([settled])[0]

    def _write_all_down(self, settled: Sequence[_Settled]) -> list[str]:
        with self.parts.database.write() as tx:
            if len(settled) > 1:
                transitions.hold(tx, [claimed.job.id for claimed, _ in settled])
            self._learn(tx, settled)
            moved = self._record_all(tx, settled)
            for claimed, answer in settled:
                self._note_health(tx, answer.outcome, sick=claimed.sick)
        return ["late" if job is None else job.state.value for job in moved]

    def _record_all(self, tx: Transaction, settled: Sequence[_Settled]) -> list[JobRecord | None]:
        if len(settled) == 1:
            ((claimed, answer),) = settled
            moved = self._record(tx, claimed.job, answer.outcome)
            return [moved or self._record_late(tx, claimed.job, answer.outcome)]
        made = [
            (one.job, answer.outcome.facts) for one, answer in settled if isinstance(answer.outcome, Created)
        ]
        return transitions.all_owned(tx, made, actor=self.actor, proof=_OUR_200)

    def _learn(self, tx: Transaction, settled: Sequence[_Settled]) -> None:
        replies = [self._heard(tx, claimed.job, answer) for claimed, answer in settled]
        me = self.identity
        admission.learn(tx, token_id=me.token_id, route=CREATE, replies=replies, account_id=me.account_id)

    def _heard(self, tx: Transaction, job: JobRecord, answer: Answer) -> Heard:
        call = Call(
            sent_at=job.sent_at or tx.now,
            written_at=self._moment(tx, answer.written),
            accepted=isinstance(answer.outcome, Created),
        )
        return Heard(answer.facts, call, throttled=isinstance(answer.outcome, Limited))

    def _moment(self, tx: Transaction, monotonic: float | None) -> datetime | None:
        """Return a moment of our monotonic clock as one of the database's; rather too late than too early."""
        ago = None if monotonic is None else self.parts.monotonic() - monotonic
        return None if ago is None else tx.now - timedelta(seconds=ago)

    def _note_health(self, tx: Transaction, outcome: Outcome, *, sick: bool) -> None:
        account = self.identity.account_id
        if isinstance(outcome, Paused):
            why = outcome.why
            if not resting.refuse(tx, account, self.identity.token_id, code=why.code, reason=why.reason):
                admission.pause(tx, account, code=why.code, reason=why.reason)
        elif (isinstance(outcome, Unknown) and outcome.fault) or (
            isinstance(outcome, Unsent) and not outcome.ours
        ):
            admission.fault(tx, account)
        elif sick and not isinstance(outcome, Unknown | Unsent):
            admission.healthy(tx, account)

    # What each outcome does to the row --------------------------------------------------------------------------------

    def _record(self, tx: Transaction, job: JobRecord, outcome: Outcome) -> JobRecord | None:
        if isinstance(outcome, Created):
            return transitions.owned(tx, job, outcome.facts, actor=self.actor, proof=_OUR_200)
        if isinstance(outcome, Unknown):
            soon = tx.now + backoff.look_again(0, self.parts.dice)
            return transitions.unknown(tx, job, Event.UNKNOWN, outcome.why, actor=self.actor, run_after=soon)
        if isinstance(outcome, LabelInUse) or job.last_unknown_at is not None:
            return self._inconclusive(tx, job, outcome)
        if isinstance(outcome, Refused):
            return self._refused(tx, job, outcome.why)
        if job.ending == "cancel":
            return transitions.cancelled(tx, job, actor=self.actor)
        return self._requeue(tx, job, outcome)

    def _refused(self, tx: Transaction, job: JobRecord, why: Reason) -> JobRecord | None:
        following = self.instead(tx, job, why)
        if following is None:
            return transitions.refused(tx, job, why, actor=self.actor)
        return transitions.fell_back(tx, job, why, following, actor=self.actor)

    def instead(self, tx: Transaction, job: JobRecord, why: Reason) -> Present | None:
        """Return what is taken in place of what the API refused; None: nothing."""
        if why.code not in FALL_BACK_ON or job.ending is not None:
            return None
        return self._following(tx, job, self.parts.catalogs(self.identity.account_id))

    def _inconclusive(self, tx: Transaction, job: JobRecord, outcome: Outcome) -> JobRecord | None:
        ending = None
        if isinstance(outcome, Refused) and self.instead(tx, job, outcome.why) is None:
            ending = "fail"
        why = Reason("rate_limited", "429") if isinstance(outcome, Limited | Created) else outcome.why
        return transitions.inconclusive(tx, job, why, actor=self.actor, ending=ending, run_after=tx.now)

    def _requeue(self, tx: Transaction, job: JobRecord, outcome: Outcome) -> JobRecord | None:
        if isinstance(outcome, Paused):
            event, why, wait = Event.ACCOUNT_PAUSED, outcome.why, None
        elif isinstance(outcome, Unsent):
            wait = None if outcome.ours else backoff.send_again(job.sends, self.parts.dice)
            event, why = Event.NOT_SENT, outcome.why
        else:
            event, why, wait = Event.THROTTLED, None, None
        run_after = None if wait is None else tx.now + wait
        return transitions.requeued(tx, job, event, why, actor=self.actor, run_after=run_after)

    def _record_late(self, tx: Transaction, job: JobRecord, outcome: Outcome) -> JobRecord | None:
        """Record an answer whose row was moved in between, where it still fits; else change nothing.

        The same send, still creating: only a cancel was noted. The same send, uncertain by now: our own 200 is proof.
        Anything else was decided by others; what this send bought is found by its tag and removed.
        """
        now = transitions.load(tx, job.id)
        if now is None or (now.attempt, now.sends) != (job.attempt, job.sends):
            return None
        if now.state is State.CREATING:
            return self._record(tx, now, outcome)
        if now.state is State.UNCERTAIN and isinstance(outcome, Created):
            return transitions.owned(tx, now, outcome.facts, actor=self.actor, proof="our own 200, late")
        return None

    def _counted(self, route: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        """Make a call; whatever comes of it is counted."""
        try:
            reply = call()
        except LinodeError as error:
            self.parts.called(route, error.status)
            raise
        self.parts.called(route, reply.status)
        return reply

    # Reads -----------------------------------------------------------------------------------------------------------

    def read(self, route: str, call: Callable[[], Reply[T]]) -> T:
        """Make one call of a read's (or a delete's) route, within its own window.

        Raises:
            SnoozeError: the window is spent, or the API says so.
            LinodeError: the call did not end in a readable success.

        """
        token = self.identity.token_id
        with self.parts.database.write() as tx:
            until = admission.spend(tx, token_id=token, route=route)
            sent_at = tx.now
        if until is not None:
            raise SnoozeError(until)
        started = self.parts.monotonic()
        try:
            reply = self._counted(route, call)
        except Throttled as error:
            written = _plus(started, error.detail.written)
            raise SnoozeError(self._throttled(route, rate_facts(error.rate), sent_at, written)) from error
        self._learn_read(route, rate_facts(reply.rate), sent_at, _plus(started, reply.written))
        return reply.value

    def read_all(self, route: str, collection: Collection[R], where: Filter | None = None) -> list[R]:
        """Return every item of a list, each page a call within the window.

        Lists may shift while they are read, so an item can come twice. A list that never ends is cut off.

        Raises:
            SnoozeError: the window is spent; nothing of the list is kept.
            LinodeError: a page could not be read.

        """
        items: list[R] = []
        for number in range(1, _MOST_PAGES + 1):
            call = partial(collection.list_page, number, page_size=LARGEST_PAGE, where=where)
            page = self.read(route, call)
            items += page.data
            if page.is_last or not page.data:
                break
        return items

    def _learn_read(self, route: str, facts: RateFacts, sent_at: datetime, written: float | None) -> None:
        with self.parts.database.read() as tx:
            known = admission.read_windows(tx, self.identity.token_id, route)
            if facts.allowed is not None and any(window.allowed < facts.allowed for window in known):
                # Lists are limited to 200 a minute while their headers claim 1840 (recorded): a read learns less only.
                facts = RateFacts()
            # One write tells when the window ends; a window that is hardly used needs no better end than that.
            near = any(window.started_by is None or window.spent * 2 >= window.allowed for window in known)
            written_at = self._moment(tx, written) if near else None
            call = Call(sent_at, written_at, alone=True)
            news = taught(known, facts, call, now=tx.now, throttled=False) != known
        if news:
            with self.parts.database.write() as tx:
                token = self.identity.token_id
                admission.learn(tx, token_id=token, route=route, replies=[Heard(facts, call)])

    def _throttled(self, route: str, facts: RateFacts, sent_at: datetime, written: float | None) -> datetime:
        token = self.identity.token_id
        with self.parts.database.write() as tx:
            call = Call(sent_at, self._moment(tx, written), accepted=False)
            admission.learn(tx, token_id=token, route=route, replies=[Heard(facts, call, throttled=True)])
            opening = admission.next_opening(tx, token, route)
            return max(opening or tx.now, tx.now + timedelta(seconds=1))


def _with(claim: Claimed, sent: JobRecord | None) -> Claimed | None:
    return None if sent is None else replace(claim, job=sent)


def _until(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max((moment - now).total_seconds(), 0.0)


def _plus(started: float, seconds: float | None) -> float | None:
    return None if seconds is None else started + seconds


class _ById:
    """A catalog as a cache key: the same version gives the same verdicts."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.catalog.version == other.catalog.version

    def __hash__(self) -> int:
        return hash(self.catalog.version)


def _verdict(spec: Spec, key: _ById, day: int) -> Reason | None:
    """Return why a spec is no longer valid, or None. ``day``: an image's end of life is looked at once a day."""
    now = datetime.fromordinal(day).astimezone()
    faults = [verdict for verdict in judge(spec, key.catalog, now=now) if verdict.level == "fault"]
    if not faults:
        return None
    return Reason(faults[0].code, f"{faults[0].message}; {faults[0].remedy}", faults[0].key)

"""One deterministic run of the real engine: SQLite, the simulator's pure world, an injected clock, and crashes.

An effect is a commit, a publish, a send or a receive. Before each one the machine may crash the process (a
BaseException flies through all of the real code, memory is lost, rows and world stay), freeze it, cancel the fleet or
step the clock.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
from sqlalchemy import Table, select

from api_client import Clock, LinodeClient
from jobs import admission, house
from jobs.accounts import fingerprint
from jobs.admission import Limit
from jobs.catalog import Catalog
from jobs.database import Database, Transaction
from jobs.fleets import Guards
from jobs.records import accounts, chores, installation, jobs, rate_windows
from jobs.requests import parse_request
from jobs.schema import upgrade
from jobs.service import Service
from jobs.states import SETTLED, TRANSITIONS, Event, State
from jobs.vault import Vault
from simulator import World, WorldSettings, WorldTransport
from simulator.catalog import load_catalog
from simulator.faults import Faults, parse_rule
from simulator.limits import Bucket, Limits
from tests.explorer.schedule import Schedule
from tests.explorer.twists import TWISTS
from worker.config import Pace, WorkerConfig
from worker.engine import Engine, Identity, Parts
from worker.lookup import Lookup
from worker.loop import Loop
from worker.reconcile import Reconcile
from worker.removal import Removal
from worker.sweep import Intake, Sweep
from worker.watch import Watch

BOOT = 10.0
START = 1_700_000_000.0
TOKEN = "simulated-token"
LONGEST = 4 * 3600.0
"""Simulated seconds after which a job that has not settled counts as stuck."""
GRACE = 5.0
PACE = Pace(tick=timedelta(seconds=50), grace=timedelta(seconds=GRACE))
"""As shipped, but for two durations that only make runs longer: the loop's idle tick, and the grace period."""
LATEST_SEND = 10.0
"""Seconds from an intent's commit after which no create may leave, but by a freeze in the very act of sending."""
QUIET = 1200.0
"""Simulated seconds for reconcile to find what came late, after everything settled."""
_SPEC = {"name": "web", "count": 1, "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}


class Crash(BaseException):
    """The process dies here. No handler of the engine may catch it."""


class Violation(BaseException):
    """A promise was broken. Like a crash it flies through all handlers, the client's too."""


@dataclass
class Time:
    """Wall and monotonic time, moved by hand. A step moves the wall only."""

    now: float = START
    shift: float = 0.0

    def true(self) -> float:
        """The API's own clock, which our machine's steps do not touch."""
        return self.now

    def wall(self) -> float:
        return self.now + self.shift

    def monotonic(self) -> float:
        return self.now - START

    def moment(self, _connection: Any = None) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC)


class Steady(Random):
    """Dice without surprise: jitter is none, and ids count up, so that equal states have equal futures."""

    drawn = 0

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        self.drawn += 1
        return (0x9E3779B97F4A7C15 * self.drawn) % (1 << k)


class Inline(Executor):
    """Runs what is submitted at once, so that chores are part of the one deterministic order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class HookedDatabase(Database):
    """A database that tells the machine before each commit, and checks the promises after it."""

    def __init__(self, path: Path, template: Path) -> None:
        super().__init__(
            f"sqlite:///{path}", clock=lambda _connection: self._machine.time.moment(), pool_size=4
        )
        self._path = path
        self._template = template
        self._looks: sqlite3.Connection | None = None
        self._machine: Machine

    def attach(self, machine: Machine) -> None:
        """Begin a run on a fresh copy. The engine stays, because its compiled statements are most of a run's cost."""
        self.close()
        if self._looks is not None:
            self._looks.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        shutil.copy(self._template, self._path)
        self._looks = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        self._machine = machine

    def look(self, statement: str) -> list[tuple[Any, ...]]:
        """Return rows as the file holds them, past SQLAlchemy: the machine looks after every step."""
        assert self._looks is not None
        return self._looks.execute(statement).fetchall()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with super().write() as tx:
            yield tx
            self._machine.effect("commit")
        self._machine.committed()


class HookedTransport(httpx.BaseTransport):
    """The world, reached through effects: a send, then a receive."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._inner = WorldTransport(
            machine.world, machine.time.true, strict_bodies=True, on_delay=machine.pass_time
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._machine.effect("send")
        creates = request.method == "POST" and request.url.path.endswith("/linode/instances")
        if creates:
            self._machine.sending(request)
        try:
            reply = self._inner.handle_request(request)
        finally:
            self._machine.applied()
        self._machine.effect("receive")
        return reply


@dataclass
class Collaborators:
    """What a protection's test may replace."""

    engine: type[Engine] = Engine
    chores: tuple[type[Any], ...] = (Watch, Lookup, Removal, Reconcile, Sweep, Intake)


@dataclass
class Verdict:
    """How a run ended."""

    schedule: Schedule
    effects: int
    trace: list[str]
    transitions: set[tuple[str, str, str]]
    violation: str | None = None
    kinds: list[str] = field(default_factory=list)
    prints: list[str] = field(default_factory=list)
    """What would outlive a crash before each effect, as digests; only where the run was asked to record them."""


class Machine:
    """Runs one schedule."""

    def __init__(
        self,
        schedule: Schedule,
        database: HookedDatabase,
        collaborators: Collaborators,
        *,
        record: bool = False,
    ) -> None:
        self.schedule = schedule
        self.record = record
        self.prints: list[str] = []
        self.time = Time()
        self.dice = Steady()
        self.collaborators = collaborators
        self.trace: list[str] = []
        self.kinds: list[str] = []
        self.count = 0
        self.crashes = list(schedule.crashes)
        self.inbox: deque[str] = deque()
        self.frozen: Frozen | None = None
        self.twisted = False
        self.again = True
        """Whether a twist of two acts has its second one still to come."""
        self.deaf = False
        self.committed_at: dict[int, float] = {}
        self.spec: dict[str, Any] = dict(_SPEC)
        self.seal_with: Vault | None = None
        self.held_catalog: Catalog | None = None
        self.paused: tuple[float, int] | None = None
        """Since when everything is paused, and how many creates had been begun by then."""
        self.catalog = _catalog()
        self.world = _world(schedule)
        self.database = database
        database.attach(self)
        self.quiet = False
        self.cancelled_at: int | None = None
        self.peak: dict[str, int] = {}
        self._identity: Identity | None = None
        self.fleet_id = ""
        self._in_effect = False

    # Effects ---------------------------------------------------------------------------------------------------------

    def effect(self, kind: str) -> None:
        """Count an effect that is about to happen, and let the schedule interfere."""
        if self.quiet:
            return
        at, self.count = self.count, self.count + 1
        self.kinds.append(kind)
        if self.record:
            self.prints.append(fingerprint_of(self))
        self.trace.append(f"{self.time.now - START:8.2f} {at:3d} {kind}")
        if self.crashes and self.crashes[0] == at:
            self.crashes.pop(0)
            self.trace[-1] += "  CRASH"
            raise Crash
        if self.schedule.step is not None and self.schedule.step[0] == at:
            self.time.shift += self.schedule.step[1]
        if kind != "commit":  # inside a transaction SQLite would make the other writer wait for this one
            self._interfere()
            self.freezing(kind)

    def check(self, holds: bool, promise: str) -> None:
        """Raise a violation where a promise does not hold."""
        if not holds:
            raise Violation(promise)

    def freezing(self, kind: str) -> None:
        """Freeze the process here, if the schedule says so."""
        if self.frozen is not None and threading.current_thread() is self.frozen.thread:
            self.frozen.point(kind)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Do something that is no effect of the process under test."""
        before, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = before

    def pass_time(self, seconds: float) -> None:
        self.time.now += seconds

    def sending(self, request: httpx.Request) -> None:
        """Check what must hold when a create leaves: its intent is committed."""
        frozen_here = self.frozen is not None and self.frozen.thread is threading.current_thread()
        if not frozen_here and self._state() != State.CREATING:
            raise Violation("a create left without a committed intent")
        age = self.time.now - self.committed_at.get(threading.get_ident(), self.time.now)
        held_here = self.frozen is not None and self.frozen.kind == "send"
        if age > LATEST_SEND and not held_here:
            raise Violation(f"a create left {age:.0f} s after its intent")

    def applied(self) -> None:
        """Check what must hold at any moment of the world: never two instances of one job."""
        self.world.advance(self.time.now)
        kept = self.kept()
        if len(kept) > 1:
            raise Violation(f"{len(kept)} instances at once")

    def committed(self) -> None:
        """Check what must hold after each commit: nothing ended while its attempt's instance exists."""
        if self.quiet:
            return
        self.committed_at[threading.get_ident()] = self.time.now
        self.freezing("committed")
        self.world.advance(self.time.now)
        for job_id, state, linode_id in self.database.look("SELECT id, state, linode_id FROM jobs"):
            ended = state in {State.FAILED, State.CANCELLED} and linode_id is None
            alive = [one for one in self.kept() if not getattr(one, "foreign", False)]
            if ended and alive and job_id not in self.ended_before:
                raise Violation(f"ended as {state} while instance {alive[0].ident} exists")
            if ended:
                self.ended_before.add(job_id)
            else:
                self.ended_before.discard(job_id)  # a retry opened it again

    ended_before: set[str]

    def kept(self) -> list[Any]:
        """Return our instances that exist now."""
        return [
            one
            for one in self.world.instances.values()
            if one.deleted is None and any(tag.startswith("nodewright:") for tag in one.shown["tags"])
        ]

    # The process -----------------------------------------------------------------------------------------------------

    def start_process(self, name: str) -> Process:
        return Process(self, name)

    def identity(self, name: str) -> Identity:
        if self._identity is None:
            with self.quietly(), self.database.read() as tx:
                found = tx.execute(select(installation.c.id)).scalar_one()
            self._identity = Identity(found, "default", fingerprint(TOKEN), name)
        return self._identity

    def service(self) -> Service:
        return Service(
            self.database,
            vault=self.seal_with,
            guards=Guards(),
            catalogs=lambda _account: self.catalog,
            notify=lambda: None,
            dice=self.dice,
        )

    # Running ---------------------------------------------------------------------------------------------------------

    def run(self) -> Verdict:
        """Run the schedule to its end and judge it."""
        self.ended_before = set()
        violation = None
        try:
            self._run()
        except Violation as broken:
            violation = str(broken)
        finally:
            if self.frozen is not None and not self.frozen.over:
                self.frozen.go.set()
                self.frozen.thread.join(timeout=10)
        transitions = self._transitions()
        return Verdict(self.schedule, self.count, self.trace, transitions, violation, self.kinds, self.prints)

    def _run(self) -> None:
        self._submit()
        self._until_done(self._incarnations())
        self._judge()

    def _submit(self) -> None:
        twist, world = TWISTS[self.schedule.world], self.schedule.world
        if world.startswith("fallback"):
            self.spec |= {"region": ["us-east", "eu-central"]}
        if world != "stuck" and any(fault["action"] == "boot_stuck" for fault in self.schedule.extra):
            # Half an hour of looks at an instance that does not boot shows no more than a minute of them.
            self.spec |= {"boot_timeout": 60}
        if world.startswith("intake") or world == "lost_key":
            twist.start(self)
        with self.quietly():
            request = parse_request(self.spec)
            if world.startswith("intake"):
                identity = "01890000-0000-7000-8000-000000000001"
                accepted = self.service().accept(request, fleet_id=identity, tenant="default", actor="celery")
            else:
                accepted = self.service().submit(request, tenant="default", actor="person")
            self.fleet_id = accepted.fleet.id
        if world in {"stranger", "forgotten", "bad_catalog", "elsewhere", "fallback_catalog"}:
            twist.start(self)

    def _incarnations(self) -> Iterator[Process]:
        number = 0
        while True:
            number += 1
            yield self.start_process(f"worker{number}")

    def _until_done(self, incarnations: Iterator[Process]) -> None:
        process = next(incarnations)
        settled_at: float | None = None
        while True:
            try:
                wait = process.step()
            except Crash:
                process = next(incarnations)
                continue
            self._interfere()
            if self._settled() and not self.frozen_over() and self.frozen is not None:
                self.frozen.release()
            if self._settled() and self._twist_over():
                settled_at = self.time.now if settled_at is None else settled_at
                if self._clean() or self.time.now - settled_at > QUIET:
                    return
            else:
                settled_at = None
            if self.time.now - START > LONGEST:
                raise Violation(f"stuck in {self._state()}")
            self._advance(wait)

    def _interfere(self) -> None:
        self._cancel_when_due()
        TWISTS[self.schedule.world].after(self)

    def _cancel_when_due(self) -> None:
        if (
            self.schedule.cancel is not None
            and self.cancelled_at is None
            and self.count >= self.schedule.cancel
        ):
            self.cancelled_at = self.count
            with self.quietly():
                self.service().cancel(self.fleet_id, "default", actor="person")
            self.trace.append(f"{self.time.now - START:8.2f}     cancel")

    def _advance(self, wait: float) -> None:
        now = self.time.now
        due = self.world.next_due()
        if due is not None and due > now:
            wait = min(wait, due - now)
        self.time.now += max(wait, 0.001) + 0.0005

    # Judging ---------------------------------------------------------------------------------------------------------

    def _state(self) -> str:
        ((state,),) = self.database.look("SELECT state FROM jobs")
        return str(state)

    def _settled(self) -> bool:
        return State(self._state()) in SETTLED

    def _twist_over(self) -> bool:
        """Whether the twist has had its effect: an instance that vanishes takes reconcile a while to notice."""
        world = self.schedule.world
        if world in {"vanish_running", "untag"}:
            noticed = self._state() == State.FAILED if world == "vanish_running" else self.reported()
            return noticed or self.time.now - START > LONGEST / 2
        return True

    def reported(self) -> bool:
        """Whether reconcile told of an instance that lost its tags."""
        with self.quietly(), self.database.read() as tx:
            rows = tx.execute(select(chores.c.state).where(chores.c.name.startswith("reconcile"))).scalars()
            return any(state and state.get("untagged") for state in rows)

    def frozen_over(self) -> bool:
        return self.frozen is None or self.frozen.over

    def _clean(self) -> bool:
        """Whether table and world agree, with nothing still to come."""
        if self.world.next_due() is not None:
            return False
        return self._disagreement() is None and not self.inbox

    def _disagreement(self) -> str | None:
        ((state, linode_id),) = self.database.look("SELECT state, linode_id FROM jobs")
        kept = [one.ident for one in self.kept()]
        owns = [linode_id] if linode_id is not None and state in {State.RUNNING, State.FAILED} else []
        if kept != owns and self.schedule.world != "untag":
            return f"the row is {state} with {owns}, the API holds {kept}"
        return None

    def _judge(self) -> None:
        disagreement = self._disagreement()
        if disagreement is not None:
            raise Violation(disagreement)
        self._judge_law()
        self._expect()

    def _judge_law(self) -> None:
        """Check that every step of the timeline is one that the law has."""
        law = {(row.source.value, row.event.value, row.target.value) for row in TRANSITIONS}
        notes = {Event.ORPHAN_DELETED.value}
        for source, event, target in self._transitions():
            if source and event not in notes and (source, event, target) not in law:
                raise Violation(f"{source} became {target} by {event}, which the law does not have")

    def _expect(self) -> None:
        """Check that the job ended as this schedule says that it must."""
        state = self._state()
        actions = {reply.action for reply in self.schedule.replies}
        allowed = set(TWISTS[self.schedule.world].ends)
        if actions & {"plan_limit", "vcpu_limit", "no_capacity"}:
            allowed |= {State.FAILED}
        if self.schedule.cancel is not None:
            allowed |= {State.CANCELLED, State.DELETED}
        if State(state) not in allowed:
            raise Violation(f"ended as {state}, expected {' or '.join(sorted(allowed))}")

    def _transitions(self) -> set[tuple[str, str, str]]:
        steps = set()
        state = ""
        for event, target in self.database.look("SELECT event, state FROM job_events ORDER BY id"):
            steps.add((state, event, target))
            state = target
        return steps


class Process:
    """One incarnation of a worker: engine, loop and chores, all in memory and so lost in a crash."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.client = LinodeClient(
            TOKEN,
            base_url="http://world/v4",
            transport=HookedTransport(machine),
            clock=Clock(monotonic=machine.time.monotonic, wall=machine.time.wall),
        )
        parts = Parts(
            database=machine.database,
            client=self.client,
            vault=None,
            catalogs=lambda _account: machine.catalog,
            publish=self._publish,
            monotonic=machine.time.monotonic,
            dice=machine.dice,
        )
        self.engine = machine.collaborators.engine(parts, machine.identity(name), PACE)
        duties = [chore(self.engine) for chore in machine.collaborators.chores]
        self.loop = Loop(self.engine, duties, Inline(), limits=_limits())
        self.prepared = False

    def _publish(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self.machine.effect("publish")
            if not self.machine.deaf:
                self.machine.inbox.append(job_id)

    def step(self) -> float:
        """Turn once and deliver what was published; return for how many seconds nothing is to be done."""
        if not self.prepared:
            self.loop.prepare()
            self.prepared = True
        before = self.machine.count
        wait = self.loop.turn()
        while self.machine.inbox:
            job_id = self.machine.inbox.popleft()
            self.deliver(job_id)
        return 0.0 if self.machine.count > before else wait

    def deliver(self, job_id: str) -> None:
        machine = self.machine
        if machine.schedule.freeze is None or machine.frozen is not None:
            self.engine.create(job_id)
            return
        machine.frozen = Frozen(machine, lambda: self.engine.create(job_id))
        machine.frozen.start()
        if not machine.frozen.over:
            raise Crash  # all of this process stands still; the others go on


class Frozen:
    """A create that is stopped at an effect while the others go on, and thawed when they are through."""

    def __init__(self, machine: Machine, work: Callable[[], Any]) -> None:
        self.machine = machine
        self.work = work
        self.over = False
        self.kind = ""
        self.points = 0
        self.held = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self.thread.start()
        self.held.wait()

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self.error = error
        self.over = True
        self.held.set()

    def point(self, kind: str) -> None:
        """Stop here if it is the schedule's point; let the others run, and go on when told."""
        at, self.points = self.points, self.points + 1
        if at != self.machine.schedule.freeze:
            return
        self.kind = kind
        self.machine.trace.append(f"{self.machine.time.now - START:8.2f}     frozen at {kind}")
        self.held.set()
        self.go.wait()

    def release(self) -> None:
        """Thaw it and wait for its end."""
        self.machine.trace.append(f"{self.machine.time.now - START:8.2f}     thawed")
        self.go.set()
        self.thread.join(timeout=10)
        if isinstance(self.error, Violation):
            raise self.error


_VOLATILE = {
    *("error_reason", "error", "actor", "owner"),  # words
    *("version", "fence", "generation"),  # compared only with what a process remembers, and a crash forgets
    *(
        "changed_at",
        "submitted_at",
        "succeeded_at",
        "failed_at",
        "unknown_at",
    ),  # read by nobody, or only by people
    "alive_at",  # renewed by the next process before it is looked at, and never a minute old here
}


def _durable(table: Table) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.c if column.name not in _VOLATILE)
    where = " WHERE route LIKE 'POST%'" if table is rate_windows else ""
    return f"SELECT {columns} FROM {table.name}{where}"


_DURABLE = [_durable(table) for table in (jobs, rate_windows, accounts, chores, installation)]


def fingerprint_of(machine: Machine) -> str:
    """Return a digest of all that outlives a crash: rows, world, messages and time, but not the words of errors.

    The windows of reads are left out, ours and the API's: they allow hundreds of calls a minute where a run makes some
    dozens, so they decide nothing.
    """
    digest = hashlib.sha256()
    for statement in _DURABLE:
        digest.update(repr(machine.database.look(statement)).encode())
    world = machine.world
    for one in world.instances.values():
        digest.update(
            repr((one.ident, one.shown["label"], one.shown["tags"], one.created, one.deleted)).encode()
        )
    rules = [remaining(counted) for counted in world.faults.rules]
    agenda = [(due, str(what)) for due, *what in world._agenda]
    left = (
        list(machine.inbox),
        machine.time,
        agenda,
        rules,
        machine.cancelled_at is None,
        machine.twisted,
        machine.paused,
        machine.again,
    )
    digest.update(repr(left).encode())
    return digest.hexdigest()


def remaining(counted: Any) -> Any:
    """Return what a rule still may do; one that is used up does nothing more, whatever it did."""
    if counted.rule.count is not None and counted.fired >= counted.rule.count:
        return "spent"
    return counted.rule.shown(), counted.seen, counted.fired


def _limits() -> dict[str, Sequence[Limit]]:
    return WorkerConfig("", "", "", "", create_limits=(Limit(20, 15.0),)).limits


def _world(schedule: Schedule) -> World:
    rules = [parse_rule(reply.rule(), now=START) for reply in schedule.replies if reply.action]
    rules += [parse_rule(dict(rule), now=START) for rule in schedule.extra]
    settings = WorldSettings(boot=BOOT, headers="none")
    limits = Limits()
    limits.set("create", (Bucket(20, 15.0),))
    faults = Faults()
    for rule in rules:
        faults.add(rule)
    return World(settings, limits=limits, faults=faults)


_KNOWN: list[Catalog] = []


def _catalog() -> Catalog:
    if not _KNOWN:
        found = load_catalog()
        _KNOWN.append(
            Catalog.from_rows(
                types=found.types.values(),
                regions=found.regions.values(),
                images=found.images.values(),
                availability=[],
                version="explorer",
                fetched_at=datetime.fromtimestamp(START, UTC),
            )
        )
    return _KNOWN[0]


def make_template(path: Path) -> None:
    """Make a migrated database that each run copies."""
    time = Time()
    database = Database(f"sqlite:///{path}", clock=time.moment)
    upgrade(database, dice=Random(1))
    with database.write() as tx:
        admission.register(tx, account_id="default", token_id=fingerprint(TOKEN), limits=_limits())
        house.learn_boot_seconds(
            tx, "default", BOOT + 0.5
        )  # so that few looks serve, and schedules stay short
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()

"""The one loop of a worker: it admits, and it starts the chores whose time has come.

It needs no beat process and elects no leader: every worker runs it, and row locks and leases see to it that one at a
time admits and one at a time does a chore. It sleeps until the next opening or due time, at most one tick; a wake-up
only shortens that.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from api_client import LinodeError
from jobs import admission, chores, house
from jobs.admission import Limit
from jobs.chores import Claim
from jobs.database import Database, Transaction
from worker.engine import Engine, SnoozeError

SHORTEST_PAUSE: Final = 0.02
"""Each used grant wakes the loop. A turn for each would be an admission for each, and cost more than the creates."""
SKIPPED_SECONDS: Final = 0.05
"""Another worker held the window: it is tried again this soon."""
FAILED_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0


class Chore(Protocol):
    """One recurring duty. ``wanted`` reads rows only; ``run`` does it and says from when it may be due again."""

    name: str
    lease: timedelta

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return from when there is something to do, None for nothing: so that idling costs no write."""

    def run(self, claim: Claim) -> datetime:
        """Do it; return when to do it again."""


Look = Callable[[], tuple[Sequence[Engine], Sequence[Chore]] | None]


class Loop:
    """Admission and chores of one worker process.

    Args:
        engine: does the work.
        chores: the duties that this worker shares with the others.
        executor: where chores run, so that a slow API never holds admission up.
        limits: the limits of each route, for windows that have no row yet.
        log: where to tell; by default structlog's own.
        look: returns all engines and chores where they are others than before, else None.

    """

    def __init__(
        self,
        engine: Engine,
        duties: Sequence[Chore],
        executor: Executor,
        *,
        limits: dict[str, Sequence[Limit]],
        log: Any = None,  # noqa: ANN401 - a structlog logger
        look: Look = lambda: None,
    ) -> None:
        self._engine = engine
        self._engines: Sequence[Engine] = (engine,)
        self._look = look
        self._chores = {chore.name: chore for chore in duties}
        self._executor = executor
        self._limits = limits
        self._running: set[str] = set()
        self._held: dict[str, Claim] = {}
        """What this worker claimed and has not given back. A chore that broke off is given back by a later turn."""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._beaten: float | None = None
        self._log: Any = structlog.get_logger("worker.loop") if log is None else log

    # Living ----------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look again at once: something was submitted, or a grant was used."""
        self._wake.set()

    def stop(self) -> None:
        """End :meth:`run` after its present turn."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Turn until stopped. An outage of the database ends nothing; it is tried again every tick."""
        prepared = False
        while not self._stopping.is_set():
            try:
                if not prepared:
                    self.prepare()
                    prepared = True
                delay = self.turn()
            except Exception as error:  # noqa: BLE001 - whatever the database throws, the loop must outlive it
                self._log.warning(
                    "the loop could not turn", error=type(error).__name__, reason=_first_line(error)
                )
                delay = self._engine.pace.tick.total_seconds()
            pause = min(delay, SHORTEST_PAUSE)
            self._stopping.wait(pause)
            self._wake.wait(delay - pause)
            self._wake.clear()
        self._leave()

    def _leave(self) -> None:
        try:
            with self._database.write() as tx:
                house.leave(tx, self._engine.actor)
        except Exception as error:  # noqa: BLE001 - it is forgotten after a day
            self._log.warning("the worker could not say that it leaves", error=type(error).__name__)

    def prepare(self) -> None:
        """Make sure that the account, the token, their windows and the chores have rows."""
        me = self._engine.identity
        with self._database.write() as tx:
            admission.register(tx, account_id=me.account_id, token_id=me.token_id, limits=self._limits)
            chores.ensure(tx, self._chores)

    @property
    def _database(self) -> Database:
        return self._engine.parts.database

    # One turn --------------------------------------------------------------------------------------------------------

    def turn(self) -> float:
        """Beat, admit, start chores; return in how many seconds to turn again (at most one tick)."""
        self._beat()
        self._give_back()
        wait = self._admit()
        return min(wait, self._start_chores(), self._engine.pace.tick.total_seconds())

    def _beat(self) -> None:
        now = self._engine.parts.monotonic()
        if self._beaten is not None and now - self._beaten < self._engine.pace.heartbeat.total_seconds():
            return
        with self._database.write() as tx:
            if house.heartbeat(tx, self._engine.actor):
                self._log.warning("a new epoch begins: admission waits for reconcile")
                for engine in self._engines:
                    chores.hasten(tx, f"reconcile:{engine.identity.account_id}", tx.now)
        self._beaten = now
        self._take_in()

    def _take_in(self) -> None:
        """Serve other accounts and tokens from now on, where they changed."""
        changed = self._look()
        if changed is None:
            return
        self._engines, duties = changed
        self._chores = {chore.name: chore for chore in duties}
        with self._database.write() as tx:
            chores.ensure(tx, self._chores)
        served = sorted({engine.identity.account_id for engine in self._engines})
        self._log.info("the worker serves", accounts=served, tokens=len(self._engines))

    def _admit(self) -> float:
        return min((self._admit_by(engine) for engine in self._engines), default=_IDLE_SECONDS)

    def _admit_by(self, engine: Engine) -> float:
        while True:
            result, wait = engine.admit()
            if result.skipped:
                return SKIPPED_SECONDS
            if not result.granted:
                return _IDLE_SECONDS if wait is None else wait

    def _start_chores(self) -> float:
        with self._database.read() as tx:
            due = [name for name in chores.due(tx) if name in self._chores and name not in self._running]
            wanted = {name: self._chores[name].wanted(tx) for name in due}
            upcoming = [
                at for at in (chores.next_due(tx), *wanted.values()) if at is not None and at > tx.now
            ]
            ready = [name for name, at in wanted.items() if at is not None and at <= tx.now]
            wait = min(((at - tx.now).total_seconds() for at in upcoming), default=_IDLE_SECONDS)
        for name in ready:
            self._running.add(name)
            self._executor.submit(self._do, name)
        return wait

    # Chores ----------------------------------------------------------------------------------------------------------

    def _give_back(self) -> None:
        """Give back the chores that broke off, as when the database was away: their leases would block them longer."""
        broken = [(name, claim) for name, claim in self._held.items() if name not in self._running]
        if not broken:
            return
        with self._database.write() as tx:
            for name, claim in broken:
                at = self._retry(self._chores.get(name), claim, tx.now)
                chores.finish(tx, claim, due_at=at, error="it broke off; the worker's log says why")
        for name, _ in broken:
            self._held.pop(name, None)

    def _do(self, name: str) -> None:
        try:
            self.do(self._chores[name])
        except Exception as error:  # noqa: BLE001 - a later turn gives it back, or its lease ends
            self._log.warning(
                "a chore broke off", chore=name, error=type(error).__name__, reason=_first_line(error)
            )
        finally:
            self._running.discard(name)
            self.wake()

    def do(self, chore: Chore) -> bool:
        """Do one chore if it is due and free; False: somebody else has it."""
        with self._database.write() as tx:
            claim = chores.claim(tx, chore.name, owner=self._engine.actor, lease=chore.lease)
        if claim is None:
            return False
        self._held[chore.name] = claim
        error: str | None = None
        try:
            due = chore.run(claim)
        except SnoozeError as snooze:
            due = snooze.until
        except LinodeError as fault:
            error, due = str(fault), None
        with self._database.write() as tx:
            at = due if due is not None else self._retry(chore, claim, tx.now)
            chores.finish(tx, claim, due_at=at, state=claim.state, error=error)
        self._held.pop(chore.name, None)
        if error is not None:
            self._log.warning("a chore could not reach the API", chore=chore.name, reason=error)
        return True

    def _retry(self, chore: Chore | None, claim: Claim, now: datetime) -> datetime:
        retry = getattr(chore, "retry", None)
        later: datetime = retry(claim, now) if retry else now + timedelta(seconds=FAILED_SECONDS)
        return later


def _first_line(error: Exception) -> str:
    # Of a database's error only the first line: the rest may quote parameters.
    return str(error).partition("\n")[0][:200]

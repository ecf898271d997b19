"""The watch: one list serves every instance that boots, and it looks when instances are likely to be up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, bindparam, func, select

from api_client import F, Instance
from jobs import chores, house, transitions
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.identity import installation_tag
from jobs.records import JobRecord, in_open_state, jobs
from jobs.states import Event, State
from jobs.transitions import Reason
from worker.engine import Engine
from worker.looks import GAP_FLOOR, BootTimes, learned, next_look
from worker.lookup import list_instances

LATE: Final = timedelta(seconds=60)
"""What is late at one look is given up when it still is so much later."""
_CHUNK: Final = 1000
_BOOTING: Final = and_(jobs.c.account_id == bindparam("account"), in_open_state(State.BOOTING))
_BIRTHS: Final = (
    select(jobs.c.created_at).where(_BOOTING).distinct().order_by(jobs.c.created_at).limit(_CHUNK)
)
_OLDEST: Final = select(func.min(jobs.c.linode_id)).where(_BOOTING)


def is_up(job: JobRecord, instance: Instance) -> bool:
    """Whether the instance reached what was asked for: running, or offline (``booted: false``, or no image)."""
    if instance.status == "running":
        return True
    return instance.status == "offline" and (not job.booted or job.image is None)


class Watch:
    """Moves booting jobs on: running, or failed when they do not come up in time."""

    lease = timedelta(seconds=20)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = f"watch:{engine.identity.account_id}"

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return when an instance is likely to be up next."""
        return self._next(tx, _moment(chores.remembered(tx, self.name).get("looked_at")))

    def run(self, claim: Claim) -> datetime:
        """Look; the next look comes when :meth:`wanted` says so, but not at once."""
        engine = self._engine
        with engine.parts.database.read() as tx:
            now = tx.now
        self._look(now, claim)
        claim.state["looked_at"] = now.isoformat()
        return now + timedelta(seconds=GAP_FLOOR)

    def _next(self, tx: Transaction, looked_at: datetime | None) -> datetime | None:
        account = self._engine.identity.account_id
        found = list(tx.execute(_BIRTHS, {"account": account}).scalars())
        expected = house.boot_seconds(tx, account) if found else None
        return next_look(found, looked_at=looked_at, expected=expected)

    def _look(self, now: datetime, claim: Claim) -> None:
        engine, account = self._engine, self._engine.identity.account_id
        with engine.parts.database.read() as tx:
            oldest = tx.execute(_OLDEST, {"account": account}).scalar()
        if oldest is None:
            return
        tag = installation_tag(engine.identity.installation)
        listed = list_instances(engine, (F("tags") == tag) & (F("id") >= oldest))
        found = {instance.id: instance for instance in listed}
        with engine.parts.database.write() as tx:
            booting = transitions.select_records(
                tx, jobs.c.account_id == account, in_open_state(State.BOOTING)
            )
            up = [job for job in booting if job.linode_id in found and is_up(job, found[job.linode_id])]
            ids = {job.id for job in up}
            waiting = [job for job in booting if job.id not in ids]
            self._learn(tx, claim, _ages(up, now), _ages(waiting, now))
            transitions.seen_running(tx, up, actor=engine.actor)
            self._give_up(tx, waiting, found, claim)

    def _learn(self, tx: Transaction, claim: Claim, up: Sequence[float], waiting: Sequence[float]) -> None:
        account = self._engine.identity.account_id
        known = BootTimes(house.boot_seconds(tx, account), **claim.state.get("boots", {}))
        news = learned(known, up=up, waiting=waiting)
        claim.state["boots"] = {"sure": news.sure, "early": news.early, "rest": news.rest}
        if news.expected is not None and news.expected != known.expected:
            house.learn_boot_seconds(tx, account, news.expected)

    def _give_up(
        self, tx: Transaction, waiting: Sequence[JobRecord], found: dict[int, Instance], claim: Claim
    ) -> None:
        """End what is late, but not at the first look: a clock that was set forward makes everything look late."""
        seen: dict[str, str] = claim.state.get("late", {})
        late = [job for job in waiting if self._is_late(job, tx.now)]
        claim.state["late"] = {job.id: seen.get(job.id, tx.now.isoformat()) for job in late}
        for job in late:
            if tx.now - datetime.fromisoformat(claim.state["late"][job.id]) >= LATE:
                self._time_out(tx, job, found.get(job.linode_id or 0))

    def _is_late(self, job: JobRecord, now: datetime) -> bool:
        return job.created_at is not None and job.created_at < now - self._boot_timeout(job)

    def _boot_timeout(self, job: JobRecord) -> timedelta:
        own = job.boot_timeout_seconds
        return self._engine.pace.boot_timeout if own is None else timedelta(seconds=own)

    def _time_out(self, tx: Transaction, job: JobRecord, instance: Instance | None) -> None:
        status = "does not list it" if instance is None else f"says {instance.status}"
        words = f"Not up {_length(self._boot_timeout(job))} after its create; the API {status}"
        transitions.lost(
            tx, job, Event.BOOT_TIMED_OUT, Reason("boot_timeout", words), actor=self._engine.actor
        )


def _length(time: timedelta) -> str:
    minutes, seconds = divmod(round(time.total_seconds()), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((minutes, "min"), (seconds, "s")) if count)


def _ages(created: Sequence[JobRecord], now: datetime) -> list[float]:
    return [(now - job.created_at).total_seconds() for job in created if job.created_at is not None]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

"""The look-up: finds out whether an uncertain job's create was applied, by the attempt's tag, then by the label."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, func, select

from api_client import F, Filter, Instance
from jobs import admission, backoff, transitions
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.identity import installation_tag, parse_attempt_tags
from jobs.records import JobRecord, in_open_state, jobs
from jobs.states import State
from jobs.transitions import Reason
from worker.config import LIST_INSTANCES
from worker.engine import Engine
from worker.outcomes import facts_of

_CHUNK: Final = 100
_LABELS: Final = 25
"""Labels in one list's filter, which travels in a header."""
_WAITING: Final = and_(in_open_state(State.UNCERTAIN), jobs.c.parked_at.is_(None))
_MINE: Final = jobs.c.account_id == bindparam("account")
_NEXT: Final = select(func.min(jobs.c.run_after)).where(_MINE, _WAITING)


def _due(account: str, now: datetime) -> ColumnElement[bool]:
    return and_(jobs.c.account_id == account, _WAITING, jobs.c.run_after <= now)


def list_instances(engine: Engine, where: Filter) -> list[Instance]:
    """Return every instance that fits ``where``, once. Raises as :meth:`Engine.read_all`."""
    listed = engine.read_all(LIST_INSTANCES, engine.parts.client.instances, where)
    return list({instance.id: instance for instance in listed}.values())


def by_tag(instances: Iterable[Instance], job: JobRecord) -> Instance | None:
    """Return the instance that carries this attempt's tag. The list's own filter is not trusted."""
    tag = str(job.tag)
    return next((instance for instance in instances if tag in instance.tags), None)


class Lookup:
    """Settles uncertain jobs whose next look is due."""

    lease = timedelta(seconds=20)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = f"lookup:{engine.identity.account_id}"

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return when the next look is due."""
        account = {"account": self._engine.identity.account_id}
        moment: datetime | None = tx.execute(_NEXT, account).scalar()
        return moment

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Do it; return when to do it again."""
        engine = self._engine
        with engine.parts.database.read() as tx:
            mine, order = _due(engine.identity.account_id, tx.now), (jobs.c.run_after,)
            due = transitions.select_records(tx, mine, order_by=order, limit=_CHUNK)
            began = tx.now
        found = list_instances(engine, self._where(due)) if due else []
        unseen = [job for job in due if not self._settled_by_tag(job, by_tag(found, job), began)]
        for start in range(0, len(unseen), _LABELS):
            self._settle_by_label(unseen[start : start + _LABELS], began)
        with engine.parts.database.read() as tx:
            return tx.now

    def _where(self, due: Sequence[JobRecord]) -> Filter:
        if len(due) == 1:
            return F("tags") == str(due[0].tag)
        return F("tags") == installation_tag(self._engine.identity.installation)

    def _settled_by_tag(self, job: JobRecord, mine: Instance | None, began: datetime) -> bool:
        """Settle the job if its tag was seen, or if it is too early for more; False: its label has to be looked at."""
        in_use = job.error_code == "label_taken"
        if mine is not None:
            self._adopt(job, mine)
        elif not in_use and not self._grace_over(job, began):
            self._look_again(job, "nothing with this attempt's tag yet")
        else:
            return False
        return True

    def _settle_by_label(self, unseen: Sequence[JobRecord], began: datetime) -> None:
        """Ask for several labels in one list: lists have a window too, and hundreds may be absent after a storm."""
        listed = list_instances(self._engine, reduce(or_, (F("label") == job.label for job in unseen)))
        for job in unseen:
            self._by_label(job, listed, began)

    def _grace_over(self, job: JobRecord, began: datetime) -> bool:
        return job.last_unknown_at is None or began > job.last_unknown_at + self._engine.pace.grace

    def _by_label(self, job: JobRecord, listed: Sequence[Instance], began: datetime) -> None:
        same = [instance for instance in listed if instance.label == job.label]
        mine = by_tag(same, job)
        if mine is not None:
            self._adopt(job, mine)
        elif same:
            self._taken(job, same[0])
        elif self._grace_over(job, began):
            self._absent(job)
        else:
            self._look_again(job, "the label is in use, but no instance with it is listed yet")

    def _adopt(self, job: JobRecord, mine: Instance) -> None:
        engine = self._engine
        with engine.parts.database.write() as tx:
            transitions.owned(tx, job, facts_of(mine), actor=engine.actor, proof=f"tag {job.tag}")

    def _taken(self, job: JobRecord, stranger: Instance) -> None:
        """Somebody else has the label: seen, with its tags, so that it is surely not this attempt's."""
        engine = self._engine
        own = [tag for tag in parse_attempt_tags(stranger.tags) if tag.job_id == job.id]
        if own:
            self._look_again(
                job, f"instance {stranger.id} of an earlier attempt has the label; it is being removed"
            )
            return
        words = f"instance {stranger.id} has the label {job.label!r} and is not this job's"
        with engine.parts.database.write() as tx:
            transitions.label_taken(tx, job, Reason("label_taken", words, "label"), actor=engine.actor)

    def _absent(self, job: JobRecord) -> None:
        engine = self._engine
        with engine.parts.database.write() as tx:
            outage = admission.failing(tx, job.account_id)
            refusal = Reason(job.error_code or "", job.error_reason or "", job.error_field)
            following = engine.instead(tx, job, refusal)
            if following is not None:
                transitions.fell_back(tx, job, refusal, following, actor=engine.actor)
            elif job.ending is None and job.tries >= engine.pace.tries and not outage:
                transitions.parked(tx, job, actor=engine.actor)
            else:
                transitions.absent(tx, job, actor=engine.actor)

    def _look_again(self, job: JobRecord, saw: str) -> None:
        engine = self._engine
        with engine.parts.database.write() as tx:
            wait = backoff.look_again(job.looks + 1, engine.parts.dice)
            over = (job.last_unknown_at or tx.now) + engine.pace.grace + timedelta(milliseconds=1)
            at = min(tx.now + wait, over) if over > tx.now else tx.now + wait
            transitions.looked(tx, job, saw, actor=engine.actor, run_after=at)

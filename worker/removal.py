"""Removal: takes instances down, each with proof that it is ours, until the API answers 404 for it."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import and_, bindparam, func, select

from api_client import F, Instance, LinodeError, NotFound
from jobs import backoff, transitions
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.identity import installation_tag, parse_attempt_tags
from jobs.records import JobRecord, in_open_state, jobs
from jobs.states import State
from jobs.transitions import Reason
from worker.config import DELETE_INSTANCE, GET_INSTANCE
from worker.engine import Engine, SnoozeError
from worker.lookup import list_instances

AT_ONCE: Final = 8
"""A delete takes some tenths of a second: with so many under way at once the API's own limit is what is waited for."""
_CHUNK: Final = 200
_WORTH_A_LIST: Final = 4
_CONFIRM: Final = timedelta(seconds=1)
_DELETING: Final = and_(jobs.c.account_id == bindparam("account"), in_open_state(State.DELETING))
_NEXT: Final = select(func.min(jobs.c.run_after)).where(_DELETING)


class Removal:
    """Deletes the instances of jobs that are ``deleting``.

    Each is first seen, in a list or by its id, and left alone if it carries another job's tag. Where it is in its turn
    stands in its row only, so whoever comes after a kill goes on.
    """

    lease = timedelta(seconds=30)

    def __init__(self, engine: Engine, *, at_once: int = 1) -> None:
        self._engine = engine
        self._at_once = at_once
        self.name = f"removal:{engine.identity.account_id}"

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return when the next delete is due."""
        moment: datetime | None = tx.execute(_NEXT, {"account": self._engine.identity.account_id}).scalar()
        return moment

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Take one step for each due job; return when to go on."""
        engine = self._engine
        with engine.parts.database.read() as tx:
            mine = and_(jobs.c.account_id == engine.identity.account_id, in_open_state(State.DELETING))
            due = transitions.select_records(
                tx, mine, jobs.c.run_after <= tx.now, order_by=(jobs.c.run_after,), limit=_CHUNK
            )
        self._each(due, partial(self._step, self._listed(due)))
        with engine.parts.database.read() as tx:
            return tx.now

    def _each(self, due: Sequence[JobRecord], step: Callable[[JobRecord], None]) -> None:
        if self._at_once == 1 or len(due) < _WORTH_A_LIST:
            for job in due:
                step(job)
            return
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="removal") as pool:
            # Where one is to wait for its window, so are the others: what has not begun then does not begin.
            for _ in pool.map(step, due):
                pass

    def _listed(self, due: Sequence[JobRecord]) -> Mapping[int, Instance]:
        """Return those of the instances that a list shows, in one call; the others are asked for by their ids.

        They may be gone, or may only lack our tag. A list that cannot be had now leaves all of them to be asked for.
        """
        if len(due) < _WORTH_A_LIST:
            return {}
        ids = sorted(job.linode_id or 0 for job in due)
        ours = F("tags") == installation_tag(self._engine.identity.installation)
        try:
            listed = list_instances(self._engine, ours & (F("id") >= ids[0]) & (F("id") <= ids[-1]))
        except (LinodeError, SnoozeError):
            return {}
        return {instance.id: instance for instance in listed}

    def _step(self, listed: Mapping[int, Instance], job: JobRecord) -> None:
        client = self._engine.parts.client
        linode_id = job.linode_id or 0
        try:
            instance = listed.get(linode_id) or self._engine.read(
                GET_INSTANCE, lambda: client.instances.get(linode_id)
            )
            if not_ours(job, instance):
                self._postpone(
                    job, Reason("not_ours", f"instance {linode_id} carries another job's tag; left alone")
                )
                return
            self._engine.read(DELETE_INSTANCE, lambda: client.instances.delete(linode_id))
            self._postpone(job, None)
        except NotFound:
            self._gone(job)
        except LinodeError as error:
            self._postpone(job, Reason("delete_failed", str(error)))

    def _gone(self, job: JobRecord) -> None:
        with self._engine.parts.database.write() as tx:
            transitions.gone(tx, job, actor=self._engine.actor)

    def _postpone(self, job: JobRecord, reason: Reason | None) -> None:
        """Look again: soon where the delete was taken, else with backoff."""
        with self._engine.parts.database.write() as tx:
            wait = _CONFIRM if reason is None else backoff.delete_again(job.looks, self._engine.parts.dice)
            transitions.delete_postponed(tx, job, reason, actor=self._engine.actor, run_after=tx.now + wait)


def not_ours(job: JobRecord, instance: Instance) -> bool:
    """Whether the instance carries another job's tag, and not this job's.

    The id came from our own 200 or from a tag, so an instance whose tags were taken off by hand is still ours.
    """
    owners = {tag.job_id for tag in parse_attempt_tags(instance.tags)}
    return bool(owners) and job.id not in owners

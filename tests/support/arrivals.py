"""A fleet as it looks while it comes up, or afterwards: rows and timelines as workers would have left them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import insert

from jobs.database import Database
from jobs.identity import new_id
from jobs.records import job_events, jobs
from jobs.states import State
from tests.support.fleets import ACTOR, TOKEN, add_fleet, job_row

WORKER: Final = "worker-1@here"
WINDOW: Final = 20
PERIOD: Final = timedelta(seconds=15.1)
TIMEOUT: Final = timedelta(seconds=300)
NEVER_UP: Final = "boot_timeout"
_LATER: Final = (
    *("dispatched_at", "sent_at", "created_at", "running_at", "ended_at", "lease_until", "window_generation"),
    *("error_code", "error_reason", "error_field", "linode_id", "ipv4", "ipv6", "got_type", "got_region"),
    *("last_unknown_at", "parked_at", "run_after"),
)

Failure = tuple[str, str, str | None]
"""Code, reason and field."""


@dataclass
class _Life:
    """One job's row and its timeline, up to the moment at which somebody looks."""

    row: dict[str, Any]
    until: datetime
    events: list[dict[str, Any]] = field(default_factory=list)

    def step(self, at: datetime, event: str, state: State, *, by: str = WORKER, **columns: Any) -> bool:
        """Take a step if it has happened by then."""
        if at > self.until:
            return False
        detail = columns.pop("detail", None)
        self.row.update(state=state.value, changed_at=at, **columns)
        line = {"job_id": self.row["id"], "at": at, "event": event, "state": state.value, "actor": by}
        self.events.append({**line, "detail": detail})
        return True


def arrive(
    database: Database,
    name: str,
    count: int,
    *,
    at: datetime,
    until: datetime,
    failures: Mapping[int, Failure] | None = None,
    **fleet: Any,
) -> str:
    """Add a fleet that was submitted ``at`` a moment, as it stands ``until`` another; return its id."""
    fleet_id = add_fleet(database, name=name, count=count, created_at=at, **fleet)
    dice = Random(name)
    lives = [
        _live(
            {
                **job_row(database, fleet_id, State.QUEUED, position=position),
                "label": f"{name}-{position:04d}",
            },
            at=at,
            until=until,
            dice=dice,
            failure=(failures or {}).get(position),
        )
        for position in range(1, count + 1)
    ]
    with database.write() as tx:
        tx.execute(insert(jobs), [life.row for life in lives])
        tx.execute(insert(job_events), [event for life in lives for event in life.events])
    return fleet_id


def _live(
    usual: dict[str, Any], *, at: datetime, until: datetime, dice: Random, failure: Failure | None
) -> _Life:
    number, position = dice.randrange(10**9), usual["position"]
    name = {"id": new_id(at + timedelta(milliseconds=position), dice), "submitted_at": at, "token_id": TOKEN}
    life = _Life({**dict.fromkeys(_LATER), **usual, **name}, until)
    life.step(at, "validated", State.QUEUED, by=ACTOR)
    turn, place = divmod(position - 1, WINDOW)
    sent = at + timedelta(seconds=2) + turn * PERIOD + place * timedelta(seconds=0.06)
    created = sent + timedelta(seconds=0.5 + dice.random() * 2)
    life.step(sent, "admitted", State.DISPATCHED, dispatched_at=sent, lease_until=until)
    life.step(sent, "sent", State.CREATING, sent_at=sent, sends=1, detail={"attempt": 1, "send": 1})
    if failure is not None and failure[0] != NEVER_UP:
        _fail(life, created, "refused", failure)
        return life
    owned = {"linode_id": number, "ipv4": f"192.0.2.{position % 250}", "got_type": "g6-nanode-1"}
    where = {"got_region": "us-east", "created_at": created, "lease_until": None}
    life.step(created, "created", State.BOOTING, **owned, **where, detail={"linode_id": number})
    if failure is not None:
        _fail(life, created + TIMEOUT, "boot_timed_out", failure)
        return life
    up = created + timedelta(seconds=25 + dice.random() * 30)
    life.step(up, "seen_running", State.RUNNING, running_at=up)
    return life


def _fail(life: _Life, at: datetime, event: str, failure: Failure) -> None:
    code, reason, about = failure
    words = {"error_code": code, "error_reason": reason, "error_field": about}
    detail = {"code": code, "reason": reason, "field": about}
    life.step(at, event, State.FAILED, ended_at=at, lease_until=None, **words, detail=detail)

"""What is still to come of a fleet: what the rate limit lets through now, and when it would be done."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, literal, select

from jobs import house, tenants, waiting
from jobs.alarms import alarms
from jobs.database import Transaction
from jobs.estimate import Estimate, Lane, estimate
from jobs.periods import written
from jobs.planning import HOLDS, lanes_of
from jobs.records import in_state, jobs
from jobs.states import State
from jobs.views import FleetView
from jobs.windows import Window, ends_at, room, usable

_WAITING: Final = (State.SUBMITTED, State.QUEUED)
"""Those that the rate limit is yet to be spent on."""
_UNDER_WAY: Final = (State.DISPATCHED, State.CREATING, State.UNCERTAIN)
_SAMPLED: Final = 20
_WALKED: Final = 10_000
"""In a fleet of which more wait, its own jobs are not passed over one by one."""
_COUNTED: Final = 50_000
"""More that are before it are not counted: at the usual limit these alone take ten hours."""


@dataclass(frozen=True)
class Rate:
    """What the rate limit on creates lets through, over all tokens.

    opens_in_seconds: when the next window opens; None: none is open, the next create opens one.
    """

    allowed: int
    spent: int
    seconds: float
    opens_in_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        left = self.opens_in_seconds
        return {**vars(self), "opens_in_seconds": None if left is None else round(left, 1)}


@dataclass(frozen=True)
class Outlook:
    """What is to come; estimate: None where nothing is under way, or no window is known."""

    rate: Rate | None
    """None: there is no limit, or it is not known yet."""
    estimate: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "rate": None if self.rate is None else self.rate.to_json(),
            "estimate": None if self.estimate is None else self.estimate.to_json(),
        }


def outlook(tx: Transaction, fleet: FleetView) -> Outlook:
    """Return what is to come of a fleet, if nothing else comes and nothing fails."""
    accounts = tenants.accounts_of(tx, fleet.tenant)
    lanes = [lane for account_id in accounts for lane in lanes_of(tx, account_id)]
    return Outlook(rate_of(lanes, tx.now), _estimate(tx, fleet, accounts, lanes))


def rate_of(lanes: Sequence[Lane], now: datetime) -> Rate | None:
    """Return what all lanes let through together. The windows are rolled to ``now``. Pure."""
    binding = [_binding(lane) for lane in lanes]
    known = [window for window in binding if window is not None]
    if not known or len(known) < len(binding):
        return None
    ends = [end for end in map(ends_at, known) if end is not None]
    closed = [window.closed_until for window in known if window.closed_until is not None]
    opens = min([*ends, *(moment for moment in closed if moment > now)], default=None)
    return Rate(
        allowed=sum(map(usable, known)),
        spent=sum(usable(window) - (room(window, now) or 0) for window in known),
        seconds=max(window.seconds for window in known),
        opens_in_seconds=None if opens is None else max((opens - now).total_seconds(), 0.0),
    )


def _binding(lane: Lane) -> Window | None:
    """Return the window of a lane that lets the fewest calls through; None: no limit."""
    limited = [window for window in lane if window.allowed]
    return min(limited, key=lambda window: usable(window) / window.seconds, default=None)


def _estimate(
    tx: Transaction, fleet: FleetView, accounts: Sequence[str], lanes: Sequence[Lane]
) -> Estimate | None:
    count = sum(fleet.states.get(state, 0) for state in _WAITING)
    booting, under_way = fleet.states.get(State.BOOTING, 0), sum(map(fleet.states.get, _UNDER_WAY, [0] * 3))
    if not lanes or not (count or booting or under_way):
        return None
    boots = [house.boot_seconds(tx, account_id) for account_id in accounts]
    boots = boots if any(boots) else [_own_boot(tx, fleet)]
    found = estimate(
        lanes,
        count=count,
        jobs_ahead=_ahead(tx, fleet, accounts, large=count > _WALKED) if count else 0,
        boot_seconds=max((seconds for seconds in boots if seconds is not None), default=None),
        now=tx.now,
        holds=_holds(tx, fleet, accounts) if count else (),
    )
    if count:
        return found
    left = found.boot_seconds if under_way else found.boot_seconds - _age_of_newest(tx, fleet)
    return replace(found, all_running_seconds=max(left, 0.0))


def _own_boot(tx: Transaction, fleet: FleetView) -> float | None:
    """Return how long the fleet's own instances took to run: the account's time is learnt a little later."""
    up = jobs.c.fleet_id == fleet.id, jobs.c.state == State.RUNNING.value, jobs.c.created_at.is_not(None)
    rows = tx.execute(select(jobs.c.created_at, jobs.c.running_at).where(*up).limit(_SAMPLED)).all()
    took = [(row.running_at - row.created_at).total_seconds() for row in rows if row.running_at is not None]
    return max(took, default=None)


def _ahead(tx: Transaction, fleet: FleetView, accounts: Sequence[str], *, large: bool) -> int:
    """Return how many jobs of others wait that were submitted before the fleet's last one.

    Of a ``large`` fleet its first one counts: its own are not walked through to find the few of others in between.
    """
    mine = select(jobs.c.id).where(jobs.c.fleet_id == fleet.id)
    edge = tx.execute(
        mine.order_by(jobs.c.position if large else jobs.c.position.desc()).limit(1)
    ).scalar_one()
    found = 0
    for line in waiting.lines(tx, account_ids=accounts):
        found += waiting.count_before(tx, line, edge, fleet_id=fleet.id, most=_COUNTED - found)
    return found + _others(tx, fleet, accounts, edge)


def _others(tx: Transaction, fleet: FleetView, accounts: Sequence[str], edge: str) -> int:
    """Return how many of those are yet to be judged, or wait for a moment of their own."""
    found = 0
    for condition in (in_state(State.SUBMITTED), and_(in_state(State.QUEUED), jobs.c.run_after.is_not(None))):
        some = select(jobs.c.id, jobs.c.fleet_id).where(condition, jobs.c.account_id.in_(accounts))
        of = some.limit(_COUNTED).subquery()
        before = (
            of.c.id < literal(edge, of.c.id.type),
            of.c.fleet_id != literal(fleet.id, of.c.fleet_id.type),
        )
        found += int(tx.execute(select(func.count()).select_from(of).where(*before)).scalar_one())
    return found


def _holds(tx: Transaction, fleet: FleetView, accounts: Sequence[str]) -> list[str]:
    holds = [alarm.message for alarm in alarms(tx, *accounts) if alarm.code in HOLDS]
    if fleet.held_at is not None:
        holds.append("the fleet is paused by a person")
    if fleet.not_before is not None and fleet.not_before > tx.now:
        holds.append(f"nothing is sent before {written(fleet.not_before)}, as asked for")
    return list(dict.fromkeys(holds))


def _age_of_newest(tx: Transaction, fleet: FleetView) -> float:
    newest = select(func.max(jobs.c.created_at)).where(
        jobs.c.fleet_id == fleet.id, jobs.c.state == State.BOOTING.value
    )
    since = tx.execute(newest).scalar()
    return 0.0 if since is None else max((tx.now - since).total_seconds(), 0.0)

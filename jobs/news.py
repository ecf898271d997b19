"""What there is to tell endpoints: read from what is written down anyway, so that telling costs provisioning nothing.

Jobs' events are read behind a cursor. On PostgreSQL ids become visible out of order (:mod:`jobs.feed`), so the cursor
only follows the horizon below which every writer is done. What is beyond it is told too, and met again later: one thing
is enqueued for an endpoint once. A fleet's sequence number is raised in the transaction that enqueues.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any, Final

from sqlalchemy import func, select, update

from jobs import deliveries, expiry, tenants
from jobs.database import Transaction
from jobs.deliveries import Message
from jobs.records import accounts, fleets, in_state, installation, job_events, jobs, webhooks
from jobs.states import SETTLED, TRANSITIONS, Event, State
from jobs.views import moment, usd

SPAN: Final = 20_000
"""So many event ids are looked through at once, and"""
PAGE: Final = 200
"""so many pieces of news are taken from them."""

_ENDS: Final = (State.RUNNING, State.FAILED, State.CANCELLED, State.REJECTED, State.DELETED)
_EVENTS: Final = frozenset(
    {row.event for row in TRANSITIONS if row.target in _ENDS and row.source is not row.target}
    | {Event.INVALID, Event.PARKED}
)
"""What ends a job, for better or worse, or needs a person."""
_NAMES: Final = tuple(sorted(event.value for event in _EVENTS))
_UNSETTLED: Final = tuple(sorted(set(State) - SETTLED))
_EXPIRES: Final = (
    jobs.c.expires_at.is_not(None),
    in_state(State.BOOTING, State.RUNNING, State.FAILED),
    jobs.c.linode_id.is_not(None),
)


class FleetBusyError(Exception):
    """Somebody else holds one of the fleets; nothing was enqueued."""


@dataclass(frozen=True)
class Endpoint:
    """Who wants to be told of what, from when on."""

    id: str
    tenant: str
    kinds: frozenset[str]
    after_event: int
    created_at: datetime


@dataclass(frozen=True)
class Piece:
    """One event that may be news: where it stands, whose it is, what it would say."""

    event_id: int
    tenant: str
    message: Message


# Endpoints -----------------------------------------------------------------------------------------------------------

_ANY: Final = select(webhooks.c.id).limit(1)
_ENABLED: Final = (
    select(
        webhooks.c.id, webhooks.c.tenant_id, webhooks.c.kinds, webhooks.c.after_event, webhooks.c.created_at
    )
    .where(webhooks.c.disabled_at.is_(None))
    .order_by(webhooks.c.id)
)
# While something is enqueued for an endpoint, nobody removes it.
_KEPT: Final = _ENABLED.with_for_update(read=True, key_share=True)


def any_endpoints(tx: Transaction) -> bool:
    """Whether there is any endpoint: without one there is nothing to do at all."""
    return tx.execute(_ANY).first() is not None


def endpoints(tx: Transaction, *, keep: bool = False) -> list[Endpoint]:
    """Return every endpoint that is enabled; with ``keep`` none of them can be removed before the commit."""
    rows = tx.execute(_KEPT if keep else _ENABLED)
    return [Endpoint(row[0], row[1], frozenset(row[2]), row[3], row[4]) for row in rows]


def start_of(found: Sequence[Endpoint], cursor: int) -> int:
    """Return after which event reading goes on: what happened before the oldest endpoint is nobody's news."""
    return max(cursor, min((one.after_event for one in found), default=cursor))


# Events of jobs ------------------------------------------------------------------------------------------------------


def read(tx: Transaction, names: Iterable[str], *, after: int, upto: int) -> tuple[list[Piece], int]:
    """Return the next pieces of news of some tenants, and up to which event id that is all.

    Args:
        tx: a transaction.
        names: the tenants.
        after: the event after which to begin.
        upto: the last event to look at.

    """
    end = min(upto, after + SPAN)
    statement = (
        select(
            job_events.c.id.label("event_id"),
            *(job_events.c.at, job_events.c.event, job_events.c.state.label("led_to"), job_events.c.detail),
            jobs,
            fleets.c.name.label("fleet_name"),
        )
        .join(jobs, jobs.c.id == job_events.c.job_id)
        .join(fleets, fleets.c.id == jobs.c.fleet_id)
        .where(job_events.c.id > after, job_events.c.id <= end, job_events.c.event.in_(_NAMES))
        .where(jobs.c.tenant_id.in_(sorted(names)))
        .order_by(job_events.c.id)
        .limit(PAGE)
    )
    pieces = [_piece(row) for row in tx.execute(statement)]
    return pieces, pieces[-1].event_id if len(pieces) == PAGE else end


def _piece(row: Any) -> Piece:  # noqa: ANN401 - a joined row
    parked = row.event == Event.PARKED
    kind = "job.parked" if parked else f"job.{row.led_to}"
    data = {
        "event": row.event,
        "fleet": {"id": row.fleet_id, "name": row.fleet_name},
        "job": _job(row, row.led_to, row.detail or {}),
    }
    message = Message(kind, f"event {row.event_id}", row.at, data, fleet_id=row.fleet_id)
    return Piece(row.event_id, row.tenant_id, message)


def _job(row: Any, state: str, detail: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a job's row
    # The row may have gone on since: what the event itself says counts.
    code = detail.get("code", row.error_code)
    said = detail if "code" in detail else {"reason": row.error_reason, "field": row.error_field}
    failed = code is not None and state in {State.FAILED, State.REJECTED, State.UNCERTAIN}
    error = {"code": code, "reason": said.get("reason"), "field": said.get("field")} if failed else None
    return {
        "id": row.id,
        "label": row.label,
        "position": row.position,
        "state": state,
        "attempt": row.attempt,
        "type": row.got_type or row.type,
        "region": row.got_region or row.region,
        "image": row.image,
        "linode_id": detail.get("linode_id", row.linode_id),
        "ipv4": row.ipv4,
        "ipv6": row.ipv6,
        "hourly_usd": usd(row.hourly_microusd),
        "error": error,
    }


def tell(tx: Transaction, pieces: Sequence[Piece], dice: Random) -> int:
    """Enqueue what somebody wants to be told and was not told yet; return how many messages.

    Raises:
        FleetBusyError: somebody else holds one of the fleets: try again soon.

    """
    wanted = _by_fleet(pieces, endpoints(tx, keep=True))
    if not wanted:
        return 0
    _hold(tx, sorted(wanted))
    return sum(_tell_fleet(tx, fleet_id, found, dice) for fleet_id, found in wanted.items())


@dataclass(frozen=True)
class _Wanted:
    """A piece of news, and who is to be told: it as such, and that its fleet has settled if it has."""

    piece: Piece
    itself: tuple[str, ...]
    settling: tuple[str, ...]


def _by_fleet(pieces: Sequence[Piece], found: Sequence[Endpoint]) -> dict[str, list[_Wanted]]:
    wanted: dict[str, list[_Wanted]] = defaultdict(list)
    for piece in pieces:
        mine = [one for one in found if one.tenant == piece.tenant and one.after_event < piece.event_id]
        itself = tuple(one.id for one in mine if piece.message.kind in one.kinds)
        settling = tuple(one.id for one in mine if "fleet.settled" in one.kinds)
        if itself or settling:
            wanted[piece.message.fleet_id or ""].append(_Wanted(piece, itself, settling))
    return wanted


def _hold(tx: Transaction, ids: Sequence[str]) -> None:
    # Without waiting: others take several fleets in an order of their own.
    free = select(fleets.c.id).where(fleets.c.id.in_(ids)).with_for_update(skip_locked=True, key_share=True)
    if len(tx.execute(free).all()) < len(ids):
        raise FleetBusyError


def _tell_fleet(tx: Transaction, fleet_id: str, found: Sequence[_Wanted], dice: Random) -> int:
    everybody = sorted({one for wanted in found for one in (*wanted.itself, *wanted.settling)})
    known = deliveries.told(tx, everybody, [wanted.piece.message.subject for wanted in found])
    news = [(wanted.piece.message, wanted.itself) for wanted in found if wanted.itself]
    fresh = [(message, who) for message, who in news if message.subject not in known]
    settling = sorted({one for wanted in found for one in wanted.settling})
    ended = _settled(tx, fleet_id) if settling else None
    if ended is not None and not deliveries.told(tx, settling, [ended.subject]):
        fresh.append((ended, tuple(settling)))
    return _number(tx, fleet_id, fresh, dice)


def _number(
    tx: Transaction, fleet_id: str, fresh: Sequence[tuple[Message, tuple[str, ...]]], dice: Random
) -> int:
    if not fresh:
        return 0
    raised = update(fleets).where(fleets.c.id == fleet_id).values(told=fleets.c.told + len(fresh))
    last: int = tx.execute(raised.returning(fleets.c.told)).scalar_one()
    for sequence, (message, who) in enumerate(fresh, start=last - len(fresh) + 1):
        deliveries.enqueue(tx, who, replace(message, sequence=sequence), dice)
    return len(fresh)


def _settled(tx: Transaction, fleet_id: str) -> Message | None:
    """Return what is to be said of a fleet of which nothing is under way; None: something is."""
    under_way = select(jobs.c.id).where(jobs.c.fleet_id == fleet_id, in_state(*_UNSETTLED)).limit(1)
    if tx.execute(under_way).first() is not None:
        return None
    counted = select(jobs.c.state, func.count(), func.sum(jobs.c.version), func.max(jobs.c.changed_at))
    rows = tx.execute(counted.where(jobs.c.fleet_id == fleet_id).group_by(jobs.c.state)).all()
    if {row[0] for row in rows} & set(_UNSETTLED):
        return None  # it was set going again in between
    name: str = tx.execute(select(fleets.c.name).where(fleets.c.id == fleet_id)).scalar_one()
    states = {row[0]: row[1] for row in sorted(rows, key=lambda row: str(row[0]))}
    whole = {"id": fleet_id, "name": name, "count": sum(states.values()), "states": states}
    # Each move of a job raises its version: the sum tells one settling from the next.
    subject = f"settled {fleet_id} {sum(row[2] for row in rows)}"
    at = max(row[3] for row in rows)
    return Message("fleet.settled", subject, at, {"fleet": whole}, fleet_id=fleet_id)


# Time to live --------------------------------------------------------------------------------------------------------


def soon_at(expires_at: datetime, ttl_seconds: int | None) -> datetime:
    """Return from when on a time to live is soon over.

    >>> soon_at(datetime(2026, 3, 1, 12), 600)
    datetime.datetime(2026, 3, 1, 11, 59)
    """
    return expires_at - expiry.notice(ttl_seconds or 0)


def expiring(tx: Transaction, *, names: Iterable[str]) -> list[Any]:
    """Return the jobs of some tenants whose time to live may be soon over, the nearest end first."""
    statement = (
        select(jobs, fleets.c.name.label("fleet_name"))
        .join(fleets, fleets.c.id == jobs.c.fleet_id)
        .where(*_EXPIRES, jobs.c.expires_at > tx.now, jobs.c.expires_at <= tx.now + expiry.LONGEST_NOTICE)
        .where(jobs.c.tenant_id.in_(sorted(names)))
        .order_by(jobs.c.expires_at, jobs.c.id)
    )
    return list(tx.execute(statement))


def next_expiry(tx: Transaction) -> datetime | None:
    """Return when the first time to live is over that is not yet."""
    first = select(func.min(jobs.c.expires_at)).where(*_EXPIRES, jobs.c.expires_at > tx.now)
    found: datetime | None = tx.execute(first).scalar()
    return found


def soon_over(rows: Iterable[Any], now: datetime) -> Iterator[Piece]:
    """Yield the news of instances whose time to live is soon over. A longer one is announced anew."""
    for row in rows:
        at = soon_at(row.expires_at, row.ttl_seconds)
        if at > now:
            continue
        data = {
            "expires_at": moment(row.expires_at),
            "fleet": {"id": row.fleet_id, "name": row.fleet_name},
            "job": _job(row, row.state, {}),
        }
        subject = f"ttl {row.id} {int(row.expires_at.timestamp())}"
        message = Message("instance.ttl_soon", subject, at, data, fleet_id=row.fleet_id)
        yield Piece(0, row.tenant_id, message)


def untold(tx: Transaction, pieces: Sequence[Piece]) -> list[Piece]:
    """Return those that nobody was told of, at most some hundreds: so that looking again writes nothing."""
    ids = [one.id for one in endpoints(tx)]
    fresh: list[Piece] = []
    for start in range(0, len(pieces), PAGE):
        some = pieces[start : start + PAGE]
        known = deliveries.told(tx, ids, [piece.message.subject for piece in some])
        fresh += [piece for piece in some if piece.message.subject not in known]
        if len(fresh) >= PAGE:
            break
    return fresh


def tell_soon(tx: Transaction, pieces: Sequence[Piece], dice: Random) -> int:
    """Enqueue that times to live are soon over; return how many messages.

    Raises:
        FleetBusyError: somebody else holds one of the fleets: try again soon.

    """
    found = [one for one in endpoints(tx, keep=True) if "instance.ttl_soon" in one.kinds]
    wanted: dict[str, list[_Wanted]] = defaultdict(list)
    for piece in pieces:
        who = [one for one in found if one.tenant == piece.tenant and one.created_at <= piece.message.at]
        if who:
            ids = tuple(one.id for one in who)
            wanted[piece.message.fleet_id or ""].append(_Wanted(piece, ids, ()))
    if not wanted:
        return 0
    _hold(tx, sorted(wanted))
    return sum(_tell_fleet(tx, fleet_id, some, dice) for fleet_id, some in wanted.items())


# Accounts ------------------------------------------------------------------------------------------------------------

_BY_A_PERSON: Final = "paused"


def pauses(tx: Transaction) -> dict[str, Message]:
    """Return what is to be said of each account that takes no creates, by what tells one pause from another."""
    everything: datetime | None = tx.execute(select(installation.c.held_at)).scalar()
    names = ("id", "paused_at", "paused_code", "paused_reason", "held_at")
    rows = tx.execute(select(*(accounts.c[name] for name in names)).order_by(accounts.c.id))
    messages = [message for row in rows for message in _pauses_of(row, everything)]
    return {message.subject: message for message in messages}


def _pauses_of(row: Any, everything: datetime | None) -> Iterator[Message]:  # noqa: ANN401 - a row of accounts
    if row.paused_at is not None:
        yield _pause(row.id, row.paused_at, row.paused_code, row.paused_reason)
    if row.held_at is not None:
        yield _pause(row.id, row.held_at, _BY_A_PERSON, "a person has paused the account")
    if everything is not None:
        yield _pause(row.id, everything, _BY_A_PERSON, "a person has paused everything")


def _pause(account: str, since: datetime, code: str, words: str | None) -> Message:
    facts = {"id": account, "code": code, "reason": words, "since": moment(since)}
    return Message("account.paused", f"paused {account} {code} {moment(since)}", since, {"account": facts})


def tell_pauses(tx: Transaction, messages: Iterable[Message], dice: Random) -> int:
    """Enqueue that accounts are paused, for the tenants that may use them; return how many messages."""
    found = [one for one in endpoints(tx, keep=True) if "account.paused" in one.kinds]
    theirs = {name: tenants.accounts_of(tx, name) for name in {one.tenant for one in found}}
    told = 0
    for message in messages:
        account = message.data["account"]["id"]
        who = [one.id for one in found if account in theirs[one.tenant] and one.created_at <= message.at]
        if who:
            deliveries.enqueue(tx, who, message, dice)
            told += 1
    return told

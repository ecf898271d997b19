"""Counters of the metrics as rows: exact with any number of processes, over kills and restarts.

What is counted of jobs is folded from ``job_events``, which only grows: the counts and the event up to which they go
are written in one transaction, so each event is counted once, whoever folds and whenever it is killed. Durations too
come from events alone, so that it does not matter how late they are folded. Whatever else is counted, its counter adds.
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from jobs.database import Transaction
from jobs.records import job_events, tallies
from jobs.states import TRANSITIONS, Event, State

EVENTS: Final = "nodewright_job_events_total"
ENDED: Final = "nodewright_jobs_ended_total"
WAITING: Final = "nodewright_job_waiting_seconds"
CREATING: Final = "nodewright_job_creating_seconds"
BOOTING: Final = "nodewright_job_booting_seconds"
REQUESTS: Final = "nodewright_linode_requests_total"
CHORES_FAILED: Final = "nodewright_chore_failures_total"

BUCKETS: Final[Mapping[str, tuple[float, ...]]] = {
    WAITING: (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400),
    CREATING: (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300),
    BOOTING: (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900),
}
"""The upper bounds of each histogram, in seconds. What is longer counts in ``+Inf`` only."""
ENDS: Final = (State.RUNNING, State.FAILED, State.CANCELLED, State.REJECTED, State.DELETED)
"""The outcomes: where a job ends, for better or worse. A job that goes on and ends again counts again."""
CODES: Final = (
    *("invalid_request", "unknown_type", "unknown_region", "unknown_image", "image_too_large"),
    *("region_lacks_capability", "image_lacks_capability", "unavailable", "invalid_label", "label_taken"),
    *(
        "weak_password",
        "user_data_too_large",
        "account_limit",
        "no_capacity",
        "unauthorized",
        "missing_scope",
    ),
    *("quota_exceeded", "rejected_by_api", "boot_timeout", "vanished", "deadline_exceeded"),
    *("stopped_by_policy", "credentials_erased"),
)
"""The codes with which jobs end. Their counters begin at 0, else Prometheus would not see the first one."""
ENDINGS: Final = frozenset(
    {row.event for row in TRANSITIONS if row.target in ENDS and row.source is not row.target}
    | {Event.INVALID}
)
"""The events by which a job ends."""
SPAN: Final = 5_000
"""So many event ids are folded in one transaction."""

Counts = Mapping[tuple[str, str], float]
"""What to add: (metric, labels as :func:`labelled` writes them) → how much."""

_FOLDED: Final = "folded"
_NO_LABELS: Final = "{}"
_REASONS: Final = (State.FAILED.value, State.REJECTED.value)
_OWNED: Final = tuple(
    event.value for event in (Event.CREATED, Event.CREATED_UNWANTED, Event.ADOPTED, Event.ADOPTED_UNWANTED)
)
_ANEW: Final = (Event.RETRIED.value, Event.GONE_RETRIED.value)
_IMPLIED: Final = {
    Event.STOPPED.value: "stopped_by_policy",
    Event.DEADLINE_PASSED.value: "deadline_exceeded",
}
"""Events of many jobs at once carry no detail, and have one code only."""


# Adding --------------------------------------------------------------------------------------------------------------


def labelled(**labels: str) -> str:
    """Return labels as a row keeps them: one set of labels is one text."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"))


def add(tx: Transaction, counts: Counts) -> None:
    """Add to counters; those that are new begin with it."""
    _write(tx, counts, adds=True)


def _write(tx: Transaction, values: Counts, *, adds: bool) -> None:
    if not values:
        return
    insert = sqlite.insert if tx.on_sqlite else postgresql.insert
    made = insert(tallies)
    new = made.excluded.value
    keys = [tallies.c.metric, tallies.c.labels]
    upsert = made.on_conflict_do_update(
        index_elements=keys, set_={"value": tallies.c.value + new if adds else new}
    )
    # In one order everywhere, or two that add to the same rows could wait for each other.
    rows = [{"metric": key[0], "labels": key[1], "value": values[key]} for key in sorted(values)]
    tx.execute(upsert, rows)


def chore_labels(name: str) -> tuple[str, str]:
    """Return the chore and the account of a chore's name, which is ``chore`` or ``chore:account``."""
    chore, _, account = name.partition(":")
    return chore, account


def chore_failed(tx: Transaction, name: str) -> None:
    """Count that a chore ended with an error."""
    chore, account = chore_labels(name)
    add(tx, {(CHORES_FAILED, labelled(account=account, chore=chore)): 1})


# Reading -------------------------------------------------------------------------------------------------------------


def read(tx: Transaction) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return every counter: metric → its labels and values. A few hundred rows."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    own = tallies.c.metric.not_in([_FOLDED])
    rows = select(tallies.c.metric, tallies.c.labels, tallies.c.value).where(own)
    for metric, labels, value in tx.execute(rows.order_by(tallies.c.metric, tallies.c.labels)):
        found.setdefault(metric, []).append((json.loads(labels), value))
    return found


# Folding -------------------------------------------------------------------------------------------------------------

_CURSOR: Final = select(tallies.c.value).where(tallies.c.metric == _FOLDED, tallies.c.labels == _NO_LABELS)


def folded(tx: Transaction) -> int:
    """Return the event up to which all are counted."""
    return int(tx.execute(_CURSOR).scalar() or 0)


def fold(tx: Transaction, *, upto: int) -> bool:
    """Count the next events up to ``upto``, :data:`SPAN` ids at most; whether there are more.

    ``upto`` is the horizon below which every writer is done (:class:`jobs.feed.Horizon`): what appears below it
    later would never be counted.
    """
    tx.insert_missing(tallies, {"metric": _FOLDED, "labels": _NO_LABELS, "value": 0.0})
    # Whoever folds holds this row: a worker that was frozen, and whose lease went to another, counts nothing twice.
    after = int(tx.execute(_CURSOR.with_for_update()).scalar_one())
    end = min(upto, after + SPAN)
    if end <= after:
        return False
    add(tx, {**_happened(tx, after, end), **_lasted(tx, after, end)})
    _write(tx, {(_FOLDED, _NO_LABELS): float(end)}, adds=False)
    return end < upto


_CODE: Final = job_events.c.detail["code"].as_string()


def _happened(tx: Transaction, after: int, end: int) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    columns = (job_events.c.event, job_events.c.state, _CODE)
    which = and_(job_events.c.id > after, job_events.c.id <= end)
    for event, state, code, number in tx.execute(
        select(*columns, func.count()).where(which).group_by(*columns)
    ):
        counts[EVENTS, labelled(event=event)] += number
        if event in ENDINGS:
            why = (code or _IMPLIED.get(event, "")) if state in _REASONS else ""
            counts[ENDED, labelled(outcome=state, code=why)] += number
    return counts


_BEFORE: Final = job_events.alias("before")


def _last(*events: str) -> Any:  # noqa: ANN401 - an SQLAlchemy expression
    """Return when one of these events last happened to the job before."""
    mine = and_(_BEFORE.c.job_id == job_events.c.job_id, _BEFORE.c.id < job_events.c.id)
    found = select(_BEFORE.c.at).where(mine, _BEFORE.c.event.in_(events))
    return found.order_by(_BEFORE.c.id.desc()).limit(1).correlate(job_events).scalar_subquery()


def _first() -> Any:  # noqa: ANN401 - as above
    mine = select(_BEFORE.c.at).where(_BEFORE.c.job_id == job_events.c.job_id)
    return mine.order_by(_BEFORE.c.id).limit(1).correlate(job_events).scalar_subquery()


def _steps() -> Select[Any]:
    """Select what says how long jobs took: began to wait, last sent, known, and the present event."""
    return select(
        job_events.c.event,
        job_events.c.at,
        func.coalesce(_last(*_ANEW), _first(), type_=job_events.c.at.type).label("began"),
        _last(Event.SENT.value).label("sent"),
        _last(*_OWNED).label("owned"),
    ).where(job_events.c.event.in_((*_OWNED, Event.SEEN_RUNNING.value)))


_STEPS: Final = _steps()


def _lasted(tx: Transaction, after: int, end: int) -> dict[tuple[str, str], float]:
    micros: dict[str, int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for name, length in _lengths(tx.execute(_STEPS.where(job_events.c.id > after, job_events.c.id <= end))):
        micros[name] = micros.get(name, 0) + length // timedelta(microseconds=1)
        bounds = BUCKETS[name]
        place = bisect_left(bounds, length.total_seconds())
        le = str(float(bounds[place])) if place < len(bounds) else "+Inf"
        counts[f"{name}_bucket", labelled(le=le)] += 1
    return {**counts, **{(f"{name}_sum", _NO_LABELS): total / 1_000_000 for name, total in micros.items()}}


def _lengths(rows: Iterable[Any]) -> Iterator[tuple[str, timedelta]]:
    for row in rows:
        for name, since, until in _spans(*row):
            # A database that failed over may have forgotten the send; and clocks are set back.
            if since is not None and until is not None:
                yield name, max(until - since, timedelta(0))


def _spans(event: str, at: datetime, began: datetime, sent: datetime, owned: datetime) -> Iterable[Any]:
    if event == Event.SEEN_RUNNING:
        return ((BOOTING, owned, at),)
    return ((WAITING, began, sent), (CREATING, sent, at))

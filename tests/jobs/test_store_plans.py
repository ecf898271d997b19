from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from sqlalchemy import event, insert, text, update

from jobs import admission, expiry, fleets, holds, places, queries, waiting
from jobs.identity import new_ids
from jobs.listing import JobFilter, list_jobs, place_of
from jobs.records import fleets as fleets_
from jobs.records import job_events, jobs
from jobs.scaling import Wish
from jobs.states import State
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    TENANT,
    add_fleet,
    add_tenant,
    admit_in,
    fleet_request,
    job_row,
    make_service,
    move_in,
)
from worker import sweep

ROWS = 12_000
OPEN = {State.DISPATCHED: 3, State.CREATING: 3, State.UNCERTAIN: 3, State.BOOTING: 3, State.CANCELLED: 3000}


@pytest.fixture
def crowded(database, clock):
    """A database with thousands of jobs, most of them queued, and the statistics of that."""
    move_in(database)
    add_tenant(database, "other")
    big, small = add_fleet(database, name="big"), add_fleet(database, name="small")
    add_fleet(database, name="overdue", deadline_at=clock.at(-1))
    template = job_row(database, big, State.QUEUED)
    states = [state for state, count in OPEN.items() for _ in range(count)]
    states += [State.QUEUED] * (ROWS - len(states))
    Random(1).shuffle(states)
    rows = []
    for number, (job_id, state) in enumerate(zip(new_ids(ROWS, clock.now, Random(2)), states, strict=True)):
        fleet = small if number % 100 == 0 else big
        row = job_row(database, fleet, state, position=number) if number == 0 else {**template}
        row |= {
            "id": job_id,
            "fleet_id": fleet,
            "position": number,
            "label": f"made-{number}",
            "state": state.value,
            "tenant_id": "other" if number % 1000 == 0 else TENANT,
            "priority": number % 7,
            "linode_id": number if state is State.BOOTING else None,
            "lease_until": clock.at(number) if state in {State.DISPATCHED, State.CREATING} else None,
            "run_after": clock.at(number) if number % 50 == 1 else None,
            "expires_at": clock.at(number) if state is State.BOOTING else None,
            "counted": state is not State.CANCELLED or number % 500 == 0,
        }
        rows.append(row)
    columns = set().union(*rows)
    with database.write() as tx:
        tx.execute(insert(jobs), [{name: row.get(name) for name in columns} for row in rows])
        line = {"at": tx.now, "event": "validated", "state": "queued", "actor": ACTOR, "detail": None}
        tx.execute(insert(job_events), [{**line, "job_id": row["id"]} for row in rows])
        tx.execute(text("ANALYZE"))
    return database, big, small


@contextmanager
def statements(engine):
    """Collect the statements that are executed inside."""
    found = []

    def note(_connection, _cursor, statement, parameters, _context, executemany):
        if not executemany and statement.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
            found.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def inside(database, act):
    """Return an action that does ``act`` in a transaction of its own."""

    def acting():
        with database.write() as tx:
            act(tx)

    return acting


def scans(database, act):
    """Return the plans of an action's statements that read all of a large table or sort what they read."""
    with statements(database.engine) as found:
        act()
    words = "EXPLAIN QUERY PLAN " if database.on_sqlite else "EXPLAIN "
    bad = []
    with database.engine.connect() as connection:
        for statement, parameters in found:
            rows = connection.exec_driver_sql(words + statement, parameters).all()
            plan = "\n".join(str(row[-1]) for row in rows)
            if reads_all(plan, on_sqlite=database.on_sqlite):
                bad.append(f"{statement}\n{plan}")
        connection.rollback()
    assert found
    return bad


def reads_all(plan, *, on_sqlite):
    """Whether a plan walks a whole large table, or sorts more than the ties of an index's order."""
    lines = [line.strip(" ->") for line in plan.splitlines()]
    if on_sqlite:
        return any(
            line.startswith(("SCAN jobs", "SCAN job_events")) and "INDEX" not in line for line in lines
        )
    if any(line.startswith(("Seq Scan on jobs", "Seq Scan on job_events")) for line in lines):
        return True
    # A route has a bucket or two.
    sorts = any(
        line.startswith("Sort  (") and "rate_windows.bucket" not in key for line, key in pairwise(lines)
    )
    # What is summed up by fleet may be sorted by fleet for that.
    return " on job" in plan and sorts and "GroupAggregate" not in plan


def test_hot_statements_walk_an_index(crowded, clock):
    """Whatever runs often, or while somebody waits, reads through an index, however long the queue is."""
    database, big, small = crowded
    where = JobFilter(fleet_id=big)
    with database.read() as tx:
        page = list_jobs(tx, tenant=TENANT, where=where, limit=100)
    failed = JobFilter(error_code="no_capacity")
    labels = [f"made-{number}" for number in range(500)]

    def admit(tx):
        admission.wake(tx, ACCOUNT)
        granted = admit_in(tx, most=20).granted
        assert granted, "there was something to admit"

    move_in(database, account="idle", token="idle-token")

    def take_over(tx):
        found = places.movable(tx, "idle", [TENANT], 20)
        assert places.take_over(tx, "idle", found, actor=ACTOR) == 20, "there was something to take over"

    held, stopped = add_fleet(database, name="held"), add_fleet(database, name="stopped")
    with database.write() as tx:
        tx.execute(update(fleets_).where(fleets_.c.id == held).values(held_at=tx.now))
        tx.execute(update(fleets_).where(fleets_.c.id == stopped).values(stopped_at=tx.now))
    acts = {
        "take over": take_over,
        "spread": lambda tx: places.lanes(tx, [ACCOUNT, "idle"]),
        "anything ready": lambda tx: admission.anything_ready(tx, ACCOUNT),
        "next snooze": lambda tx: admission.next_snooze(tx, ACCOUNT),
        "admit": admit,
        "pause": lambda tx: holds.settle(
            tx, holds.of_fleet(small, "small"), holds.create_windows(tx), actor=ACTOR
        ),
        "lapsed leases": lambda tx: sweep.lapsed(tx, limit=200),
        "release": lambda tx: fleets.release(tx, TENANT),
        "secrets": fleets.keeps_secrets,
        "fleet": lambda tx: queries.find_fleet(tx, small, tenant=TENANT),
        "fleet by name": lambda tx: queries.find_fleet(tx, "small", tenant=TENANT),
        "first page": lambda tx: list_jobs(tx, tenant=TENANT, where=JobFilter(), limit=100),
        "first page of a fleet": lambda tx: list_jobs(tx, tenant=TENANT, where=where, limit=100),
        "next page of a fleet": lambda tx: list_jobs(
            tx, tenant=TENANT, where=where, limit=100, after=place_of(page[-1], where)
        ),
        "next page": lambda tx: list_jobs(tx, tenant=TENANT, where=JobFilter(), limit=100, after=page[-1].id),
        "by label": lambda tx: list_jobs(
            tx, tenant=TENANT, where=JobFilter(label="made-0007"), limit=100, after=page[-1].id
        ),
        "by state": lambda tx: list_jobs(
            tx, tenant=TENANT, where=JobFilter(state=State.CANCELLED), limit=100
        ),
        "what is ahead": lambda tx: [
            waiting.count_before(tx, line, page[-1].id, fleet_id=small, most=100)
            for line in [*waiting.lines(tx), *waiting.going(tx)]
        ],
        "by error": lambda tx: list_jobs(tx, tenant=TENANT, where=failed, limit=100),
        "since": lambda tx: list_jobs(tx, tenant=TENANT, where=JobFilter(since=tx.now), limit=100),
        "job": lambda tx: queries.job_detail(tx, queries.find_job(tx, page[0].id, tenant=TENANT)),
        "expire, when": expiry.next_due,
        "expired": lambda tx: expiry.end_expired(tx, actor=ACTOR, limit=1),
        "labels": lambda tx: queries.taken_labels(tx, ACCOUNT, labels),
    }
    acts = {name: inside(database, act) for name, act in acts.items()}
    service, three = make_service(database), fleet_request({"count": 3}, name="new")
    acts["submit"] = lambda: service.submit(three, tenant=TENANT, actor=ACTOR)
    acts["cancel"] = lambda: service.cancel("new", TENANT, actor=ACTOR)
    acts["retry"] = lambda: service.retry("small", TENANT, actor=ACTOR)
    acts["scale"] = lambda: service.scale("small", TENANT, Wish(200), actor=ACTOR)
    acts["spend"] = lambda: service.spend(TENANT)
    clock.advance(timedelta(hours=1).total_seconds())
    bad = {name: plans for name, act in acts.items() if (plans := scans(database, act))}
    assert not bad, "\n\n".join(f"{name}: {plan}" for name, plans in bad.items() for plan in plans)

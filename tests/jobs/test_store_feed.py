from contextlib import contextmanager

import pytest
from sqlalchemy import event, insert, select, update

from jobs import holds
from jobs.database import Database
from jobs.feed import KEPT, PAGE, SETTLE_SECONDS, FleetFeed, Horizon, stamp
from jobs.records import job_events, jobs
from jobs.service import NotFound, UnknownEvent
from tests.support.fleets import TENANT, add_tenant, admit, make_service, move_in, submit


@pytest.fixture
def service(database):
    """A service over the database."""
    return make_service(database)


def said(batch):
    """Return what a batch's events say."""
    return [(event.label, event.event) for event in batch.events]


def drain(feed):
    """Read a feed as far as it goes; return all events and the last batch."""
    events, batch = [], feed.poll()
    while batch.events:
        events += batch.events
        batch = feed.poll()
    return events, batch


def write_event(tx, job_id, event="admitted"):
    """Write a line of a timeline as a transition does: after a change of the job's row."""
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(changed_at=tx.now))
    row = {"job_id": job_id, "at": tx.now, "event": event, "state": "queued", "actor": "test"}
    tx.execute(insert(job_events), row)


def test_a_feed_begins_with_the_fleet_and_ends_with_it(database, service):
    """All events of a fleet come once, in order, then nothing until something happens, then the end."""
    submit(database, {"count": 2}, name="other")
    submit(database, {"count": 3}, name="web")
    feed = service.feed("web", TENANT)
    events, batch = drain(feed)
    assert [(one.label, one.event) for one in events] == [(f"web-000{n}", "validated") for n in (1, 2, 3)]
    assert batch.ended is None
    assert feed.poll().events == ()
    service.cancel("web", TENANT, actor="test")
    events, batch = drain(feed)
    assert {one.event for one in events} == {"cancelled"}
    assert batch.ended is not None
    assert batch.ended.states == {"cancelled": 3}


def test_a_feed_goes_on_after_an_event(database, service):
    """With the id of an event only what came after it is told, and an ended fleet ends at once."""
    submit(database, {"count": 3}, name="web")
    events, _ = drain(service.feed("web", TENANT))
    service.cancel("web", TENANT, actor="test")
    rest, batch = drain(service.feed("web", TENANT, after=events[1].id))
    assert [one.event for one in rest] == ["validated", *["cancelled"] * 3]
    assert batch.ended is not None
    assert service.feed("web", TENANT, after=rest[-1].id).poll().ended is not None


def test_a_long_feed_comes_in_pages(database, service):
    """More events than a page holds come page by page, each once."""
    submit(database, {"count": PAGE + 20}, name="web")
    feed = service.feed("web", TENANT)
    first, second = feed.poll(), feed.poll()
    assert (len(first.events), first.more, len(second.events), second.more) == (PAGE, True, 20, False)
    assert len({one.id for one in (*first.events, *second.events)}) == PAGE + 20


@pytest.mark.parametrize("after", [0, -1, 2**63, 10**30])
def test_an_unknown_event_is_refused(database, service, after):
    """There is nothing to go on from after an event that is not the fleet's."""
    submit(database, name="web")
    with pytest.raises(UnknownEvent):
        service.feed("web", TENANT, after=after)


def test_events_of_others_are_unknown(database, service):
    """An event of another fleet is no event of this one, and another tenant's fleet does not exist."""
    add_tenant(database, "other")
    submit(database, name="web")
    submit(database, name="theirs", tenant="other")
    theirs, _ = drain(service.feed("theirs", "other"))
    with pytest.raises(UnknownEvent):
        service.feed("web", TENANT, after=theirs[0].id)
    with pytest.raises(NotFound):
        service.feed("theirs", TENANT)


@pytest.mark.postgres
def test_an_event_that_is_committed_late_is_not_left_out(postgres_database, clock):
    """A writer that has its number, and is slow to commit, holds the feed back: its event is told, in order."""
    service = make_service(postgres_database)
    submit(postgres_database, {"count": 2}, name="web")
    first, second = (job.id for job in service.jobs(TENANT, fleet="web"))
    feed = service.feed("web", TENANT)
    drain(feed)
    other = Database(str(postgres_database.url.render_as_string(hide_password=False)), clock=clock)
    with other.write() as slow:
        write_event(slow, first, "sent")
        with postgres_database.write() as quick:
            write_event(quick, second, "created")
        assert feed.poll().events == ()
        assert feed.poll().events == ()
    events, _ = drain(feed)
    assert [(one.position, one.event) for one in events] == [(1, "sent"), (2, "created")]
    other.close()


@pytest.mark.postgres
def test_a_writer_that_never_ends_does_not_stop_the_feed(postgres_database, clock):
    """After longer than any transaction of ours takes, others' are not waited for."""
    service = make_service(postgres_database)
    fleet = submit(postgres_database, name="web").fleet
    moments = iter([0.0, 1.0, SETTLE_SECONDS + 1])
    other = Database(str(postgres_database.url.render_as_string(hide_password=False)), clock=clock)
    with other.write() as endless:
        write_event(endless, service.jobs(TENANT)[0].id)
        feed = FleetFeed(postgres_database, fleet, monotonic=lambda: next(moments))
        assert feed.poll().events == ()
        assert said(feed.poll()) == [("web-0001", "validated")]
    other.close()


def test_the_horizon_moves_with_the_writers(database):
    """Where nobody writes, everything that is visible is settled."""
    submit(database, {"count": 2})
    horizon = Horizon()
    with database.read() as tx:
        horizon.advance(tx)
        highest = tx.execute(select(job_events.c.id).order_by(job_events.c.id.desc())).scalar()
    assert horizon.settled == horizon.latest == highest


# Many feeds ----------------------------------------------------------------------------------------------------------


@contextmanager
def counted(database):
    """Count the statements that a block executes."""
    seen = []

    def note(connection, cursor, statement, *rest):
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def settle(service):
    """Look until there is nothing more to see."""
    look = service.lookout.look()
    while (later := service.lookout.look()) is not look:
        look = later
    return look


def test_many_feeds_cost_one_look(database, service):
    """What one look saw is told to every feed without another question to the database, each event once."""
    submit(database, {"count": 2}, name="web")
    submit(database, {"count": 2}, name="other")
    feeds = [service.feed(name, TENANT) for name in ("web", "web", "other")]
    for feed in feeds:
        drain(feed)
    assert all(feed.glance(settle(service)) is not None for feed in feeds)
    service.cancel("web", TENANT, actor="test")
    look = settle(service)
    with counted(database) as statements:
        told = [said(feed.glance(look)) for feed in feeds]
    assert statements == []
    cancelled = [(f"web-000{number}", "cancelled") for number in (1, 2)]
    assert told == [cancelled, cancelled, []]
    assert feeds[0].poll(look).ended is not None
    with counted(database) as statements:
        assert feeds[1].poll(look).ended is not None
    assert statements == []
    assert feeds[2].glance(look).ended is None


def test_a_look_without_news_is_the_same(database, service):
    """Who waits for another look is not woken for nothing."""
    submit(database, name="web")
    look = settle(service)
    assert service.lookout.look() is look
    service.cancel("web", TENANT, actor="test")
    assert settle(service) is not look


def test_whoever_is_far_behind_asks_the_database(database, service):
    """Only the newest events are kept; a feed that needs older ones reads them, and then goes on with the others."""
    submit(database, name="old")
    settle(service)
    submit(database, {"count": KEPT + 10}, name="web")
    feed = service.feed("web", TENANT)
    look = settle(service)
    assert look.since == look.settled
    assert feed.glance(look) is None
    events = []
    while batch := feed.poll(look).events:
        events += batch
    assert len({one.id for one in events}) == len(events) == KEPT + 10
    assert feed.glance(look).events == ()


def test_no_more_is_kept_than_is_allowed(database, service):
    """However long the feeds go on, a process keeps so many events and no more, the newest."""
    submit(database, {"count": 900}, name="web")
    settle(service)
    for number in range(3):
        submit(database, {"count": 900}, name=f"more{number}")
        look = settle(service)
    kept = [one.id for events in look.by_fleet.values() for one in events]
    assert len(kept) == KEPT
    assert max(kept) == look.settled
    assert look.since == min(kept) - 1


@pytest.mark.postgres
def test_an_end_that_is_committed_late_is_found_by_all(postgres_database, clock):
    """A fleet that was read before its last change was visible is read again, however high the ids were by then."""
    service = make_service(postgres_database)
    submit(postgres_database, name="web")
    submit(postgres_database, name="other")
    mine, others = (service.jobs(TENANT, fleet=name)[0].id for name in ("web", "other"))
    other = Database(str(postgres_database.url.render_as_string(hide_password=False)), clock=clock)
    with other.write() as slow:
        slow.execute(
            update(jobs).where(jobs.c.id == mine).values(state="cancelled", version=jobs.c.version + 1)
        )
        write_event(slow, mine, "cancelled")
        with postgres_database.write() as quick:
            write_event(quick, others)
        feeds = [service.feed("web", TENANT) for _ in range(2)]
        assert [drain(feed)[1].ended for feed in feeds] == [None, None]
    for feed in feeds:
        events, batch = drain(feed)
        assert [one.event for one in events] == ["validated", "cancelled"]
        assert batch.ended is not None
    other.close()


def test_the_stamp_differs_once_something_changed(database, service):
    """Jobs, windows and pauses change it; a look does not."""
    move_in(database)
    seen = set()

    def note():
        with database.read() as tx:
            seen.add(stamp(tx))
        return len(seen)

    assert [note(), note()] == [1, 1]
    submit(database, {"count": 2}, name="web")
    assert [note(), note()] == [2, 2]
    admit(database, most=1)
    assert note() == 3
    service.pause(holds.ALL, actor="test")
    assert note() == 4
    service.pause(service.fleet_scope("web", TENANT), actor="test")
    assert note() == 5

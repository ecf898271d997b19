from random import Random

import pytest
from sqlalchemy import select, update

from jobs import house
from jobs.records import installation
from tests.support.fleets import ACCOUNT, move_in


def test_settling_in_happens_once(database):
    """A second start finds the installation's id and changes nothing."""
    with database.write() as tx:
        first = house.settle_in(tx, dice=Random(1))
    with database.write() as tx:
        assert house.settle_in(tx, dice=Random(2)) == first
        assert len(tx.execute(select(installation)).all()) == 1


@pytest.mark.parametrize(("seconds", "fresh"), [(1, False), (60, False), (60.001, True), (86400, True)])
def test_a_long_silence_begins_an_epoch(database, clock, seconds, fresh):
    """A database on which no loop ran for more than a minute may be a restored one."""
    clock.advance(seconds)
    with database.write() as tx:
        assert house.heartbeat(tx) is fresh
    with database.write() as tx:
        assert house.heartbeat(tx) is False
        assert house.last_heartbeat(tx) == clock.now
        assert tx.execute(select(installation.c.epoch)).scalar_one() == 1 + fresh


def test_another_timeline_begins_an_epoch(postgres_database):
    """A promoted standby has another timeline than the one that was noted, however fresh its heartbeat."""
    with postgres_database.write() as tx:
        assert house.heartbeat(tx) is False
        noted = tx.execute(select(installation.c.timeline)).scalar_one()
        assert len(noted) == 8
        tx.execute(update(installation).values(timeline="0000000F"))
    with postgres_database.write() as tx:
        assert house.heartbeat(tx) is True
        assert tx.execute(select(installation.c.timeline)).scalar_one() == noted


def test_reconcile_opens_its_epoch_only(database):
    """An account is through with the epoch that its reconcile began in, not with a later one."""
    move_in(database)
    with database.write() as tx:
        assert house.epochs(tx, ACCOUNT) == (1, 1)
        tx.execute(update(installation).values(epoch=3))
        house.reconciled(tx, ACCOUNT, 2)
        assert house.epochs(tx, ACCOUNT) == (3, 2)

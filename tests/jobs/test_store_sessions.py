from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import func, select

from jobs import keys
from jobs.keys import Principal
from jobs.records import api_keys, sessions
from jobs.sessions import LIFETIME, LONGEST, USE_NOTED_EVERY, Sessions

HOURS = LIFETIME.total_seconds() / 3600
HOUR = 3600


@pytest.fixture
def key(database):
    """A key of the default tenant that may look and act."""
    return keys.create_key(database, tenant="default", name="ops", dice=Random(1), scopes=("read", "operate"))


@pytest.fixture
def held(database):
    """The sessions of the installation."""
    return Sessions(database, dice=Random(2))


@pytest.fixture
def token(held, key):
    """The token of somebody who has just logged in."""
    return held.open(key, keys.key_id(key))


def rows(database):
    """Return how many sessions are kept."""
    with database.read() as tx:
        return tx.execute(select(func.count()).select_from(sessions)).scalar_one()


def test_a_session_stands_for_its_key(held, key, token):
    """Whoever holds the token is whoever the key is: tenant, scopes and name."""
    found = held.find(token).principal
    assert (found.tenant, found.scopes, found.key_id) == ("default", {"read", "operate"}, keys.key_id(key))


def test_neither_the_token_nor_the_key_is_kept(database, token, key):
    """The table holds hashes: who reads it can log in as nobody."""
    with database.read() as tx:
        row = repr(tuple(tx.execute(select(sessions)).one()))
    assert token not in row
    assert key.rpartition("_")[2] not in row


def test_each_login_has_a_token_of_its_own(held, key):
    """Tokens are drawn anew, and are 256 bits long."""
    drawn = {held.open(key, keys.key_id(key)) for _ in range(20)}
    assert len(drawn) == 20
    assert {len(one) for one in drawn} == {64}


@pytest.mark.parametrize("typed", ["", "0" * 64, "x" * 10_000, "\x00", "\ud800", "é"])
def test_a_made_up_token_is_nobodys(held, token, typed):
    """Whatever is sent as a token, it is unknown and no error."""
    assert held.find(typed) is None
    assert held.find(token[:-1]) is None


def test_logging_out_ends_it_alone(held, key, token):
    """After the logout the token is worth nothing; another login of the same key goes on."""
    other = held.open(key, keys.key_id(key))
    held.close(token)
    assert held.find(token) is None
    assert held.find(other) is not None


def test_a_revoked_key_ends_its_sessions(database, held, key, token):
    """From the moment at which the key is revoked its sessions open nothing."""
    keys.revoke(database, keys.key_id(key))
    assert held.find(token) is None


def test_an_expired_key_ends_its_sessions(database, held, clock):
    """A session does not outlive its key."""
    short = keys.create_key(
        database, tenant="default", name="short", dice=Random(3), lifetime=timedelta(hours=1)
    )
    token = held.open(short, keys.key_id(short))
    clock.advance(HOUR - 1)
    assert held.find(token) is not None
    clock.advance(1)
    assert held.find(token) is None


def test_a_session_that_is_not_used_ends(held, token, clock):
    """It is good until twelve hours after its last use, and no longer at that moment."""
    clock.advance(HOURS * HOUR - 1)
    assert held.find(token, use=False) is not None
    clock.advance(1)
    assert held.find(token) is None


def test_a_session_in_use_lasts(held, token, clock):
    """Each use lengthens it, and says so, so that the cookie can be sent again; looking on does not."""
    clock.advance((HOURS - 1) * HOUR)
    assert held.find(token, use=False).renewed is False
    assert held.find(token).renewed is True
    clock.advance((HOURS - 1) * HOUR)
    assert held.find(token) is not None


def test_a_use_is_noted_once_a_minute(database, held, token, clock):
    """Of many uses within a minute none but the first writes anything."""
    clock.advance(USE_NOTED_EVERY.total_seconds() - 1)
    assert held.find(token).renewed is False
    clock.advance(1)
    assert [held.find(token).renewed for _ in range(3)] == [True, False, False]


def test_no_session_lasts_for_ever(held, token, clock):
    """However much it is used, after a week somebody has to log in again."""
    for _ in range(LONGEST // timedelta(hours=6) - 1):
        clock.advance(6 * HOUR)
        assert held.find(token) is not None
    clock.advance(6 * HOUR)
    assert held.find(token) is None


def test_the_use_of_a_session_is_a_use_of_its_key(database, held, key, token, clock):
    """A key that somebody is logged in by does not look unused."""
    moment = clock.advance(HOUR)
    held.find(token)
    with database.read() as tx:
        assert tx.execute(select(api_keys.c.used_at)).scalar_one() == moment


def test_old_sessions_are_pruned_by_the_next_login(database, held, key, token, clock):
    """What has ended leaves the table when somebody logs in."""
    clock.advance(LIFETIME.total_seconds())
    assert rows(database) == 1
    fresh = held.open(key, keys.key_id(key))
    assert rows(database) == 1
    assert held.find(fresh) is not None


def test_the_settings_key(database, token):
    """A key that is in no table opens sessions too; they end when the settings give another."""
    given = {keys.digest_of("given"): Principal("settings", "default", frozenset(keys.SCOPES))}
    mine = Sessions(database, dice=Random(4), given=given)
    opened = mine.open("given", "settings")
    assert mine.find(opened).principal.key_id == "settings"
    assert Sessions(database, dice=Random(5)).find(opened) is None

from random import Random

import pytest
from sqlalchemy import select, update

from jobs import keys
from jobs.records import api_keys


@pytest.fixture
def key(database):
    """A key of the default tenant with two scopes."""
    return keys.create_key(database, tenant="default", name="ci", dice=Random(1), scopes=("read", "submit"))


def test_a_key_stands_for_its_tenant(database, key):
    """A key is known by its prefix, stands for its tenant and carries its scopes."""
    known = keys.check(database, key)
    assert (known.tenant, known.scopes) == ("default", {"read", "submit"})
    assert key.startswith(known.key_id)


def test_only_a_hash_is_kept(database, key):
    """The table holds neither the key nor its secret part."""
    with database.read() as tx:
        row = tx.execute(select(api_keys)).one()
    assert key.rpartition("_")[2] not in repr(tuple(row))


@pytest.mark.parametrize(
    "spoil",
    [str.upper, lambda key: key[:-1], lambda key: key + "x", lambda key: key[4:], lambda key: key + "\ud800"],
)
def test_an_altered_key_is_nobodys(database, key, spoil):
    """Anything but the exact key is unknown."""
    assert keys.check(database, spoil(key)) is None


@pytest.mark.parametrize(
    "typed", ["", "_", "nwk__", "nwk_aaaaaaaa_" + "b" * 40, "\x00_x", "é_\ud800", "x" * 10_000]
)
def test_strange_keys_are_nobodys(database, key, typed):
    """Whatever is sent as a key, it is unknown and no error."""
    assert keys.check(database, typed) is None


def test_a_revoked_key_is_nobodys(database, key):
    """A key is good until it is revoked, and is revoked once."""
    prefix = key.rpartition("_")[0]
    assert keys.revoke(database, prefix)
    assert keys.check(database, key) is None
    assert not keys.revoke(database, prefix)
    assert not keys.revoke(database, "nwk_unknown")


def test_a_key_expires(database, clock, key):
    """A key is good before its expiry and no longer at it."""
    with database.write() as tx:
        tx.execute(update(api_keys).values(expires_at=clock.at(10)))
    clock.advance(9.999)
    assert keys.check(database, key) is not None
    clock.advance(0.001)
    assert keys.check(database, key) is None

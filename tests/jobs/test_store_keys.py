from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import select

from jobs import keys
from jobs.records import api_keys
from tests.support.fleets import add_tenant


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


def test_a_key_expires(database, clock):
    """A key is good before its lifetime is over and no longer at it."""
    key = keys.create_key(
        database, tenant="default", name="brief", dice=Random(4), lifetime=timedelta(seconds=10)
    )
    clock.advance(9.999)
    assert keys.check(database, key) is not None
    clock.advance(0.001)
    assert keys.check(database, key) is None


def used_at(database):
    """Return when the only key was last used, as the table says."""
    with database.read() as tx:
        return tx.execute(select(api_keys.c.used_at)).scalar_one()


def test_a_use_is_noted_at_most_once_a_minute(database, clock, key):
    """The first use is written down, and of a key in steady use one in a minute."""
    assert used_at(database) is None
    first = clock.now
    keys.check(database, key)
    assert used_at(database) == first
    clock.advance(59.999)
    keys.check(database, key)
    assert used_at(database) == first
    clock.advance(0.001)
    keys.check(database, key)
    assert used_at(database) == clock.now


def test_a_wrong_key_is_no_use(database, key):
    """A try with a wrong secret, or with a revoked key, is not noted as a use."""
    keys.check(database, key[:-1])
    keys.revoke(database, keys.key_id(key))
    keys.check(database, key)
    assert used_at(database) is None


def test_many_uses_at_once(database, key):
    """A key that many requests use at the same moment is good for each of them."""
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: keys.check(database, key), range(40)))
    assert all(found)


def test_keys_are_listed_without_their_secrets(database, clock, key):
    """A list shows every key's prefix, tenant, scopes and state, a tenant's alone if asked, and no secret."""
    add_tenant(database, "acme")
    clock.advance(1)
    other = keys.create_key(
        database, tenant="acme", name="ci", dice=Random(5), lifetime=timedelta(seconds=1), scopes=("read",)
    )
    third = keys.create_key(database, tenant="acme", name="old", dice=Random(6))
    keys.revoke(database, keys.key_id(third))
    clock.advance(1)
    with database.read() as tx:
        found = keys.list_keys(tx)
        own = keys.list_keys(tx, tenant="acme")
        assert keys.find_key(tx, keys.key_id(other)) == own[[one.name for one in own].index("ci")]
        assert keys.find_key(tx, "nwk_unknown") is None
    shown = {(one.id, one.tenant, one.name, one.scopes, one.state) for one in found}
    assert shown == {
        (keys.key_id(key), "default", "ci", ("submit", "read"), "valid"),
        (keys.key_id(other), "acme", "ci", ("read",), "expired"),
        (keys.key_id(third), "acme", "old", keys.SCOPES, "revoked"),
    }
    assert {one.tenant for one in own} == {"acme"}
    assert not any(one.rpartition("_")[2] in repr(found) for one in (key, other, third))


def test_whether_any_key_is_valid(database, clock):
    """A key that is revoked or expired opens nothing, and does not count as one."""

    def any_valid():
        with database.read() as tx:
            return keys.any_valid(tx)

    assert not any_valid()
    brief = {"tenant": "default", "name": "brief", "lifetime": timedelta(seconds=5)}
    keys.create_key(database, dice=Random(1), **brief)
    assert any_valid()
    clock.advance(5)
    assert not any_valid()
    lasting = keys.create_key(database, tenant="default", name="lasting", dice=Random(2))
    assert any_valid()
    keys.revoke(database, keys.key_id(lasting))
    assert not any_valid()

import json
import zlib
from itertools import count

import pytest
import redis

from jobs import house
from tests.support.fleets import ACCOUNT, PARTS, catalog
from worker.cache import CatalogCache, connect

KEY = f"nodewright:catalog:{ACCOUNT}"
VERSION = f"nodewright:catalog-version:{ACCOUNT}"


@pytest.fixture
def broker(redis_url):
    """A client of the real Valkey."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def reader(rig, redis_url):
    """Makes a process's cache; each has its own memory."""
    made = []

    def make(url=redis_url):
        cache = CatalogCache(rig.database, connect(url), monotonic=rig.clock.monotonic)
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache._redis.close()


def store(rig, **parts):
    """Keep a catalog in the database; return it."""
    with rig.database.write() as tx:
        house.store_catalogs(tx, ACCOUNT, {**PARTS, **parts})
        return house.load_catalog(tx, ACCOUNT)


OTHER = [{**PARTS["regions"][0], "id": "ap-south"}]


def test_what_one_worker_offers_others_read(rig, reader, broker):
    """A catalog that a worker offered is read from Redis by every other process, without the database."""
    offered = catalog("v7")
    reader().offer(ACCOUNT, offered, PARTS)
    assert broker.get(VERSION) == b"v7"
    found = reader()(ACCOUNT)
    assert (found.version, found.fetched_at, found.types) == ("v7", offered.fetched_at, offered.types)


def test_none_yet(reader):
    """Where there never was a catalog there is none."""
    assert reader()(ACCOUNT) is None


def test_for_a_second_a_process_trusts_its_own_copy(rig, reader, broker):
    """Within a second nothing is asked; after it a new version is noticed."""
    first, second = reader(), reader()
    first.offer(ACCOUNT, catalog("v1"), PARTS)
    assert second(ACCOUNT).version == "v1"
    first.offer(ACCOUNT, catalog("v2"), PARTS)
    assert second(ACCOUNT).version == "v1"
    rig.clock.advance(1.1)
    assert second(ACCOUNT).version == "v2"


def test_an_unchanged_version_is_not_unpacked_again(rig, reader, broker):
    """While the version is the same the object stays the same."""
    first, second = reader(), reader()
    first.offer(ACCOUNT, catalog("v1"), PARTS)
    known = second(ACCOUNT)
    broker.set(KEY, b"never read")
    rig.clock.advance(1.1)
    assert second(ACCOUNT) is known


GARBAGE = {
    "no compression": b"garbage",
    "no JSON": zlib.compress(b"garbage"),
    "no document": zlib.compress(b"[]"),
    "an old version of ours": zlib.compress(json.dumps({"version": "v0", "rows": {}}).encode()),
    "a wrong moment": zlib.compress(b'{"version": "v0", "fetched_at": "yesterday", "parts": {}}'),
    "parts that are none": zlib.compress(
        b'{"version": "v0", "fetched_at": "2026-01-01T00:00:00+00:00", "parts": {}}'
    ),
    "empty": b"",
}


@pytest.mark.parametrize("packed", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_redis(rig, reader, broker, packed):
    """What another version of ours or somebody else wrote is passed over: the database has the truth."""
    truth = store(rig)
    broker.set(KEY, packed)
    broker.set(VERSION, "v0")
    assert reader()(ACCOUNT) == truth


def test_a_lost_redis(rig, reader):
    """A Redis that was emptied, or does not answer, costs a look into the database and nothing else."""
    truth = store(rig)
    assert reader()(ACCOUNT) == truth
    gone = reader("redis://127.0.0.1:1/0")
    assert gone(ACCOUNT) == truth
    gone.offer(ACCOUNT, catalog("v9"), PARTS)
    assert gone(ACCOUNT).version == "v9"


def test_emptied_while_in_use(rig, reader, broker):
    """A reader whose Redis forgot everything reads the database's newest copy, not its own old one."""
    reader().offer(ACCOUNT, catalog("v1"), PARTS)
    one = reader()
    assert one(ACCOUNT).version == "v1"
    newest = store(rig, regions=OTHER)
    broker.flushall()
    rig.clock.advance(1.1)
    assert one(ACCOUNT) == newest


def test_without_redis_a_new_catalog_is_noticed(rig, reader):
    """While Redis is away a process still gets the catalog that another one has read since."""
    store(rig)
    one = reader("redis://127.0.0.1:1/0")
    one(ACCOUNT)
    newest = store(rig, regions=OTHER)
    rig.clock.advance(1.1)
    assert one(ACCOUNT) == newest


def test_text_where_bytes_are_expected(rig, redis_url):
    """A version that is no text is another version, never a crash."""
    truth = store(rig)
    ticks = count()
    with redis.Redis.from_url(redis_url) as client:
        client.set(VERSION, b"\xff\xfe")
        cache = CatalogCache(rig.database, client, monotonic=lambda: next(ticks) * 10.0)
        assert cache(ACCOUNT) == truth
        assert cache(ACCOUNT) == truth

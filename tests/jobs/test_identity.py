from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from jobs.identity import (
    AttemptTag,
    installation_tag,
    new_id,
    new_ids,
    new_installation_id,
    parse_attempt_tags,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_TAG = 50
moments = st.integers(0, 2**45).map(lambda milliseconds: NOW + timedelta(milliseconds=milliseconds))


@given(now=moments, seed=st.integers())
def test_ids_are_version_7_and_carry_their_moment(now, seed):
    """An id is a UUIDv7 of RFC 9562: version, variant and the milliseconds are where they belong."""
    for text in (new_id(now, Random(seed)), *new_ids(3, now, Random(seed))):
        uuid = UUID(text)
        assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
        assert uuid.int >> 80 == int(now.timestamp() * 1000)
        assert text == str(uuid)


@given(now=moments, later=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)), seed=st.integers())
def test_ids_sort_by_age(now, later, seed):
    """A later millisecond's id is the greater one, as text and as a number, whatever the dice."""
    assert new_id(now, Random(seed)) < new_id(now + later, Random(seed + 1))


@given(seed=st.integers(), count=st.integers(0, 200))
def test_a_fleets_ids_keep_its_order(seed, count):
    """The ids of one call are distinct and sort as listed, all within one millisecond."""
    ids = new_ids(count, NOW, Random(seed))
    assert len(ids) == count
    assert ids == sorted(set(ids))


class Highest(Random):
    """Dice that always show the most."""

    def getrandbits(self, k):
        return 2**k - 1


def test_ids_survive_the_worst_dice():
    """Even the highest random start leaves room for the largest fleet: no carry reaches version or time."""
    ids = new_ids(10_000, NOW, Highest())
    assert ids == sorted(set(ids))
    assert {UUID(text).version for text in (ids[0], ids[-1])} == {7}
    assert UUID(ids[-1]).int >> 80 == int(NOW.timestamp() * 1000)


def test_ids_of_one_millisecond_differ():
    """Ten thousand ids of one moment are ten thousand ids."""
    dice = Random(3)
    assert len({new_id(NOW, dice) for _ in range(10_000)}) == 10_000


@given(seed=st.integers(), attempt=st.integers(1, 10**9))
def test_tags_fit_the_api_and_read_back(seed, attempt):
    """Both tags keep to 50 characters, and an attempt's tag reads back to what it was made of."""
    tag = AttemptTag(new_id(NOW, Random(seed)), attempt)
    house = installation_tag(new_installation_id(Random(seed)))
    assert len(str(tag)) <= LONGEST_TAG
    assert len(house) <= LONGEST_TAG
    assert parse_attempt_tags(["web", house, str(tag)]) == [tag]


def test_what_is_no_attempt_tag_is_left_out():
    """Strangers' tags, half tags and tags with something behind them prove nothing."""
    good = str(AttemptTag(new_id(NOW, Random(1)), 1))
    strange = ["", "nw:", "nw:1.1", good[:-1], good + "x", " " + good, good + "\n", good.upper(), good + "٣"]
    assert parse_attempt_tags(strange) == []
    assert parse_attempt_tags([good[:-1] + number for number in ("0", "01", "-1", "1.5")]) == []


def test_an_installations_id_is_short_and_its_own():
    """An installation's id is twelve hexadecimal digits, drawn anew for each."""
    ids = {new_installation_id(Random(seed)) for seed in range(1000)}
    assert len(ids) == 1000
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in ids)

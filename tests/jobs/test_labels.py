import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.labels import DEFAULT_PATTERN, InvalidPattern, expand, label_fault, labels_of
from jobs.requests import parse_request

VALUES = {"name": "web", "group": "front", "region": "us-east", "type": "g6-nanode-1"}


@pytest.mark.parametrize(
    ("pattern", "index", "label"),
    [
        (DEFAULT_PATTERN, 1, "web-0001"),
        (DEFAULT_PATTERN, 9999, "web-9999"),
        (DEFAULT_PATTERN, 10000, "web-10000"),
        ("{name}-{index}", 7, "web-7"),
        ("{index:03d}{index:d}", 7, "0077"),
        ("{group}.{region}_{type}", 7, "front.us-east_g6-nanode-1"),
        ("{{{name}}}%d%%", 7, "{web}%d%%"),
        ("plain", 7, "plain"),
    ],
)
def test_expand(pattern, index, label):
    """A pattern's fields are filled in, and the index outgrows its width."""
    assert expand(pattern, index=index, **VALUES) == label


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{name", "can't be read"),
        ("{}", "is not a field"),
        ("{0}", "is not a field"),
        ("{user}", "`{user}` is not a field; the fields are name, group, index, region, type"),
        ("{name.__class__}", "is not a field"),
        ("{name[0]}", "is not a field"),
        ("{name!r}", "takes no format"),
        ("{name:>9}", "takes no format"),
        ("{index!s}", "takes no format"),
        ("{index:x}", "the index is formatted as"),
        ("{index:999999999d}", "the index is formatted as"),
        ("{index:,}", "the index is formatted as"),
        ("{index:{name}}", "the index is formatted as"),
    ],
)
def test_refused_patterns(pattern, words):
    """A pattern with anything but the five fields and a width is refused; nothing in it is evaluated."""
    with pytest.raises(InvalidPattern) as caught:
        expand(pattern, index=1, **VALUES)
    assert words in str(caught.value)


@given(st.text())
def test_any_pattern_is_expanded_or_refused(pattern):
    """No text makes the formatting fail in another way."""
    with contextlib.suppress(InvalidPattern):
        assert isinstance(expand(pattern, index=1, **VALUES), str)


def labels(*groups):
    """Return the labels of a fleet `web` with these groups."""
    group = {"type": "g6-nanode-1", "region": "us-east"}
    return labels_of(parse_request({"name": "web", "groups": [{**group, **change} for change in groups]}))


def test_index_counts_through_the_fleet():
    """Groups that share a pattern count on, so that their labels differ."""
    assert labels({"count": 2}, {"count": 1, "region": "eu-west"}) == [["web-0001", "web-0002"], ["web-0003"]]


def test_index_starts_again_where_labels_differ_anyway():
    """Groups told apart by their pattern or its fields each count from 1."""
    pattern = "{name}-{group}-{index}"
    groups = [{"name": "a", "label_pattern": pattern}, {"name": "b", "label_pattern": pattern}, {}]
    assert labels(*groups) == [["web-a-1"], ["web-b-1"], ["web-0001"]]


def test_nameless_groups_are_numbered():
    """`{group}` is the group's number where it has no name."""
    assert labels({"label_pattern": "g{group}-{index}"}, {"label_pattern": "g{group}-{index}"}) == [
        ["g1-1"],
        ["g2-1"],
    ]


@given(st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=6))
def test_default_labels_never_collide(counts):
    """However a fleet is cut into groups, its default labels are web-0001 to the last, each once."""
    made = [label for group in labels(*({"count": count} for count in counts)) for label in group]
    assert made == [f"web-{index:04d}" for index in range(1, sum(counts) + 1)]


@pytest.mark.parametrize("label", ["abc", "web-0001", "a_b.c", "A1b", "a" * 64, "a-_.b"])
def test_good_labels(label):
    """Labels by Linode's rules pass."""
    assert label_fault(label) is None


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("", "has 0 characters"),
        ("ab", "has 2 characters"),
        ("a" * 65, "has 65 characters"),
        ("1ab", "begin with a letter"),
        ("-ab", "begin with a letter"),
        ("éab", "begin with a letter"),
        ("ab-", "end with a letter or a digit"),
        ("abc\n", "end with a letter or a digit"),
        ("ab²", "end with a letter or a digit"),
        ("a--b", "none of `--`"),
        ("a__b", "none of `--`"),
        ("a..b", "none of `--`"),
        ("a b", "may hold only letters"),
        ("aéb", "may hold only letters"),
    ],
)
def test_bad_labels(label, words):
    """A label that breaks a rule is refused with that rule."""
    assert words in (label_fault(label) or "")

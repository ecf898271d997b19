"""How instances are named: label patterns, and Linode's rules for a label.

A label is unique at Linode per account and is the only handle against buying twice (API.md), so the labels of
one fleet never collide: the index counts on through all groups whose labels would otherwise be the same.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

from jobs.choices import regions_of, shares, types_of

if TYPE_CHECKING:
    from jobs.requests import FleetRequest

DEFAULT_PATTERN = "{name}-{index:04d}"
FIELDS = ("name", "group", "index", "region", "type")

LABEL_LENGTHS = range(3, 65)
_LABEL = re.compile(r"[a-zA-Z](?:(?!--|__|\.\.)[a-zA-Z0-9\-_.])+")  # as in Linode's reference, API.md
_INDEX_SPEC = re.compile(r"(?:0[1-9])?d?")
_PARTS = Formatter()


class InvalidPattern(ValueError):  # noqa: N818  # an answer to a request, not a failure of ours
    """The label pattern can't be used; the text says why."""


class Template(NamedTuple):
    """A pattern in which only the index is open, as a %-format, and how often the index stands in it."""

    text: str
    indexes: int

    def label(self, index: int) -> str:
        """Return the label with this index."""
        return self.text % ((index,) * self.indexes)

    def labels(self, indexes: Iterable[int]) -> list[str]:
        """Return the labels with these indexes."""
        return [self.text % ((index,) * self.indexes) for index in indexes]


def expand(pattern: str, *, name: str, group: str, index: int, region: str, type: str) -> str:  # noqa: A002
    # the field's name
    """Return the label of one instance. Raises InvalidPattern."""
    return compile_pattern(pattern, name=name, group=group, region=region, type=type).label(index)


def compile_pattern(pattern: str, *, name: str, group: str, region: str, type: str) -> Template:  # noqa: A002
    # the field's name
    """Fill in everything but the index. Raises InvalidPattern.

    Only the fields of `FIELDS` may stand in braces, and only `index` may carry a format: `{index}` or
    `{index:04d}`, where the width (at most 9) is a minimum that larger numbers outgrow.
    """
    values = {"name": name, "group": group, "region": region, "type": type}
    texts = [_piece(part, values) for part in _split(pattern)]
    indexes = sum(part.field == "index" for part in _split(pattern))
    return Template("".join(texts), indexes)


def labels_of(request: "FleetRequest") -> list[list[str]]:
    """Return the label of each instance, group by group. Raises InvalidPattern."""
    parts = [templates_of(request, position) for position in range(len(request.groups))]
    return [[label for labels in group for label in labels] for group in labelled(parts)]


def labelled(groups: Sequence[Sequence[tuple[Template | None, int]]]) -> list[list[list[str]]]:
    """Return the labels of each part of each group; none for a part without a template. See :func:`numbering`."""
    flat = [part for group in groups for part in group]
    numbers = iter(numbering([template for template, _ in flat], [count for _, count in flat]))
    pairs = [[(template, next(numbers)) for template, _ in group] for group in groups]
    return [[template.labels(indexes) if template else [] for template, indexes in group] for group in pairs]


def numbering(templates: Iterable[Template | None], counts: Iterable[int]) -> list[range]:
    """Return each group's indexes, from 1; groups with equal templates count on, one after the other."""
    following: dict[Template | None, int] = {}
    numbers = []
    for template, count in zip(templates, counts, strict=True):
        first = following.get(template, 1)
        following[template] = first + count
        numbers.append(range(first, first + count))
    return numbers


def templates_of(request: "FleetRequest", position: int) -> list[tuple[Template, int]]:
    """Return the label template of each part of one group, with how many labels it makes. Raises InvalidPattern."""
    return [
        (_template(request, position, share.region), share.size) for share in shares(request.groups[position])
    ]


def _template(request: "FleetRequest", position: int, region: str | None) -> Template:
    group = request.groups[position]
    pattern = group.label_pattern or DEFAULT_PATTERN
    types, regions = types_of(group), regions_of(group) if region is None else (region,)
    _refuse_open(pattern, {"type": types, "region": regions})
    return compile_pattern(
        pattern,
        name=request.name,
        group=group.name or str(position + 1),
        region=regions[0],
        type=types[0],
    )


def _refuse_open(pattern: str, members: Mapping[str, Sequence[str]]) -> None:
    """Refuse what a label cannot say: it is fixed before it is known which of several alternatives is had."""
    for part in _split(pattern):
        if len(members.get(part.field or "", ())) > 1:
            raise InvalidPattern(f"`{{{part.field}}}` is not known yet where there are alternatives")


def label_fault(label: str) -> str | None:
    """Say what is wrong with a label by Linode's rules, or None: 3-64 characters, a letter first."""
    if len(label) not in LABEL_LENGTHS:
        return f"has {len(label)} characters, and a label has 3 to 64"
    if not (label[0].isascii() and label[0].isalpha()):
        return "must begin with a letter"
    if not (label[-1].isascii() and label[-1].isalnum()):
        return "must end with a letter or a digit"
    if _LABEL.fullmatch(label):
        return None
    return "may hold only letters, digits, hyphens, underscores and periods, and none of `--`, `__`, `..`"


class _Part(NamedTuple):
    literal: str
    field: str | None
    spec: str
    conversion: str | None


def _split(pattern: str) -> Iterator[_Part]:
    try:
        for literal, field, spec, conversion in _PARTS.parse(pattern):
            yield _Part(literal, field, spec or "", conversion)
    except ValueError as error:
        raise InvalidPattern(f"the pattern can't be read: {error}") from error


def _piece(part: _Part, values: dict[str, str]) -> str:
    """Return one part of a pattern as %-format text."""
    literal = part.literal.replace("%", "%%")
    if part.field is None:
        return literal
    if part.field not in FIELDS:
        raise InvalidPattern(f"`{{{part.field}}}` is not a field; the fields are {', '.join(FIELDS)}")
    if part.conversion or (part.spec and part.field != "index"):
        raise InvalidPattern(f"`{{{part.field}}}` takes no format")
    if not _INDEX_SPEC.fullmatch(part.spec):
        raise InvalidPattern("the index is formatted as `{index}` or `{index:04d}`, at most 09d")
    if part.field == "index":
        return f"{literal}%{part.spec.removesuffix('d')}d"
    return literal + values[part.field].replace("%", "%%")

"""How instances are named: label patterns, and Linode's rules for a label.

A label is unique at Linode per account and is the only handle against buying twice (API.md), so the labels of
one fleet never collide: the index counts on through all groups whose labels would otherwise be the same.
"""

import re
from collections.abc import Iterable, Iterator
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

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
    templates = [template_of(request, position) for position in range(len(request.groups))]
    numbers = numbering(templates, [group.count for group in request.groups])
    return [template.labels(indexes) for template, indexes in zip(templates, numbers, strict=True)]


def numbering(templates: Iterable[Template | None], counts: Iterable[int]) -> list[range]:
    """Return each group's indexes, from 1; groups with equal templates count on, one after the other."""
    following: dict[Template | None, int] = {}
    numbers = []
    for template, count in zip(templates, counts, strict=True):
        first = following.get(template, 1)
        following[template] = first + count
        numbers.append(range(first, first + count))
    return numbers


def template_of(request: "FleetRequest", position: int) -> Template:
    """Return the label template of one group. Raises InvalidPattern."""
    group = request.groups[position]
    return compile_pattern(
        group.label_pattern or DEFAULT_PATTERN,
        name=request.name,
        group=group.name or str(position + 1),
        region=group.region,
        type=group.type,
    )


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

"""`X-Filter` headers, built from fields, operators and combinations.

>>> F("vendor").eq("Debian") & F("deprecated").eq(False)
Filter({"vendor": "Debian", "deprecated": false})
>>> ((F("vendor") == "Debian") | (F("vendor") == "Ubuntu")).order_by("label", descending=True)
Filter({"+or": [{"vendor": "Debian"}, {"vendor": "Ubuntu"}], "+order_by": "label", "+order": "desc"})

Source: the provider's "Filtering and sorting" page: several keys mean and, a nested field is dotted.
Which fields a list filters on is the server's to say; for another it answers 400 `Cannot filter on …`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, repr=False)
class Filter:
    """Conditions on a list and, if wanted, its order; combine with `&` and `|`.

    `conditions` may hold any filter the API understands, for what the builder lacks.
    """

    conditions: Mapping[str, JsonValue] = field(default_factory=dict)
    order: tuple[str, str] | None = None

    def __and__(self, other: Filter) -> Filter:
        order = _one_order(self.order, other.order)
        if _mergeable(self.conditions, other.conditions):
            return Filter({**self.conditions, **other.conditions}, order)
        return Filter({"+and": [*self._parts("+and"), *other._parts("+and")]}, order)

    def __or__(self, other: Filter) -> Filter:
        order = _one_order(self.order, other.order)
        return Filter({"+or": [*self._parts("+or"), *other._parts("+or")]}, order)

    def order_by(self, name: str, *, descending: bool = False) -> Filter:
        """The same conditions, sorted by the named field."""
        return Filter(self.conditions, (name, "desc" if descending else "asc"))

    def to_json(self) -> dict[str, JsonValue]:
        """The filter as the API reads it."""
        if self.order is None:
            return dict(self.conditions)
        return {**self.conditions, "+order_by": self.order[0], "+order": self.order[1]}

    def to_header(self) -> str:
        """The value of the `X-Filter` header: one line of ASCII JSON."""
        return json.dumps(self.to_json())

    def __repr__(self) -> str:
        return f"Filter({self.to_header()})"

    def _parts(self, operator: str) -> list[JsonValue]:
        """The operands to combine, unpacking a combination by the same operator."""
        inner = self.conditions.get(operator) if len(self.conditions) == 1 else None
        return inner if isinstance(inner, list) else [dict(self.conditions)]


class F:
    """A field to filter on, dotted when nested (`entity.id`).

    `==`, `!=`, `>`, `>=`, `<` and `<=` build a `Filter`, as do the methods of the same meaning; combined with
    `&` and `|` the operators need parentheses around them.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def eq(self, value: Scalar) -> Filter:
        """The field equals the value."""
        return Filter({self.name: value})

    def neq(self, value: Scalar) -> Filter:
        """The field differs from the value (`+neq`)."""
        return self._compare("+neq", value)

    def gt(self, value: Scalar) -> Filter:
        """The field is greater than the value (`+gt`)."""
        return self._compare("+gt", value)

    def gte(self, value: Scalar) -> Filter:
        """The field is at least the value (`+gte`)."""
        return self._compare("+gte", value)

    def lt(self, value: Scalar) -> Filter:
        """The field is less than the value (`+lt`)."""
        return self._compare("+lt", value)

    def lte(self, value: Scalar) -> Filter:
        """The field is at most the value (`+lte`)."""
        return self._compare("+lte", value)

    def contains(self, value: str) -> Filter:
        """The field contains the text (`+contains`)."""
        return self._compare("+contains", value)

    def __eq__(self, value: Scalar) -> Filter:  # type: ignore[override]  # builds a filter, compares nothing
        return self.eq(value)

    def __ne__(self, value: Scalar) -> Filter:  # type: ignore[override]  # the same
        return self.neq(value)

    __gt__ = gt
    __ge__ = gte
    __lt__ = lt
    __le__ = lte
    __hash__ = None  # type: ignore[assignment]  # a field that equals everything has no hash

    def __repr__(self) -> str:
        return f"F({self.name!r})"

    def _compare(self, operator: str, value: Scalar) -> Filter:
        return Filter({self.name: {operator: value}})


def order_by(name: str, *, descending: bool = False) -> Filter:
    """No condition, sorted by the named field."""
    return Filter().order_by(name, descending=descending)


def _mergeable(left: Mapping[str, JsonValue], right: Mapping[str, JsonValue]) -> bool:
    """Plain fields, none on both sides, need no `+and`; neither does nothing."""
    names = [*left, *right]
    plain = len(set(names)) == len(names) and not any(name.startswith("+") for name in names)
    return plain or not left or not right


def _one_order(left: tuple[str, str] | None, right: tuple[str, str] | None) -> tuple[str, str] | None:
    if left and right and left != right:
        raise ValueError(f"a list has one order, got {left[0]} {left[1]} and {right[0]} {right[1]}")
    return left or right

"""The ``X-Filter`` header: JSON with operators, nested and dotted fields (API.md, "Paging and filters")."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from simulator.wire import refusal

Record = Mapping[str, Any]
Test = Callable[[Record], bool]

FILTERABLE: Mapping[str, frozenset[str]] = {
    "instances": frozenset(
        ["id", "label", "group", "image", "ipv4", "region", "tags", "interface_generation"]
    )
    | {"placement_group.*"},
    "events": frozenset({"action", "created", "entity.id", "entity.type", "id"}),
    "images": frozenset(["deprecated", "is_public", "label", "size", "status", "tags", "type", "vendor"]),
    "types": frozenset(["class", "disk", "gpus", "label", "memory", "network_out", "transfer", "vcpus"]),
    "regions": frozenset({"country", "site_type"}),
    "availability": frozenset({"region", "plan", "available"}),
    "kernels": frozenset(["architecture", "built", "deprecated", "id", "kvm", "label", "pvops", "version"]),
}
"""What a collection can be filtered on. Kernels' are a guess; instances know neither type nor status."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: a test, an order, and the plain equalities for those who keep an index."""

    test: Test | None = None
    order_by: str | None = None
    descending: bool = False
    equal: Mapping[str, Any] | None = None
    plain: bool = False
    """Whether ``equal`` is all there is to the test."""

    def names_only(self, field: str) -> bool:
        """Whether the test is that one text field has one value, and nothing else."""
        return self.plain and [*(self.equal or ())] == [field] and isinstance((self.equal or {})[field], str)

    def apply(self, records: Iterable[Record]) -> list[Any]:
        """The records that match, in order (in their own order where none was asked for)."""
        test = self.test
        found = list(records) if test is None else [record for record in records if test(record)]
        if self.order_by is not None:
            found.sort(key=_sort_key(self.order_by), reverse=self.descending)
        return found


def parse_filter(text: str | None, collection: str) -> Filter:
    """Read a header for one collection, or refuse it with 400 in the recorded words."""
    if not text:
        return Filter()
    try:
        return _read(json.loads(text), FILTERABLE[collection])
    except (ValueError, RecursionError):
        _not_understood()


def _read(tree: Any, fields: frozenset[str]) -> Filter:  # noqa: ANN401  # JSON is any
    if not isinstance(tree, dict):
        _not_understood()
    order_by, order = tree.pop("+order_by", None), tree.pop("+order", "asc")
    if order_by is not None:
        _check_field(order_by, fields)
    if order not in ("asc", "desc"):
        raise refusal(400, "Must be one of asc, desc", "X-Filter")
    equal = {key: value for key, value in tree.items() if not isinstance(value, dict | list)}
    test = _all(tree, fields, "") if tree else None
    return Filter(test, order_by, order == "desc", equal, plain=len(equal) == len(tree))


def _all(tree: Any, fields: frozenset[str], prefix: str) -> Test:  # noqa: ANN401  # JSON is any
    if not isinstance(tree, dict):
        _not_understood()
    tests = [_entry(key, value, fields, prefix) for key, value in tree.items()]
    if len(tests) == 1:
        return tests[0]
    return lambda record: all(test(record) for test in tests)


def _entry(key: str, value: Any, fields: frozenset[str], prefix: str) -> Test:  # noqa: ANN401
    if key in ("+and", "+or"):
        return _joined(key, value, fields, prefix)
    if key.startswith("+"):
        raise refusal(400, f"Cannot use operator {key}", "X-Filter")
    name = prefix + key
    if not isinstance(value, dict):
        _check_field(name, fields)
        return _comparison("equal", name, value)
    if value and all(inner.startswith("+") for inner in value):
        return _comparisons(name, value, fields)
    return _all(value, fields, f"{name}.")


def _joined(key: str, value: Any, fields: frozenset[str], prefix: str) -> Test:  # noqa: ANN401
    if not isinstance(value, list):
        _not_understood()
    tests = [_all(tree, fields, prefix) for tree in value]
    combine = all if key == "+and" else any
    return lambda record: combine(test(record) for test in tests)


def _comparisons(name: str, operators: Mapping[str, Any], fields: frozenset[str]) -> Test:
    _check_field(name, fields)
    tests = [_comparison(operator, name, value) for operator, value in operators.items()]
    return lambda record: all(test(record) for test in tests)


def _comparison(operator: str, name: str, value: Any) -> Test:  # noqa: ANN401
    compare = _OPERATORS.get(operator)
    if compare is None:
        raise refusal(400, f"Cannot use operator {operator}", "X-Filter")
    if "." in name or operator != "equal":
        return lambda record: compare(_lookup(record, name), value)
    if name in ("tags", "ipv4"):
        return lambda record: value in record[name]
    return lambda record: bool(record.get(name, _MISSING) == value)


def _equal(have: Any, want: Any) -> bool:  # noqa: ANN401
    return want in have if isinstance(have, list) else bool(have == want)


def _contains(have: Any, want: Any) -> bool:  # noqa: ANN401
    if isinstance(have, list):
        return any(_contains(one, want) for one in have)
    return isinstance(have, str) and str(want).lower() in have.lower()


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(have: Any, want: Any) -> bool:  # noqa: ANN401
        try:
            return bool(compare(have, want))
        except TypeError:
            return False

    return test


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equal": _equal,
    "+neq": lambda have, want: not _equal(have, want),
    "+contains": _contains,
    "+gt": _ordered(lambda have, want: have > want),
    "+gte": _ordered(lambda have, want: have >= want),
    "+lt": _ordered(lambda have, want: have < want),
    "+lte": _ordered(lambda have, want: have <= want),
}


def _check_field(name: Any, fields: frozenset[str]) -> None:  # noqa: ANN401
    if isinstance(name, str) and (name in fields or f"{name.partition('.')[0]}.*" in fields):
        return
    raise refusal(400, f"Cannot filter on {name}", "X-Filter")


def _not_understood() -> NoReturn:
    raise refusal(400, "Filter not valid JSON", "X-Filter")


def _lookup(record: Record, name: str) -> Any:  # noqa: ANN401
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _sort_key(name: str) -> Callable[[Record], tuple[bool, Any]]:
    def key(record: Record) -> tuple[bool, Any]:
        value = _lookup(record, name)
        return value is None, 0 if value is None else value

    return key

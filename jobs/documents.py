"""The fleet file: YAML in, a fleet request out, and every fault with the line that it stands on.

Nodes become plain data here rather than in PyYAML's constructor, so that each key keeps its line, duplicate
keys are faults, and nothing but JSON's own kinds of value can come out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import yaml

from jobs.requests import (
    INVALID_REQUEST,
    FleetRequest,
    GroupRequest,
    InvalidRequest,
    RequestFault,
    field_name,
    json_pointer,
    parse_request,
    printable,
)

MAX_CHARACTERS = 1_048_576
"""The longest fleet file that is read."""

MAX_NODES = 200_000
"""The most values that a file may hold once its aliases are written out."""

MAX_DEPTH = 32
"""How deep a file may nest, aliases written out."""

ReadFile: TypeAlias = Callable[[str], str]
"""Returns the text of a file named in the document; may raise OSError or UnicodeDecodeError."""

_FAST_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml is 8 times faster, but is not everywhere
_QUOTED = re.compile(
    r" '[^']{2,}'"
)  # names of aliases and tags in PyYAML's words: a password may look like one
_TAG_PREFIX = "tag:yaml.org,2002:"
_TAGS = frozenset(
    f"{_TAG_PREFIX}{kind}" for kind in ("map", "seq", "null", "bool", "int", "float", "str", "timestamp")
)

_Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A fleet file that was read: its request, its name, and the line of each place by JSON pointer."""

    request: FleetRequest
    source: str
    lines: Mapping[str, int] = field(repr=False)

    def located(self, faults: Iterable[RequestFault]) -> InvalidRequest:
        """Return faults that were found later, on the request, as an error with this file's lines."""
        return InvalidRequest((_located(fault, self.lines) for fault in faults), source=self.source)


def load_document(text: str, *, source: str, read_file: ReadFile | None = None) -> FleetRequest:
    """Read a fleet file. Raises InvalidRequest, whose text names `source`, line and field of every fault."""
    return read_document(text, source=source, read_file=read_file).request


def read_document(text: str, *, source: str, read_file: ReadFile | None = None) -> Document:
    """Read a fleet file and keep its lines, for faults that the service finds. Raises InvalidRequest."""
    reader = _Reader()
    data = reader.read(_root(text, source=source))
    files = _Files(read_file)
    files.fill(data)
    request, shape_faults = _parsed(data)
    lines = reader.lines | {field: reader.lines[named] for field, named in files.named_at.items()}
    early = [*reader.faults, *files.faults]
    seen = {fault.pointer for fault in early if fault.pointer}
    late = [fault for fault in shape_faults if fault.pointer not in seen]
    found = [_located(fault, lines) for fault in [*early, *late]]
    if request is None or found:
        raise InvalidRequest(sorted(found, key=lambda fault: fault.line or 0), source=source)
    return Document(request, source, lines)


def to_json_document(request: FleetRequest) -> dict[str, Any]:
    """Return the request as the JSON document to submit, secrets revealed, in the form in which it was typed.

    Keep it out of logs; `FleetRequest.public()` is the form without secrets.
    """
    head = request.model_dump(mode="json", exclude={"groups"})
    groups = [_group_document(group) for group in request.groups]
    return {**groups[0], **head} if request.flat else {**head, "groups": groups}


def _group_document(group: GroupRequest) -> dict[str, Any]:
    return {**group.public(), **group.secrets()}


def _parsed(data: object) -> tuple[FleetRequest | None, tuple[RequestFault, ...]]:
    try:
        return parse_request(data), ()
    except InvalidRequest as error:
        return None, error.faults


def _located(fault: RequestFault, lines: Mapping[str, int]) -> RequestFault:
    """Give a fault without a line that of its place, or of the nearest place above that has one."""
    if fault.line is not None:
        return fault
    pointer = fault.pointer
    while pointer and pointer not in lines:
        pointer = pointer.rpartition("/")[0]
    return replace(fault, line=lines.get(pointer))


# From text to nodes


def _root(text: str, *, source: str) -> yaml.Node:
    """Parse the text into YAML nodes. Raises InvalidRequest with line and column of a mistake in it."""
    if len(text) > MAX_CHARACTERS:
        raise _refused(
            source, f"longer than {MAX_CHARACTERS} characters", "put user data in files of its own"
        )
    node, fault = _composed(text)
    if fault:
        raise InvalidRequest([fault], source=source)
    if node is None:
        raise _refused(source, "the file is empty", "give at least name, type and region")
    return node


def _composed(text: str) -> tuple[yaml.Node | None, RequestFault | None]:
    """Return the root, or what is wrong; an exception would carry the text as its context."""
    try:
        line = _too_deep(text)
        if line is None:
            return yaml.compose(text, Loader=_FAST_LOADER), None
    except yaml.MarkedYAMLError as error:
        return None, _malformed(error)
    except (yaml.YAMLError, ValueError) as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return None, _fault((), "holds characters that YAML does not allow", "remove them", line)
    return None, _fault((), f"nested deeper than {MAX_DEPTH} levels", "flatten it", line)


def _too_deep(text: str) -> int | None:
    """Return the line that nests too deeply, if any. Events are read one by one; composing would recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=_FAST_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return int(event.start_mark.line) + 1  # type: ignore[union-attr]  # parsed events have marks
    return None


def _malformed(error: yaml.MarkedYAMLError) -> RequestFault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = _QUOTED.sub("", error.problem or error.context or "it can't be read")
    return _fault((), f"malformed YAML at column {column}: {problem}", "correct the YAML", line)


def _refused(source: str, message: str, remedy: str) -> InvalidRequest:
    return InvalidRequest([_fault((), message, remedy)], source=source)


def _fault(path: _Path, message: str, remedy: str, line: int | None = None) -> RequestFault:
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=json_pointer(path),
        field=field_name(path),
        message=message,
        remedy=remedy,
        group=path[1] if len(path) > 1 and path[0] == "groups" and isinstance(path[1], int) else None,
        line=line,
    )


# From nodes to data


class _Reader:
    """Turns nodes into JSON-able data; keeps the line of each place, and the faults met on the way."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.faults: list[RequestFault] = []
        self._nodes = 0
        self._scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: _Path = ()) -> object:
        """Return the data of a node and of all below it."""
        self._nodes += 1 + len(node.value) // 64 if isinstance(node, yaml.ScalarNode) else 1
        self.lines.setdefault(json_pointer(path), node.start_mark.line + 1)
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            self._too_much(node, path)
        elif node.tag not in _TAGS:
            self._blame(path, "YAML tags (`!…`) are not supported", "put quotes round the text", node)
        elif isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            return self._scalar(node, path)
        return None

    def _too_much(self, node: yaml.Node, path: _Path) -> None:
        """Refuse once; what follows reads as nothing, and costs nothing."""
        if self._nodes < MAX_NODES * 2:
            self._blame(path, "aliases make the document too large or endless", "write it out", node)
        self._nodes = MAX_NODES * 2

    def _mapping(self, node: yaml.MappingNode, path: _Path) -> dict[object, object]:
        data: dict[object, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            place = (*path, key)
            if key in data:
                first = self.lines[json_pointer(place)]
                self._blame(
                    place, f"the key stands twice, first on line {first}", "remove one of them", key_node
                )
                continue
            self.lines[json_pointer(place)] = key_node.start_mark.line + 1
            data[key] = self.read(value_node, place)
        return data

    def _key(self, node: yaml.Node, path: _Path) -> str | None:
        if node.tag == f"{_TAG_PREFIX}merge":
            self._blame(path, "merge keys (`<<`) are not supported", "repeat the fields", node)
        elif node.tag == f"{_TAG_PREFIX}str":
            return str(node.value)
        else:
            self._blame(path, "a key is not text", "put the key in quotes", node)
        return None

    def _scalar(self, node: yaml.Node, path: _Path) -> object:
        kind = node.tag.removeprefix(_TAG_PREFIX)
        if kind == "timestamp":  # a date is text to us, as it is in JSON
            return str(node.value)
        try:
            value: object = self._scalars.construct_object(node)
        except (ValueError, KeyError, IndexError):  # an explicit tag on a text that does not fit it
            self._blame(path, f"is no {kind}", "correct it, or put it in quotes", node)
            return None
        return value

    def _blame(self, path: _Path, message: str, remedy: str, node: yaml.Node) -> None:
        self.faults.append(_fault(path, message, remedy, node.start_mark.line + 1))


# Files that the document names


class _Files:
    """Puts the contents of the files that a document names where their keys stood."""

    def __init__(self, read_file: ReadFile | None) -> None:
        self.faults: list[RequestFault] = []
        self.named_at: dict[str, str] = {}
        self._read_file = read_file

    def fill(self, data: object) -> None:
        """Replace `user_data_file` and `authorized_keys_file` in each group, in place."""
        for path, group in _groups_in(data):
            if "user_data_file" in group:
                self._fill_user_data(path, group)
            if "authorized_keys_file" in group:
                self._fill_keys(path, group)

    def _fill_user_data(self, path: _Path, group: dict[str, object]) -> None:
        place = (*path, "user_data_file")
        name = group.pop("user_data_file")
        if "user_data" in group:
            self._blame(place, "user_data is given as well", "remove one of the two")
            return
        text = self._text(place, name)
        if text is not None:
            group["user_data"] = text
            self.named_at[json_pointer((*path, "user_data"))] = json_pointer(place)

    def _fill_keys(self, path: _Path, group: dict[str, object]) -> None:
        """Add the keys of a file, or of several, to those in the document, one a line."""
        place = (*path, "authorized_keys_file")
        names = group.pop("authorized_keys_file")
        texts = [self._text(place, name) for name in (names if isinstance(names, list) else [names])]
        keys = [line.strip() for text in texts if text for line in text.splitlines()]
        found = [key for key in keys if key and not key.startswith("#")]
        if not found and all(text is not None for text in texts):
            self._blame(
                place, "the file holds no public key", "give one with a line such as `ssh-ed25519 AAAA…`"
            )
        given = group.get("authorized_keys", [])
        if isinstance(given, list):  # else its own fault is enough
            group["authorized_keys"] = [*given, *found]
            self.named_at.setdefault(json_pointer((*path, "authorized_keys")), json_pointer(place))

    def _text(self, place: _Path, name: object) -> str | None:
        if not isinstance(name, str) or not name:
            self._blame(place, "expected the path of a file", "give one, in quotes if need be")
        elif self._read_file is None:
            self._blame(place, "files can't be read here", "put the contents into the document")
        else:
            return self._contents(self._read_file, place, name)
        return None

    def _contents(self, read_file: ReadFile, place: _Path, name: str) -> str | None:
        try:
            return read_file(name)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._blame(place, f"'{printable(name)}' can't be read: {reason}", "correct the path")
        except ValueError:  # UnicodeDecodeError, or a NUL in the path
            self._blame(place, f"'{printable(name)}' is not UTF-8 text", "give a text file")
        return None

    def _blame(self, place: _Path, message: str, remedy: str) -> None:
        self.faults.append(_fault(place, message, remedy))


def _groups_in(data: object) -> Iterator[tuple[_Path, dict[str, object]]]:
    """Yield each group of a document with its path, also the only group at top level."""
    if not isinstance(data, dict):
        return
    if "groups" not in data:
        yield (), data
    groups = data.get("groups")
    for index, group in enumerate(groups if isinstance(groups, list) else []):
        if isinstance(group, dict):
            yield ("groups", index), group

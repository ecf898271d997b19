"""What somebody submits: the plain models of a fleet request, and the words in which a wrong one is refused.

The models are values. They are frozen, refuse unknown keys, refuse numbers written as text, and keep every
secret out of their `repr`, `str` and JSON. Field names and meanings are those of Linode's `POST
/linode/instances`.
"""

import base64
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

INVALID_REQUEST = "invalid_request"
"""The code of every fault of shape: wrong type, missing or unknown key, a value outside its limits."""

SECRET_FIELDS = frozenset({"root_pass", "user_data", "stackscript_data"})
"""The group fields that are encrypted at rest and never shown."""

GIVEN_SECRETS = "secrets"
"""The key in a stored group's document that lists the names of the secrets that it was given."""

MAX_DEPTH = 16
"""How deep a document may nest. The deepest legitimate place, an interface's ranges, is at 8."""

_HIDDEN_FIELDS = SECRET_FIELDS | {"authorized_keys"}  # a private key pasted by mistake must not be echoed
_MULTILINE_FIELDS = frozenset({"user_data", "stackscript_data"})
# Control characters (Unicode's Cc) and lone surrogates, which no database takes
_UNWANTED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_UNWANTED_IN_LINES = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_LARGEST_INTEGER = 2**63 - 1
_SHOWN_CHARACTERS = 120
_FAULTS_IN_TEXT = 20

MOST_MEMBERS = 10
"""How many types, and how many regions, one group may name."""

LONGEST_SECONDS = 10 * 365 * 86_400
"""The longest duration that a request may name."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhd])+")
_DURATION_PART = re.compile(r"([0-9]+)([smhd])")

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int, ...]
Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]


def seconds_of(value: object) -> int:
    """Return a duration in seconds, written as 90m, 2h, 3d, 1h30m, or as a number of seconds. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise PydanticCustomError("duration", "expected a duration")
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value))


def moment_of(value: object) -> datetime:
    """Return a moment in UTC, written as ISO 8601 with its zone. Raises ValueError."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("moment", "expected a moment with its zone")


def _one_or_many(value: object) -> str:
    return "many" if isinstance(value, list) else "one"


def _weighted_or_even(value: object) -> str:
    return "weighted" if isinstance(value, Mapping) else "many"


_KINDS_OF_MEMBERS = frozenset({"one", "many", "weighted"})
Members: TypeAlias = Annotated[list[Name], Field(min_length=1, max_length=MOST_MEMBERS)]
Weights: TypeAlias = Annotated[
    dict[Name, Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=MOST_MEMBERS)
]
Alternatives: TypeAlias = Annotated[
    Annotated[Name, Tag("one")] | Annotated[Members, Tag("many")], Discriminator(_one_or_many)
]
Spread: TypeAlias = Annotated[
    Annotated[Members, Tag("many")] | Annotated[Weights, Tag("weighted")], Discriminator(_weighted_or_even)
]
Duration: TypeAlias = Annotated[
    int,
    BeforeValidator(seconds_of),
    Field(ge=1, le=LONGEST_SECONDS),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": LONGEST_SECONDS},
                {"type": "string", "pattern": f"^{_DURATION.pattern}$"},
            ]
        }
    ),
]
Moment: TypeAlias = Annotated[datetime, BeforeValidator(moment_of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One remark about a request, with everything a person or a program needs to act on it.

    `pointer` is an RFC 6901 JSON pointer into the document as it was typed, `field` the same place for people
    (`groups[1].region`), `value` the value as typed (None for secrets, lists and mappings), `nearest` the
    closest valid value, `group` the index of the group, `line` the line of the fleet file, from 1.
    """

    code: str
    pointer: str
    field: str
    message: str
    remedy: str
    value: Scalar = None
    nearest: str | None = None
    group: int | None = None
    line: int | None = None

    def to_json(self) -> dict[str, Scalar]:
        """Return all fields as a JSON-able dict."""
        return asdict(self)

    def __str__(self) -> str:
        where = self.field or "document"
        return f"{where}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFault(Finding):
    """A finding that refuses the request, or the group or job that it names."""

    def __str__(self) -> str:
        return Finding.__str__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWarning(Finding):
    """A finding that refuses nothing."""

    def __str__(self) -> str:
        return Finding.__str__(self)


class InvalidRequest(ValueError):  # noqa: N818  # the glossary's word; it is an answer, not a failure of ours
    """The request can't be accepted; `faults` holds every reason at once, `source` the file it came from."""

    def __init__(self, faults: Iterable[RequestFault], *, source: str | None = None) -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__(self.faults)

    def __str__(self) -> str:
        lines = [f"{self._place(fault)}{fault}" for fault in self.faults[:_FAULTS_IN_TEXT]]
        rest = len(self.faults) - len(lines)
        return "\n".join([*lines, f"and {rest} more"] if rest else lines)

    def _place(self, fault: RequestFault) -> str:
        if self.source is None:
            return ""
        return f"{self.source}: " if fault.line is None else f"{self.source}:{fault.line}: "


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class PlacementGroup(_Model):
    """The placement group that the instances join."""

    id: int
    compliant_only: bool | None = None


class OnFailure(_Model):
    """When a fleet is given up: after so many failed jobs, with `same_cause` of one error code."""

    stop_after: Annotated[int, Field(ge=1, le=1_000_000)]
    same_cause: bool = False


class GroupRequest(_Model):
    """Instances of one kind: how many, and the fields of the create call, unset ones left to the API.

    Several types or regions are alternatives: the first is asked for, the next is taken where it can't be had;
    `prefer: cheapest` asks by price. `regions`, in place of `region`, spreads the instances, evenly or by weights
    (:mod:`jobs.choices`).

    `name` is usable in the label pattern as `{group}`. `reveal_root_pass` has a strong password made for the
    group, which the answer to the submit shows. `user_data` is plain text as typed; it is
    base64-encoded when sent (`encode_user_data`). Sizes are in MB.
    """

    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    type: Alternatives
    region: Alternatives | None = None
    regions: Spread | None = None
    prefer: Literal["order", "cheapest"] = "order"
    image: Name | None = None
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    label_pattern: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tags: list[str] = []
    root_pass: SecretStr | None = None
    reveal_root_pass: bool = False
    authorized_keys: list[str] = []
    authorized_users: list[str] = []
    user_data: SecretStr | None = None
    booted: bool = True
    backups_enabled: bool = False
    backup_id: int | None = None
    private_ip: bool = False
    swap_size: Annotated[int, Field(ge=0)] | None = None
    boot_size: Annotated[int, Field(ge=1)] | None = None
    kernel: Name | None = None
    firewall_id: int | None = None
    stackscript_id: int | None = None
    stackscript_data: dict[str, SecretStr] | None = None
    interfaces: list[dict[str, Any]] | None = None
    interface_generation: Literal["legacy_config", "linode"] | None = None
    network_helper: bool | None = None
    ipv4: list[str] | None = None
    placement_group: PlacementGroup | None = None
    disk_encryption: Literal["enabled", "disabled"] | None = None
    maintenance_policy: Name | None = None

    def public(self) -> dict[str, Any]:
        """Return the group as a JSON-able dict without secrets and unset fields: what a row stores."""
        return self.model_dump(mode="json", exclude=set(SECRET_FIELDS), exclude_none=True)

    def stored(self) -> dict[str, Any]:
        """Return what a row stores: the public group, and the names of the secrets that belong to it."""
        made = {"root_pass"} if self.reveal_root_pass and self.image is not None else set()
        names = {field for field in SECRET_FIELDS if getattr(self, field) is not None}
        return {**self.public(), GIVEN_SECRETS: sorted(names | made)}

    def secrets(self) -> dict[str, Any]:
        """Return the revealed secrets that are set, by field name; encrypt them before they go anywhere."""
        found = {field: getattr(self, field) for field in sorted(SECRET_FIELDS)}
        return {field: _reveal(value) for field, value in found.items() if value is not None}

    @classmethod
    def restore(cls, public: Mapping[str, Any], secrets: Mapping[str, Any] | None = None) -> Self:
        """Build the group again from what `public()` (or `stored()`) and `secrets()` returned."""
        kept = {name: value for name, value in public.items() if name != GIVEN_SECRETS}
        # A group that was scaled down to nothing is still one that jobs of the past were made from.
        kept["count"] = max(kept.get("count", 1), 1)
        return cls.model_validate({**kept, **(secrets or {})})


class FleetRequest(_Model):
    """One or more groups, submitted together under one name.

    `tags` are added to each group's own. `priority` is -100..100, higher goes first. `on_invalid` says
    whether one wrong group refuses the whole request, or only its own jobs are rejected. `account` names one of
    the tenant's accounts; without it the jobs are spread over all of them. `on_existing` says whether a fleet of
    the same name that has instances, or may get some, refuses the request or is no matter (`new`). Nothing
    is sent before `not_before`, and what is not bought at the `deadline` ends. `ttl` seconds after its create each
    instance is deleted; one that is not up after `boot_timeout` seconds has failed.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    groups: Annotated[list[GroupRequest], Field(min_length=1, max_length=10_000)]
    on_invalid: Literal["refuse", "skip"] = "refuse"
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    tags: list[str] = []
    account: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    ttl: Duration | None = None
    boot_timeout: Duration | None = None
    on_failure: OnFailure | None = None
    on_existing: Literal["refuse", "new"] = "refuse"
    _flat: bool = PrivateAttr(default=False)

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401  # pydantic's signature
        """Remember whether the document had its only group's fields at top level."""
        self._flat = isinstance(context, Mapping) and bool(context.get("flat"))

    @property
    def flat(self) -> bool:
        """Whether the document as typed had its only group's fields at top level."""
        return self._flat

    @property
    def total(self) -> int:
        """The number of instances asked for."""
        return sum(group.count for group in self.groups)

    @property
    def has_secrets(self) -> bool:
        """Whether any group carries a password, user data or StackScript data, or wants a password to be shown."""
        return any(
            group.reveal_root_pass or getattr(group, field) is not None
            for group in self.groups
            for field in SECRET_FIELDS
        )

    def public(self) -> dict[str, Any]:
        """Return the request as a JSON-able dict without secrets."""
        head = self.model_dump(mode="json", exclude={"groups"})
        return {**head, "groups": [group.public() for group in self.groups]}

    def tags_of(self, group: int) -> list[str]:
        """Return the tags of one group's instances: the fleet's, then the group's, each once."""
        return list(dict.fromkeys([*self.tags, *self.groups[group].tags]))

    def place(self, group: int | None, *keys: str | int) -> tuple[str, str]:
        """Return the JSON pointer and the readable field of a place in the document as it was typed.

        `group` is None for a place at top level.
        """
        inside = () if group is None or self._flat else ("groups", group)
        path = (*inside, *keys)
        return json_pointer(path), field_name(path)


GROUP_FIELDS = frozenset(GroupRequest.model_fields)
FLEET_FIELDS = frozenset(FleetRequest.model_fields)


def parse_request(data: object) -> FleetRequest:
    """Build a fleet request from a decoded JSON or YAML document.

    A document without `groups` holds the fields of its only group at top level. Raises InvalidRequest with
    every fault at once; neither it nor its context holds the value of a secret.
    """
    if not isinstance(data, Mapping):
        fault = _fault(
            (), f"expected a mapping of fields, got {_described(data)}", "give at least name, type and region"
        )
        raise InvalidRequest([fault])
    text_faults = list(_text_faults(data))
    request, shape_faults = _validated(data)
    seen = {fault.pointer for fault in text_faults}
    faults = text_faults + [fault for fault in shape_faults if seen.isdisjoint(_lineage(fault.pointer))]
    if request is None or faults:
        raise InvalidRequest(sorted(faults, key=_by_group))
    return request


def json_pointer(path: Iterable[str | int]) -> str:
    """Return the RFC 6901 pointer of a path, with unprintable characters escaped."""
    return "".join("/" + printable(str(key)).replace("~", "~0").replace("/", "~1") for key in path)


def field_name(path: Iterable[str | int]) -> str:
    """Return a path as people write it: `groups[1].region`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{printable(str(key))}" for key in path)
    return "".join(parts).removeprefix(".")


def printable(text: str) -> str:
    """Return the text, shortened, with control characters and lone surrogates escaped."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return _UNWANTED.sub(_escaped, shown)


@lru_cache(maxsize=1024)
def nearest(word: str, names: tuple[str, ...]) -> str | None:
    """Return the name most like the word, or None when none is close (or the word is absurdly long).

    >>> nearest("us-esat", ("us-west", "us-east"))
    'us-east'
    >>> nearest("linode/windows", ("linode/debian12", "linode/centos7"))
    """
    if len(word) > _SHOWN_CHARACTERS:
        return None
    word = word.lower()
    # What all names begin with makes none of them more alike.
    common = word[: word.rfind("/") + 1]
    tails = {name.removeprefix(common): name for name in names if name.startswith(common)}
    if not tails:
        common, tails = "", {name: name for name in names}
    tail = word.removeprefix(common)
    close = difflib.get_close_matches(tail, tails, n=3, cutoff=0.6)
    # Of equally close ones, that with the same letters: two of them were merely swapped.
    return next(
        (tails[one] for one in close if sorted(one) == sorted(tail)), tails[close[0]] if close else None
    )


def encode_user_data(text: str) -> str:
    """Return user data as the API takes it: base64 of its UTF-8 bytes."""
    return base64.b64encode(text.encode()).decode("ascii")


def _reveal(value: SecretStr | Mapping[str, SecretStr]) -> str | dict[str, str]:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return {key: secret.get_secret_value() for key, secret in value.items()}


# From pydantic's errors to ours


class _Words(NamedTuple):
    message: str
    remedy: str


_SHAPES = {
    "missing": _Words("is required", "add it"),
    "int_type": _Words("expected a whole number", "write digits, without quotes"),
    "string_type": _Words("expected text", "put quotes round values such as 12, no or on"),
    "bool_type": _Words("expected true or false", "write true or false, without quotes"),
    "list_type": _Words("expected a list", "write a list, also for a single entry"),
    "dict_type": _Words("expected a mapping of fields", "write it as key: value pairs"),
    "model_type": _Words("expected a mapping of fields", "write it as key: value pairs"),
    "too_short": _Words("must not be empty", "give at least one entry"),
    "string_too_short": _Words("must not be empty", "give a value, or leave the field out"),
    "duration": _Words("expected a duration", "write it as 90m, 2h or 3d, or in seconds"),
    "moment": _Words("expected a moment with its zone", "write it like 2026-03-01T18:00:00Z"),
}


_PLAIN = frozenset({"missing", "string_too_short", "string_too_long", "too_short", "too_long"})


def _validated(data: Mapping[Any, Any]) -> tuple[FleetRequest | None, list[RequestFault]]:
    document, flat = _with_groups(data)
    places = list(_place_faults(document, flat=flat))
    errors: list[Any] = []
    try:
        return FleetRequest.model_validate(document, context={"flat": flat}), places
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
    return None, [*places, *(_translate(error, flat=flat) for error in errors)]


def _place_faults(document: Mapping[Any, Any], *, flat: bool) -> Iterator[RequestFault]:
    """Yield a fault for each group that says not, or twice, where its instances shall be."""
    groups = document.get("groups")
    for position, group in enumerate(groups if isinstance(groups, list) else []):
        if not isinstance(group, Mapping):
            continue
        inside = () if flat else ("groups", position)
        given = [key for key in ("region", "regions") if group.get(key) is not None]
        if not given:
            yield _fault((*inside, "region"), "is required", "add it", group=position)
        for key in ("region", "regions") if given else ():
            if key in group and group[key] is None:
                yield _fault((*inside, key), "must not be empty", "leave it out", group=position)
        if len(given) > 1:
            remedy = "remove one of the two: `region` names alternatives, `regions` spreads"
            yield _fault((*inside, "regions"), "region is given as well", remedy, group=position)


def _with_groups(data: Mapping[Any, Any]) -> tuple[dict[Any, Any], bool]:
    """Return the document with `groups`, and whether they had to be made from fields at top level."""
    if "groups" in data:
        return dict(data), False
    inner = GROUP_FIELDS - FLEET_FIELDS
    group = {key: value for key, value in data.items() if key in inner}
    head = {key: value for key, value in data.items() if key not in inner}
    return {**head, "groups": [group]}, True


def _translate(error: Mapping[str, Any], *, flat: bool) -> RequestFault:
    loc = _as_typed(error["loc"])
    group = loc[1] if len(loc) > 1 and loc[0] == "groups" and isinstance(loc[1], int) else None
    path = loc[2:] if flat and group is not None else loc
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, group=group, known=_known_keys(loc, flat=flat))
    words = _SHAPES.get(error["type"]) or _Words(_lowered(error["msg"]), "correct the value")
    value = None if error["type"] == "missing" else _shown(path, error["input"])
    got = "" if error["type"] in _PLAIN else f", got {_described(error['input'], shown=value)}"
    return _fault(path, words.message + got, words.remedy, value=value, group=group)


def _as_typed(loc: Path) -> Path:
    """Return a place without the names that only the models give to the forms of a value."""
    forms = {"type", "region", "regions"}
    pairs = zip((None, *loc), loc, strict=False)
    return tuple(key for before, key in pairs if not (before in forms and key in _KINDS_OF_MEMBERS))


def _unknown_key(path: Path, *, group: int | None, known: frozenset[str]) -> RequestFault:
    """Refuse a key without showing its value: under a mistyped key it may be a password."""
    key = str(path[-1])
    close = nearest(key, tuple(sorted(known)))
    if group is None and key in GROUP_FIELDS and key not in known:
        remedy = "move it into a group under `groups`"
    else:
        remedy = f"did you mean `{close}`?" if close else "remove it"
    return _fault(path, "unknown key", remedy, value=printable(key), nearest=close, group=group)


def _known_keys(loc: Path, *, flat: bool) -> frozenset[str]:
    if len(loc) == 1:
        return (FLEET_FIELDS | GROUP_FIELDS) - {"groups"} if flat else FLEET_FIELDS
    inner: dict[str, type[BaseModel]] = {"placement_group": PlacementGroup, "on_failure": OnFailure}
    found = next((frozenset(model.model_fields) for name, model in inner.items() if name in loc), None)
    return GROUP_FIELDS if found is None else found


def _fault(
    path: Path,
    message: str,
    remedy: str,
    *,
    value: Scalar = None,
    nearest: str | None = None,
    group: int | None = None,
) -> RequestFault:
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=json_pointer(path),
        field=field_name(path),
        message=message,
        remedy=remedy,
        value=value,
        nearest=nearest,
        group=group,
    )


def _shown(path: Path, value: object) -> Scalar:
    """Return a value that is safe to show: a scalar, and no secret."""
    if not _HIDDEN_FIELDS.isdisjoint(path):
        return None
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool | int) and abs(value) <= _LARGEST_INTEGER:
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


_KINDS: Sequence[tuple[type, str]] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "text"),
    (Mapping, "a mapping"),
    (list, "a list"),
)


def _described(value: object, *, shown: Scalar = None) -> str:
    """Say what was given: `text 'abc'`, `101`, `true`, or only the kind where the value must not be shown."""
    if value is None:
        return "nothing"
    if isinstance(shown, str):
        return f"text '{shown}'"
    if shown is not None:
        return str(shown).lower() if isinstance(shown, bool) else str(shown)
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "what JSON has no word for")


def _by_group(fault: RequestFault) -> int:
    return -1 if fault.group is None else fault.group


def _lowered(message: str) -> str:
    for subject in ("Input", "String", "List"):
        message = message.replace(f"{subject} should", "must")
    return message


# Text, numbers and nesting that no field may hold


def _text_faults(data: object) -> Iterator[RequestFault]:
    """Walk the whole document, without recursion, and yield a fault for each value that can't be stored."""
    todo: list[tuple[Path, object]] = [((), data)]
    while todo:
        path, value = todo.pop()
        problem = _problem(path, value)
        if problem:
            yield _fault(path, problem.message, problem.remedy, group=_group_of(path))
        elif isinstance(value, Mapping):
            todo.extend(
                ((*path, key if isinstance(key, str) else str(key)), item) for key, item in value.items()
            )
        elif isinstance(value, list):
            todo.extend(((*path, index), item) for index, item in enumerate(value))


def _problem(path: Path, value: object) -> _Words | None:
    if len(path) > MAX_DEPTH:
        return _Words(f"nested deeper than {MAX_DEPTH} levels", "flatten it")
    if isinstance(value, str):
        return _text_problem(value, multiline=not _MULTILINE_FIELDS.isdisjoint(path))
    if isinstance(value, Mapping):
        return _key_problem(value)
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        return _Words("the number is larger than 64 bits hold", "give a smaller number")
    if isinstance(value, float) and not math.isfinite(value):
        return _Words("not a finite number", "give a finite number")
    if value is None or isinstance(value, list | int | float):
        return None
    return _Words(f"is {_described(value)}", "write it as text")


def _text_problem(text: str, *, multiline: bool) -> _Words | None:
    found = (_UNWANTED_IN_LINES if multiline else _UNWANTED).search(text)
    if found is None:
        return None
    return _Words(
        f"holds the control character {_escaped(found)} at position {found.start() + 1}", "remove it"
    )


def _key_problem(mapping: Mapping[Any, Any]) -> _Words | None:
    for key in mapping:
        if not isinstance(key, str):
            return _Words(f"a key is {_described(key)}, not text", "put the key in quotes")
        if _text_problem(key, multiline=False):
            return _Words(f"the key '{printable(key)}' holds a control character", "remove it")
    return None


def _group_of(path: Path) -> int | None:
    return path[1] if len(path) > 1 and path[0] == "groups" and isinstance(path[1], int) else None


def _lineage(pointer: str) -> Iterator[str]:
    """Yield the pointer and each pointer above it, up to the root."""
    yield pointer
    while pointer:
        pointer = pointer.rpartition("/")[0]
        yield pointer


def _escaped(found: re.Match[str]) -> str:
    return f"U+{ord(found.group()):04X}"

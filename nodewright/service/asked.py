"""What the bodies of operations on jobs may ask for: models, their faults in our words, and their JSON Schema."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.listing import JobFilter
from jobs.picks import MOST_IDS
from jobs.requests import (
    INVALID_REQUEST,
    InvalidRequest,
    RequestFault,
    field_name,
    json_pointer,
    nearest,
    printable,
)
from jobs.states import State

_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
_UUID: Final = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
_MOMENT: Final = f"^{_DAY}([Tt ]{_TIME})?$"
_NEVER: Final = "none"
_A_MOMENT: Final = ("expected a moment", "write it like 2026-03-01T12:00:00Z")
_SHAPES: Final = {
    "since": _A_MOMENT,
    "deadline": _A_MOMENT,
    "jobs": ("expected the id of a job", "see `GET /v1/jobs`"),
}
_UNPRINTABLE: Final = ("expected a text without control characters", "correct it")
_MOST_GROUPS: Final = 10_000

Words: TypeAlias = Annotated[str, Field(min_length=1, max_length=128, pattern=_PRINTABLE)]
JobIds: TypeAlias = Annotated[
    list[Annotated[str, Field(pattern=_UUID)]], Field(min_length=1, max_length=MOST_IDS)
]
Model = TypeVar("Model", bound="Asked")


class Asked(BaseModel):
    """A body, or a part of one. Unknown keys are refused: a mistyped filter would otherwise mean everything."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Secrets(Asked):
    """Secrets given again: of one group (by its index), or without `group` of each group that lacks them."""

    group: Annotated[int, Field(ge=0, le=_MOST_GROUPS)] | None = None
    root_pass: str | None = Field(default=None, repr=False)
    user_data: str | None = Field(default=None, repr=False)
    stackscript_data: dict[str, str] | None = Field(default=None, repr=False)


class Cancel(Asked):
    """Which jobs: those that fit every filter (as in GET /v1/jobs), of these the ones in `jobs` if it is given."""

    state: Annotated[State, Field(strict=False)] | None = None
    label: Words | None = None
    region: Words | None = None
    type: Words | None = None
    tag: Words | None = None
    error_code: Words | None = None
    since: Annotated[str, Field(pattern=_MOMENT)] | None = None
    jobs: JobIds | None = None

    def where(self) -> JobFilter:
        """Return the filters. Raises InvalidRequest for a day that no calendar has."""
        return JobFilter(
            state=self.state,
            label=self.label,
            region=self.region,
            type=self.type,
            tag=self.tag,
            error_code=self.error_code,
            since=None if self.since is None else moment("since", self.since),
        )

    def ids(self) -> tuple[str, ...] | None:
        """Return the ids as rows spell them, each once."""
        return ids_of(self.jobs)


class Destroy(Cancel):
    """Which jobs, as in a cancel; `dry_run` answers what would go, and its `confirm` lets exactly that go."""

    dry_run: bool = False
    confirm: Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)] = ""


class RetryOne(Asked):
    """What a retry brings along."""

    secrets: Annotated[list[Secrets], Field(max_length=_MOST_GROUPS)] = []
    deadline: Annotated[str, Field(pattern=f"{_MOMENT}|^{_NEVER}$")] | None = None
    dry_run: bool = False


class Retry(Cancel, RetryOne):
    """Which jobs are retried, and what the retry brings along."""


class Scale(Asked):
    """How many instances there are to be, or which jobs go."""

    to: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    group: Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)] | int | None = None
    jobs: JobIds | None = None
    confirm: Annotated[str, Field(max_length=64, pattern=_PRINTABLE)] | None = None
    dry_run: bool = False
    secrets: Annotated[list[Secrets], Field(max_length=_MOST_GROUPS)] = []


class Nothing(Asked):
    """An empty body."""


def ids_of(jobs: list[str] | None) -> tuple[str, ...] | None:
    """Return ids as rows spell them, each once."""
    return None if jobs is None else tuple(dict.fromkeys(one.lower() for one in jobs))


def deadline_of(text: str) -> datetime | None:
    """Return a deadline; `none` takes it away. Raises InvalidRequest."""
    return None if text == _NEVER else moment("deadline", text)


def moment(name: str, text: str) -> datetime:
    """Return the moment that a field says; without an offset it is UTC. Raises InvalidRequest."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message, remedy = f"there is no such moment as {text!r}", "write it like 2026-03-01T12:00:00Z"
        raise InvalidRequest([_fault((name,), message, remedy, value=text)]) from None


def read(model: type[Model], body: object) -> Model:
    """Return a body as its model. Raises InvalidRequest with every fault; it holds no secret."""
    if not isinstance(body, Mapping):
        raise InvalidRequest([_fault((), "expected an object", "send a JSON object, or nothing")])
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = [_translated(model, one) for one in error.errors(include_url=False, include_context=False)]
        raise InvalidRequest(faults) from None


def _translated(model: type[Asked], error: Mapping[str, Any]) -> RequestFault:
    path = tuple(one for one in error["loc"] if one not in {"str", "int", "constrained-str"})
    if error["type"] == "extra_forbidden":
        known = tuple((Secrets if "secrets" in path else model).model_fields)
        close = nearest(str(path[-1]), known)
        remedy = f"did you mean `{close}`?" if close else f"remove it; known are {', '.join(known)}"
        return _fault(path, "unknown key", remedy, nearest=close)
    value = None if "secrets" in path else error["input"]
    if error["type"] == "enum":
        return _no_state(path, value)
    if error["type"] == "string_pattern_mismatch":
        return _fault(path, *_SHAPES.get(str(path[0]), _UNPRINTABLE), value=value)
    words = str(error["msg"])
    return _fault(path, words[:1].lower() + words[1:], "correct it", value=value)


def _no_state(path: tuple[str | int, ...], value: object) -> RequestFault:
    known = tuple(state.value for state in State)
    close = nearest(str(value), known)
    remedy = f"did you mean `{close}`?" if close else f"choose one of {', '.join(known)}"
    return _fault(path, f"there is no state {printable(str(value))!r}", remedy, value=value, nearest=close)


def _fault(
    path: tuple[str | int, ...],
    message: str,
    remedy: str,
    *,
    value: object = None,
    nearest: str | None = None,
) -> RequestFault:
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=json_pointer(path),
        field=field_name(path),
        message=message,
        remedy=remedy,
        value=printable(value) if isinstance(value, str) else None,
        nearest=nearest,
    )


def schema(model: type[Asked]) -> dict[str, Any]:
    """Return the JSON Schema of a body, without references."""
    made = model.model_json_schema()
    found: dict[str, Any] = _inlined(made, made.pop("$defs", {}))
    return found


def _inlined(part: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a JSON Schema is any JSON
    if isinstance(part, dict):
        if "$ref" in part:
            return _inlined(definitions[part["$ref"].rpartition("/")[2]], definitions)
        return {name: _inlined(value, definitions) for name, value in part.items()}
    return [_inlined(one, definitions) for one in part] if isinstance(part, list) else part

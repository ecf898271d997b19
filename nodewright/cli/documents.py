"""What ``submit`` sends: a fleet file or options, read and checked here as far as that needs no catalog."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nodewright.cli.errors import fault_sentence
from nodewright.client import Fault
from nodewright.failures import BadInput

_OPTIONS: Final = {
    "root_pass": "--root-pass-stdin",
    "authorized_keys": "--authorized-keys-file",
    "user_data": "--user-data-file",
}
_STANDARD_INPUT: Final = "-"


@dataclass(frozen=True)
class Typed:
    """A document to submit, and how to say where in it a fault is."""

    document: dict[str, Any] = field(repr=False)
    source: str | None = None
    """The file that it came from; None: options."""
    lines: dict[str, int] = field(default_factory=dict, repr=False)

    def explain(self, faults: tuple[Fault, ...]) -> BadInput:
        """Return the refusal by the service, in terms of the file's lines or of the options."""
        return BadInput(*(self.sentence(fault) for fault in faults))

    def sentence(self, fault: Fault) -> str:
        """Return one finding of the service, in terms of the file's lines or of the options."""
        if self.source is None:
            return fault_sentence(fault, name=_option)
        pointer = fault.pointer
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        line = self.lines.get(pointer)
        return fault_sentence(fault, place=f"{self.source}:{line}: " if line else f"{self.source}: ")


def typed_document(
    file: Path | None, head: dict[str, Any], spec: dict[str, Any], *, root_pass_stdin: bool
) -> Typed:
    """Return the document of a fleet file, or of options. Raises BadInput for both, or for neither."""
    given = [f"--{name.replace('_', '-')}" for name, value in spec.items() if value is not None]
    given += ["--root-pass-stdin"] if root_pass_stdin else []
    if file is not None and given:
        raise BadInput(f"{given[0]}: cannot be combined with a fleet file; write it into {file}")
    if file is not None:
        return from_file(file, **head)
    if not given and head["name"] is None:
        raise BadInput("nothing to submit; give a fleet file, or --name, --count, --type and --region")
    return from_options({**head, **spec, "root_pass": read_root_pass() if root_pass_stdin else None})


def from_file(path: Path, **overrides: Any) -> Typed:  # noqa: ANN401 - fields of the document
    """Read a fleet file; ``overrides`` that are not None replace its fields.

    Raises:
        BadInput: every fault with its line.

    """
    from jobs.documents import read_document, to_json_document  # noqa: PLC0415 - only submit needs the room
    from jobs.requests import InvalidRequest  # noqa: PLC0415

    text, folder = _text(path)
    try:
        found = read_document(text, source=str(path), read_file=lambda name: _read(folder / name))
    except InvalidRequest as error:
        raise BadInput(*_refusals(error, source=str(path))) from None
    given = {name: value for name, value in overrides.items() if value is not None}
    return Typed({**to_json_document(found.request), **given}, str(path), dict(found.lines))


def from_options(document: dict[str, Any]) -> Typed:
    """Check the shape of a document made from options.

    Raises:
        BadInput: every fault with its option.

    """
    from jobs.documents import to_json_document  # noqa: PLC0415 - only submit needs the room
    from jobs.requests import InvalidRequest, parse_request  # noqa: PLC0415

    try:
        request = parse_request({name: value for name, value in document.items() if value is not None})
    except InvalidRequest as error:
        raise BadInput(*_refusals(error, source=None)) from None
    return Typed(to_json_document(request))


def read_keys(path: Path | None) -> list[str] | None:
    """Return the public keys in a file: one a line, as in ``authorized_keys``."""
    if path is None:
        return None
    lines = (line.strip() for line in read_option_file("--authorized-keys-file", path).splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise BadInput(f"--authorized-keys-file: {str(path)!r} holds no public key")
    return keys


def read_user_data(path: Path | None) -> str | None:
    """Return the user data in a file, as it stands there."""
    return None if path is None else read_option_file("--user-data-file", path)


def split_tags(text: str | None) -> list[str] | None:
    """Return the tags of ``a,b``."""
    return None if text is None else [tag.strip() for tag in text.split(",") if tag.strip()]


def split_members(text: str | None) -> str | list[str] | None:
    """Return one name, or the alternatives of ``a,b``."""
    if text is None or "," not in text:
        return text
    return [name.strip() for name in text.split(",")]


def read_option_file(option: str, path: Path) -> str:
    """Return the text of a file that an option names.

    Raises:
        BadInput: it cannot be read, or is not text.

    """
    try:
        return _read(path)
    except OSError as error:
        raise BadInput(f"{option}: {str(path)!r} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadInput(f"{option}: {str(path)!r} is not UTF-8 text") from None


def read_root_pass() -> str:
    """Return the password on standard input, without its line end.

    Raises:
        BadInput: there is none.

    """
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise BadInput("--root-pass-stdin: expected a password on standard input, got nothing")
    return password


def _text(path: Path) -> tuple[str, Path]:
    if str(path) == _STANDARD_INPUT:
        return sys.stdin.read(), Path.cwd()
    return read_option_file("FILE", path), path.parent


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _refusals(error: Any, *, source: str | None) -> list[str]:  # noqa: ANN401 - InvalidRequest, imported late
    if source is None:
        return [fault_sentence(Fault(**fault.to_json()), name=_option) for fault in error.faults]
    places = [f"{source}:{fault.line}: " if fault.line else f"{source}: " for fault in error.faults]
    return [
        fault_sentence(Fault(**fault.to_json()), place=place)
        for fault, place in zip(error.faults, places, strict=True)
    ]


def _option(where: str) -> str:
    """Return the option that gave a field."""
    plain = re.sub(r"^groups\[0\]\.", "", where)
    base = re.split(r"[.\[]", plain)[0]
    return _OPTIONS.get(base) or (plain if base == "document" else f"--{base.replace('_', '-')}")

"""Writes the generated parts of docs/, each between its two marks, from the code that they speak of.

python scripts/gendocs.py            write them
python scripts/gendocs.py --check    change nothing; exit code 1 if a page is out of date
"""

import ast
import inspect
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import typer.main

from jobs import states
from jobs.schema_of import fleet_schema
from jobs.states import TRANSITIONS, State
from nodewright.cli import build_app
from nodewright.service.app import create_app
from nodewright.settings import SettingInfo, describe_settings

DOCS: Final = Path(__file__).parent.parent / "docs"


# Tables


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


# States


def said_of(enum: type[StrEnum]) -> dict[str, str]:
    """Return what stands below each member of an enum in its source."""
    tree = ast.parse(inspect.getsource(enum)).body[0]
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    pairs = itertools.pairwise(body)
    return {
        ast.literal_eval(member.value): ast.literal_eval(said.value)
        for member, said in pairs
        if isinstance(member, ast.Assign) and isinstance(said, ast.Expr)
    }


def state_diagram() -> str:
    """Return the law as a diagram that GitHub draws."""
    return f"```mermaid\n{states.mermaid()}\n```"


def state_table() -> str:
    """Return what each state means and who moves it on."""
    said = said_of(State)
    return table(("state", "what it means"), ((_code(state), said[state]) for state in State))


def transition_table() -> str:
    """Return every row of the law."""
    rows = (
        (
            _code(row.source),
            _code(row.event),
            "stays" if row.target is row.source else _code(row.target),
            row.why,
        )
        for row in TRANSITIONS
    )
    return table(("from", "event", "to", "because"), rows)


# Settings


def settings_table() -> str:
    """Return every setting."""
    head = ("variable", "default", "what", "expected")
    return table(head, (_setting(info) for info in describe_settings()))


def _setting(info: SettingInfo) -> tuple[str, ...]:
    name = _code(info.name) + (f" or {_code(info.name + '_FILE')}" if info.file else "")
    return name, _code(info.default), info.description, info.expected


# Commands


def commands() -> dict[str, Any]:
    """Return every command of the command line by its name."""
    group: Any = typer.main.get_command(build_app())
    return dict(group.commands)


def command_table() -> str:
    """Return every command with the first sentence of its help."""
    rows = ((_code(name), _first_sentence(one.help or "")) for name, one in commands().items())
    return table(("command", "what it does"), rows)


def command_reference() -> str:
    """Return every command with its whole help and its options."""
    return "\n\n".join(_command(name, one) for name, one in commands().items())


def _command(name: str, one: Any) -> str:  # noqa: ANN401 - Typer's own types are private
    verbs = [_command(f"{name} {verb}", command) for verb, command in getattr(one, "commands", {}).items()]
    return "\n\n".join([_own_words(name, one), *verbs])


def _own_words(name: str, one: Any) -> str:  # noqa: ANN401 - as above
    visible = [parameter for parameter in one.params if not getattr(parameter, "hidden", False)]
    parts = [f"### nodewright {name}", inspect.cleandoc(one.help or "")]
    rows = [_parameter(parameter) for parameter in visible]
    return "\n\n".join([*parts, table(("option", "what"), rows)] if rows else parts)


def _parameter(parameter: Any) -> tuple[str, str]:  # noqa: ANN401 - as above
    kind = parameter.param_type_name
    names = (
        parameter.metavar or parameter.name.upper() if kind == "argument" else ", ".join(_names(parameter))
    )
    default = parameter.default
    shown = (
        f" Default: {default}." if isinstance(default, int | float) and not isinstance(default, bool) else ""
    )
    text = parameter.help or ""
    return _code(names), text if "Default" in text else text + shown


def _names(parameter: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    value = f" {parameter.metavar}" if parameter.metavar else ""
    yield from (f"{name}{value}" for name in (*parameter.opts, *parameter.secondary_opts))


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


# HTTP


def http_routes() -> str:
    """Return every route of the HTTP service."""
    app = create_app(_NoDeps())  # type: ignore[arg-type]  # nothing is called
    rows = [
        (
            _code(f"{method.upper()} {path}"),
            _first_sentence(operation.get("description", "")),
            _answers(operation),
        )
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
    ]
    return table(("route", "what it does", "answers"), rows)


class _NoDeps:
    """Stands where a service's collaborators would."""

    log = None


def _answers(operation: dict[str, Any]) -> str:
    return " ".join(sorted(operation["responses"]))


# Pages

PARTS: Final[dict[str, dict[str, Callable[[], str]]]] = {
    "reference/states.md": {
        "diagram": state_diagram,
        "states": state_table,
        "transitions": transition_table,
    },
    "reference/settings.md": {"settings": settings_table},
    "reference/http.md": {"routes": http_routes},
    "reference/cli.md": {"commands": command_table, "reference": command_reference},
}


def filled(text: str, name: str, content: str) -> str:
    """Return a page with the content put between the marks of this name."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"the page has no marks {begin} … {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def page(name: str) -> str:
    """Return a page as it should be."""
    text = (DOCS / name).read_text()
    for part, render in PARTS[name].items():
        text = filled(text, part, render())
    return text


def fleet_file_schema() -> str:
    """Return the JSON Schema of a fleet file, as editors read it."""
    return json.dumps(fleet_schema(files=True), indent=2) + "\n"


FILES: Final[dict[str, Callable[[], str]]] = {"reference/fleet.schema.json": fleet_file_schema}
"""Files that are generated as a whole."""


def _written(name: str) -> str:
    path = DOCS / name
    return path.read_text() if path.exists() else ""


def main(*, check: bool) -> int:
    """Write what is out of date, or only name it."""
    wanted = {**{name: page(name) for name in PARTS}, **{name: make() for name, make in FILES.items()}}
    stale = [name for name, text in wanted.items() if text != _written(name)]
    for name in stale:
        print(f"docs/{name} is out of date" if check else f"docs/{name} is written")
        if not check:
            (DOCS / name).write_text(wanted[name])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))

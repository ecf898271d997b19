"""Options that say which jobs of a fleet are meant, and what is said of those for which nothing was done."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nodewright.cli.documents import read_root_pass, read_user_data
from nodewright.cli.options import UserDataFile
from nodewright.client import Refusal
from nodewright.failures import BadInput

Jobs = Annotated[
    str | None,
    typer.Option(metavar="ID,ID", help="Only these jobs, by their ids, as `jobs --json` prints them."),
]
StateOption = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="Only those in this state.")
]
ErrorCode = Annotated[str | None, typer.Option("--error", metavar="CODE", help="Only those with this error.")]
Label = Annotated[str | None, typer.Option(metavar="LABEL", help="Only the one with this label.")]
Region = Annotated[str | None, typer.Option(metavar="REGION", help="Only those in this region.")]
TypeOption = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only those of this plan.")]
Tag = Annotated[str | None, typer.Option(metavar="TAG", help="Only those with this tag of the fleet's file.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only those submitted then or later, as 2026-03-01.")
]
RootPassStdin = Annotated[
    bool, typer.Option("--root-pass-stdin", help="Read the root password, given again, from standard input.")
]


def chosen(**filters: str | None) -> dict[str, str]:
    """Return the filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}


def ids(text: str | None) -> list[str] | None:
    """Return the ids of `--jobs`. Raises BadInput where the option names none: that would mean every job."""
    if text is None:
        return None
    found = [one.strip() for one in text.split(",") if one.strip()]
    if not found:
        raise BadInput("--jobs: expected ids with commas between them, got none")
    return found


def secrets(user_data_file: UserDataFile, *, root_pass_stdin: bool) -> list[dict[str, Any]]:
    """Return the secrets that are given again."""
    found = {"user_data": read_user_data(user_data_file)}
    found["root_pass"] = read_root_pass() if root_pass_stdin else None
    given = {name: value for name, value in found.items() if value is not None}
    return [given] if given else []


def print_refused(refused: Sequence[Refusal], count: int) -> None:
    """Say on standard error for which jobs nothing was done."""
    for one in refused:
        sys.stderr.write(f"refused: {one.label}: {one.message}; {one.remedy} [{one.code}]\n")
    if count > len(refused):
        sys.stderr.write(f"refused: {count - len(refused)} more\n")


def ask(words: str, *, needed: bool) -> bool:
    """Ask whether to go on. Where nobody can be asked: go on, or (``needed``) raise BadInput."""
    if sys.stdin.isatty():
        return typer.confirm(words, err=True, default=False)
    if needed:
        raise BadInput("--yes: needed where nobody can be asked; nothing was changed")
    return True

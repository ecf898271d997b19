"""The kill switch: ``nodewright pause`` and ``nodewright resume``."""

import sys
from typing import Annotated

import typer

from nodewright.cli.errors import OK, OTHERWISE
from nodewright.cli.options import Json, connect
from nodewright.cli.output import console, print_json, program
from nodewright.client import Hold
from nodewright.failures import BadInput

Fleet = Annotated[
    str | None,
    typer.Argument(metavar="[FLEET]", help="A fleet's id, or its name: the newest of that name."),
]
Account = Annotated[str | None, typer.Option(metavar="A", help="The account, for all fleets in it.")]
All = Annotated[bool, typer.Option("--all", help="Everything, of all tenants.")]


def pause(fleet: Fleet = None, *, account: Account = None, all_: All = False, json: Json = False) -> None:
    """Pause a fleet, an account or everything: when this returns, nothing of it is sent any more.

    What waits is kept; creates in flight are finished and recorded; deletes go on.

    Exit codes: 0 paused, 1 paused, but a worker hangs in mid-admission, 2 bad input, 3 not reached.
    """
    _check(fleet, account, all_)
    with connect() as client:
        done = client.pause(fleet, account=account, everything=all_)
    if json:
        print_json(done.to_json())
    else:
        _say_paused(done)
    if not done.settled:
        sys.stderr.write("error: a worker hangs in mid-admission and may still send; look at the workers\n")
    raise typer.Exit(OK if done.settled else OTHERWISE)


def resume(fleet: Fleet = None, *, account: Account = None, all_: All = False, json: Json = False) -> None:
    """Let a paused fleet, account or everything go on."""
    _check(fleet, account, all_)
    with connect() as client:
        done = client.resume(fleet, account=account, everything=all_)
    if json:
        print_json(done.to_json())
    else:
        _say_resumed(done)


def _check(fleet: str | None, account: str | None, all_: bool) -> None:  # noqa: FBT001 - as typed
    if [fleet is not None, account is not None, all_].count(True) != 1:
        raise BadInput("FLEET, --account A or --all: exactly one of them is needed")


def _named(done: Hold) -> str:
    return done.name if done.scope == "everything" else f"{done.scope} {done.name}"


def _first(words: str) -> str:
    return words[0].upper() + words[1:]


def _say_paused(done: Hold) -> None:
    out, name = console(), _named(done)
    if done.changed:
        out.print(f"Paused {name}: nothing more is sent.")
    else:
        out.print(f"{_first(name)} was paused already, since {done.held_at}; nothing is sent.")
    out.print(f"{done.waiting} jobs wait; {done.in_flight} creates in flight are finished and recorded.")
    out.print(f"Go on with: {program()} resume {_typed(done)}")


def _say_resumed(done: Hold) -> None:
    out, name = console(), _named(done)
    out.print(f"Resumed {name}." if done.changed else f"{_first(name)} was not paused.")
    if done.held_by:
        out.print(f"It still waits: {', '.join(done.held_by)} is paused too.")
    else:
        out.print(f"{done.waiting} jobs wait for the rate window.")


def _typed(done: Hold) -> str:
    return {"everything": "--all", "account": f"--account {done.name}"}.get(done.scope, done.name)

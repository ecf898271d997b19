"""``nodewright destroy``: shows what would go and what it costs, asks for the fleet's name, and has it deleted."""

import sys
from typing import Annotated, Any

import typer

from nodewright.cli.errors import OK, OTHERWISE
from nodewright.cli.options import FleetRef, Json, connect
from nodewright.cli.output import console, counted, grid, print_json, program, state_text, states_line
from nodewright.cli.plans import money
from nodewright.client import Client, Destroyed, DestroyPlan, Refusal
from nodewright.failures import BadInput

SHOWN = 50

JobIds = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="ID", help="Only this job, by its id; may be repeated."),
]
State = Annotated[str | None, typer.Option(metavar="STATE", help="Only jobs in this state.")]
Label = Annotated[str | None, typer.Option(metavar="LABEL", help="Only the job with this label.")]
Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only those of this plan.")]
Region = Annotated[str | None, typer.Option(metavar="REGION", help="Only those in this region.")]
Tag = Annotated[
    str | None, typer.Option(metavar="TAG", help="Only those with this tag of the fleet's document.")
]
ErrorCode = Annotated[str | None, typer.Option(metavar="CODE", help="Only those with this error code.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only those submitted then or later.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would go, and what confirms it; do nothing.")
]
Confirm = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="What a dry run with the same filters printed.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needs --confirm.")]


def destroy(  # noqa: PLR0913 - one parameter per option
    fleet: FleetRef,
    *,
    job: JobIds = None,
    state: State = None,
    label: Label = None,
    type_: Type = None,
    region: Region = None,
    tag: Tag = None,
    error_code: ErrorCode = None,
    since: Since = None,
    dry_run: DryRun = False,
    confirm: Confirm = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete a fleet's instances, all or some of them, and cancel what it has not bought yet.

    Shows the list and asks for the fleet's name. Scripts call it twice: with `--dry-run --json`, then with
    `--yes --confirm TOKEN`; where what would go is no longer what was shown, nothing is done.

    Exit codes: 0 all of it is being deleted, 1 not confirmed, or some jobs were left, 2 bad input, 3 not reached.
    """
    where = {
        "state": state,
        "label": label,
        "type": type_,
        "region": region,
        "tag": tag,
        "error_code": error_code,
        "since": since,
    }
    _check(dry_run=dry_run, confirm=confirm, yes=yes, json=json)
    with connect() as client:
        if dry_run:
            _show(client.plan_destroy(fleet, jobs=job, **where), json=json)
            return
        token = confirm if confirm is not None and yes else _ask(client, fleet, job, where)
        done = client.destroy(fleet, confirm=confirm or token, jobs=job, **where)
    _report(done, json=json)
    raise typer.Exit(OTHERWISE if done.refused else OK)


def _check(*, dry_run: bool, confirm: str | None, yes: bool, json: bool) -> None:
    if dry_run and (confirm is not None or yes):
        raise BadInput("--dry-run: does nothing, so leave --confirm and --yes out")
    if yes and confirm is None:
        raise BadInput("--yes: needs --confirm TOKEN, which `--dry-run` prints, so that what goes was seen")
    if not (dry_run or yes) and (json or not sys.stdin.isatty()):
        raise BadInput("nobody can be asked: call it with --dry-run first, then with --yes --confirm TOKEN")


def _ask(client: Client, fleet: str, ids: list[str] | None, where: dict[str, Any]) -> str:
    """Show what would go, and have the fleet's name typed; return what confirms it."""
    made = client.plan_destroy(fleet, jobs=ids, **where)
    _print_plan(made)
    if not made.jobs:
        raise typer.Exit(OK)
    typed = typer.prompt(
        f"This cannot be undone. Type the fleet's name ({made.fleet.name}) to go on", default=""
    )
    if typed.strip() != made.fleet.name:
        console().print("Nothing was destroyed.")
        raise typer.Exit(OTHERWISE)
    return made.confirm


def _show(made: DestroyPlan, *, json: bool) -> None:
    if json:
        print_json(made.to_json())
        return
    _print_plan(made)
    if made.jobs:
        console().print(f"To do it within 15 minutes, call it again with --yes --confirm {made.confirm}")


def _print_plan(made: DestroyPlan) -> None:
    out = console()
    _print_refused(made.refused)
    if not made.jobs:
        out.print(f"Nothing of fleet {made.fleet.name} would go.")
        return
    table = grid("LABEL", "STATE", "LINODE", "REGION", right=["LINODE"])
    for one in made.jobs[:SHOWN]:
        table.add_row(one.label, state_text(one.state), str(one.linode_id or ""), one.region)
    out.print(table)
    more = made.instances + made.unbought - min(len(made.jobs), SHOWN)
    if more:
        out.print(f"… {more} more")
    out.print()
    out.print(
        f"{counted(made.instances)} of fleet {made.fleet.name} would be deleted, {money(made.hourly_usd)} an hour."
    )
    if made.unbought:
        out.print(f"{made.unbought} jobs without an instance would be ended.")


def _report(done: Destroyed, *, json: bool) -> None:
    if json:
        print_json(done.to_json())
        return
    _print_refused(done.refused)
    out, fleet = console(), done.fleet
    out.print(f"{counted(done.deleting)} of {fleet.name} being deleted, {done.cancelled} jobs cancelled.")
    if done.noted:
        out.print(
            f"{done.noted} creates are under way; their instances are deleted as soon as they are known."
        )
    out.print(f"{fleet.name}: {states_line(fleet.states)}. See how it goes: {program()} show {fleet.name}")


def _print_refused(refused: tuple[Refusal, ...]) -> None:
    for one in refused[:SHOWN]:
        sys.stderr.write(f"left: {one.label}: {one.message}; {one.remedy} ({one.code})\n")
    if len(refused) > SHOWN:
        sys.stderr.write(f"left: {len(refused) - SHOWN} more\n")

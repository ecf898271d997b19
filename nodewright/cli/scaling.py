"""``nodewright scale``: more of a fleet's instances, or fewer."""

import sys
from typing import Annotated, Any, Final

import typer

from nodewright.cli import choosing, options
from nodewright.cli.errors import OK, OTHERWISE
from nodewright.cli.options import FleetRef, Json, connect
from nodewright.cli.output import console, counted, grid, print_json, program, state_text
from nodewright.client import Client, Scaled
from nodewright.failures import BadInput

To = Annotated[
    int | None,
    typer.Option(parser=options.whole_number, metavar="N", help="How many instances there are to be."),
]
Group = Annotated[
    str | None, typer.Option(metavar="NAME|INDEX", help="Which group grows. Default: the last one.")
]
Jobs = Annotated[
    str | None, typer.Option(metavar="ID,ID", help="These jobs go, by their ids, and no others.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even where instances are deleted.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
_SHOWN: Final = 20


def scale(  # noqa: PLR0913 - one parameter per option
    fleet: FleetRef,
    *,
    to: To = None,
    group: Group = None,
    jobs: Jobs = None,
    root_pass_stdin: choosing.RootPassStdin = False,
    user_data_file: options.UserDataFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring a fleet to N instances: more of a group, or fewer.

    Of those that are too many what waits is cancelled first, then instances are DELETED, the newest first; `--jobs`
    names others. What would go is listed and asked for before. Failed jobs without an instance do not count.

    Exit codes: 0 done, 1 not confirmed, 2 bad input, 3 not reached.
    """
    if to is None and jobs is None:
        raise BadInput("--to N: needed; or name the jobs that go with --jobs")
    asked: dict[str, Any] = {
        "to": to,
        "group": int(group) if group is not None and group.isdecimal() else group,
        "jobs": choosing.ids(jobs),
        "secrets": choosing.secrets(user_data_file, root_pass_stdin=root_pass_stdin),
    }
    with connect() as client:
        plan = client.scale(fleet, **asked, dry_run=True)
        done = plan if dry_run or plan.unchanged else _do(client, plan, asked, yes=yes)
    if json:
        print_json(done.to_json())
    else:
        _print(done)
    raise typer.Exit(OK if not done.dry_run or dry_run or done.unchanged else OTHERWISE)


def _do(client: Client, plan: Scaled, asked: dict[str, Any], *, yes: bool) -> Scaled:
    """Do what the dry run has listed, if somebody agrees; else return the dry run."""
    if not yes and not _agreed(plan):
        return plan
    return client.scale(plan.fleet.id, **asked, confirm=plan.confirm)


def _agreed(plan: Scaled) -> bool:
    if not plan.leaving:
        added = len(plan.labels)
        sys.stderr.write(f"{plan.fleet.name} has {counted(plan.was)}; {_span(plan)} would be added.\n")
        return choosing.ask(f"Add {counted(added)}?", needed=False)
    _list(plan)
    return choosing.ask(f"Take {len(plan.leaving)} of {plan.was} away?", needed=True)


def _list(plan: Scaled) -> None:
    table = grid("LABEL", "STATE", "LINODE", "", right=["LINODE"])
    for one in plan.leaving[:_SHOWN]:
        what = "DELETED with its instance" if one.action == "delete" else "cancelled"
        table.add_row(one.label, state_text(one.state), str(one.linode_id or ""), what)
    out = console(stderr=True)
    out.print(table)
    rest = plan.leaving[_SHOWN:]
    if rest:
        deletes = sum(one.action == "delete" for one in rest)
        out.print(f"… {len(rest)} more, {deletes} of them with their instance (all: --dry-run --json)")


def _span(done: Scaled) -> str:
    if len(done.labels) == 1:
        return done.labels[0]
    return f"{done.labels[0]} to {done.labels[-1]}"


def _print(done: Scaled) -> None:
    out, name = console(), done.fleet.name
    if done.unchanged:
        out.print(f"{name} has {counted(done.was)} already; nothing was changed.")
    elif done.dry_run:
        if done.leaving:
            _list(done)
        what = f"{_span(done)} would be added" if done.labels else f"{len(done.leaving)} would go"
        out.print(f"{name} has {counted(done.was)}; {what}. Nothing was changed.")
    else:
        out.print(f"{name}: from {done.was} to {counted(done.to)}. Follow it: {program()} watch {name}")
    if done.failed:
        jobs = "1 failed job is" if done.failed == 1 else f"{done.failed} failed jobs are"
        out.print(f"{jobs} not counted; for a new attempt: {program()} retry {name}")

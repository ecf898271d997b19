"""``nodewright retry``: a new attempt for what failed."""

import sys
from typing import Annotated, Any

import typer

from nodewright.cli import choosing, options
from nodewright.cli.errors import OK, OTHERWISE
from nodewright.cli.options import FleetRef, Json, connect
from nodewright.cli.output import console, counted, print_json, program
from nodewright.client import Retried

Deadline = Annotated[
    str | None,
    typer.Option(metavar="TIME|none", help="The fleet's new deadline; `none`: it has none from now on."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even where instances are deleted first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def retry(  # noqa: PLR0913 - one parameter per option
    fleet: FleetRef,
    *,
    jobs: choosing.Jobs = None,
    error: choosing.ErrorCode = None,
    label: choosing.Label = None,
    region: choosing.Region = None,
    type_: choosing.TypeOption = None,
    tag: choosing.Tag = None,
    since: choosing.Since = None,
    root_pass_stdin: choosing.RootPassStdin = False,
    user_data_file: options.UserDataFile = None,
    deadline: Deadline = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Give a fleet's failed jobs a new attempt, or those of them that the options choose.

    A failed job that still owns an instance has it deleted first. Secrets are erased once no create needs them: where a
    password or user data was given with the fleet, give it again.

    Exit codes: 0 all retried, 1 some were refused or not confirmed, 2 bad input, 3 not reached.
    """
    asked: dict[str, Any] = {
        "jobs": choosing.ids(jobs),
        "secrets": choosing.secrets(user_data_file, root_pass_stdin=root_pass_stdin),
        "deadline": deadline,
        **choosing.chosen(error_code=error, label=label, region=region, type=type_, tag=tag, since=since),
    }
    with connect() as client:
        done = client.retry(fleet, **asked, dry_run=True)
        if not dry_run and (yes or _agreed(done)):
            done = client.retry(fleet, **asked)
    if json:
        print_json(done.to_json())
    else:
        _print(done)
    given_up = done.dry_run and not dry_run
    raise typer.Exit(OTHERWISE if given_up or done.refused_count else OK)


def _agreed(plan: Retried) -> bool:
    """Ask where instances would be deleted; what only waits again is no harm."""
    if not plan.deleting:
        return True
    sys.stderr.write(
        f"{counted(plan.deleting)} of {plan.fleet.name} will be DELETED and created anew; "
        f"{plan.queued} more jobs wait again.\n"
    )
    return choosing.ask("Go on?", needed=True)


def _print(done: Retried) -> None:
    choosing.print_refused(done.refused, done.refused_count)
    total = done.queued + done.deleting
    if not total:
        console().print(f"Nothing of {done.fleet.name} is retried.")
        return
    verb = "Would retry" if done.dry_run else "Retrying"
    first = f", {done.deleting} of them after their instance is deleted" if done.deleting else ""
    console().print(f"{verb} {total} {'job' if total == 1 else 'jobs'} of {done.fleet.name}{first}.")
    if not done.dry_run:
        console().print(f"Follow it: {program()} watch {done.fleet.name}")

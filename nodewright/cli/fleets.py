"""The commands that change something: submit, cancel; and watch, which waits with you."""

import sys
import uuid
from typing import Annotated, Any, Final

import typer

from nodewright.cli import choosing
from nodewright.cli import options as opt
from nodewright.cli.documents import (
    Typed,
    read_keys,
    read_user_data,
    split_members,
    split_tags,
    typed_document,
)
from nodewright.cli.errors import OK, OTHERWISE
from nodewright.cli.options import FleetRef, Json, connect
from nodewright.cli.output import console, counted, job_table, print_json, program, states_line
from nodewright.cli.plans import confirm
from nodewright.cli.progress import AccountPaused, AtWork, Chosen, Follower
from nodewright.cli.reports import JsonLines
from nodewright.client import Cancelled, Client, Fleet, Refused, ServiceNotReached, Submission
from nodewright.failures import NotReached
from nodewright.settings import Settings

SHOWN_JOBS: Final = 50
Watched = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FLEET]...", help="Fleets by id, or by name: the newest of that name."),
]


def submit(  # noqa: PLR0913 - one parameter per option
    file: opt.FleetFile = None,
    *,
    name: opt.Name = None,
    count: opt.Count = None,
    type_: opt.Type = None,
    region: opt.Region = None,
    image: opt.Image = None,
    label_pattern: opt.LabelPattern = None,
    tags: opt.Tags = None,
    root_pass_stdin: opt.RootPassStdin = False,
    authorized_keys_file: opt.AuthorizedKeysFile = None,
    user_data_file: opt.UserDataFile = None,
    booted: opt.Booted = None,
    on_invalid: opt.OnInvalid = None,
    on_existing: opt.OnExisting = None,
    idempotency_key: opt.IdempotencyKey = None,
    wait: opt.WaitForEnd = False,
    yes: opt.Yes = False,
    json: Json = False,
) -> None:
    """Submit a fleet, by file or by options.

    With neither a password nor keys, each instance gets a strong random password that nobody is shown. On a terminal
    the plan is shown first, and a yes asked for, where the fleet costs more than NODEWRIGHT_CONFIRM_HOURLY_USD an hour.

    Exit codes: 0 accepted (with `--wait`: all running), 1 some job ended otherwise, 2 bad input, 3 not reached.
    """
    spec = {
        "count": count,
        "type": split_members(type_),
        "region": split_members(region),
        "image": image,
        "label_pattern": label_pattern,
        "tags": split_tags(tags),
        "authorized_keys": read_keys(authorized_keys_file),
        "user_data": read_user_data(user_data_file),
        "booted": booted,
    }
    head = {"name": name, "on_invalid": on_invalid, "on_existing": on_existing}
    typed = typed_document(file, head, spec, root_pass_stdin=root_pass_stdin)
    settings = Settings.load()
    with connect(settings) as client:
        if not (yes or json or confirm(client, typed, settings)):
            console().print("Nothing was submitted.")
            raise typer.Exit(OTHERWISE)
        accepted = _send(client, typed, idempotency_key)
        _remark(accepted, typed)
        _reveal(accepted)
        raise typer.Exit(_finish(client, accepted, wait=wait, json=json))


def _send(client: Client, typed: Typed, key: str | None) -> Submission:
    key = key or str(uuid.uuid4())
    try:
        return client.submit(typed.document, idempotency_key=key)
    except ServiceNotReached as error:
        if not error.sent:
            raise
        again = f"it may have been accepted all the same; to send the same fleet again, add --idempotency-key {key}"
        raise NotReached(str(error), again) from None
    except Refused as error:
        if not error.problem.faults:
            raise
        raise typed.explain(error.problem.faults) from None


def _finish(client: Client, accepted: Submission, *, wait: bool, json: bool) -> int:
    fleet, code = accepted.fleet, OK
    if not json:
        again = " (it had been accepted before)" if accepted.replayed else ""
        console().print(f"Accepted fleet {fleet.name} ({fleet.id}), {counted(fleet.count)}{again}.")
    if wait:
        fleet, code = _wait(client, fleet, json=json)
    if json:
        print_json(fleet_document(client, fleet))
    elif wait:
        print_result(client, fleet)
    else:
        console().print(f"Follow it: {program()} watch {fleet.name}")
    return code


def _remark(accepted: Submission, typed: Typed) -> None:
    for kind, findings in (("warning", accepted.warnings), ("rejected", accepted.rejected)):
        for one in findings:
            sys.stderr.write(f"{kind}: {typed.sentence(one)}\n")


def _reveal(accepted: Submission) -> None:
    for one in accepted.root_passwords:
        of_group = f" of group {one.name or one.group}" if len(accepted.root_passwords) > 1 else ""
        sys.stderr.write(f"root password{of_group} (not shown again): {one.root_pass}\n")


def _wait(client: Client, fleet: Fleet, *, json: bool) -> tuple[Fleet, int]:
    follower = Follower(client, console(stderr=json))
    try:
        fleet = follower.follow(fleet, until_paused=True)
    except AccountPaused as alarm:
        for kind, sentence in zip(("alarm", "what to do"), alarm.sentences, strict=False):
            sys.stderr.write(f"{kind}: {sentence}\n")
        sys.stderr.write(f"The fleet stays accepted. Follow it: {program()} watch {fleet.name}\n")
        return client.fleet(fleet.id), OTHERWISE
    except KeyboardInterrupt:
        sys.stderr.write(f"\nThe fleet goes on without you. Follow it: {program()} watch {fleet.name}\n")
        raise typer.Exit(130) from None
    return fleet, OK if fleet.all_running else OTHERWISE


def fleet_document(client: Client, fleet: Fleet) -> dict[str, Any]:
    """Return a fleet and its jobs as programs read them."""
    return {"fleet": fleet.to_json(), "jobs": [job.to_json() for job in client.jobs(fleet=fleet.id)]}


def print_result(client: Client, fleet: Fleet, *, shown: int = SHOWN_JOBS) -> None:
    """Print the results table, its first rows at least."""
    out = console()
    out.print()
    out.print(job_table(client.jobs(fleet=fleet.id, limit=shown)))
    if fleet.count > shown:
        out.print(f"… {fleet.count - shown} more")
    out.print()
    out.print(f"{fleet.name}: {states_line(fleet.states)}")


def watch(fleets: Watched = None, *, json: Json = False) -> None:
    """Follow fleets to their end: states, rate, what is left, and what failed with what to do.

    Without a name it follows every fleet that is at work, those too that come meanwhile. Ctrl-C stops the watching
    and nothing else. `--json` prints an object a line for each change of a fleet; its last one has the jobs too.

    Exit codes: 0 all running, 1 some job ended otherwise, 2 no such fleet, 3 the service was not reached.
    """
    with connect() as client:
        chosen = [client.fleet(ref) for ref in fleets or ()]
        source = Chosen(client, chosen) if chosen else AtWork(client)
        follower = Follower(client, console(), report=JsonLines(client) if json else None)
        try:
            last = follower.follow_all(source)
        except KeyboardInterrupt:
            sys.stderr.write("Stopped watching; the fleets go on.\n")
            raise typer.Exit(130) from None
        if not json:
            _say_watched(last)
        raise typer.Exit(OK if all(fleet.all_running for fleet in last) else OTHERWISE)


def _say_watched(last: tuple[Fleet, ...]) -> None:
    if not last:
        console().print("Nothing is at work.")
    elif len(last) == 1:
        console().print(f"Each of them: {program()} jobs --fleet {last[0].name}")


def cancel(  # noqa: PLR0913 - one parameter per option
    fleet: FleetRef,
    *,
    jobs: choosing.Jobs = None,
    state: choosing.StateOption = None,
    error: choosing.ErrorCode = None,
    label: choosing.Label = None,
    region: choosing.Region = None,
    type_: choosing.TypeOption = None,
    tag: choosing.Tag = None,
    since: choosing.Since = None,
    json: Json = False,
) -> None:
    """Cancel what a fleet has not bought yet, or what of that the options choose. What runs or boots stays.

    A job that is being created is finished, then deleted.

    Exit codes: 0 done, 1 some of `--jobs` cannot be cancelled, 2 bad input, 3 not reached.
    """
    where = choosing.chosen(
        state=state, error_code=error, label=label, region=region, type=type_, tag=tag, since=since
    )
    with connect() as client:
        done = client.cancel(fleet, jobs=choosing.ids(jobs), **where)
    if json:
        print_json(done.to_json())
    else:
        _say_cancelled(done)
    raise typer.Exit(OTHERWISE if done.refused_count else OK)


def _say_cancelled(done: Cancelled) -> None:
    choosing.print_refused(done.refused, done.refused_count)
    view = done.fleet
    console().print(f"Cancelled {done.cancelled} jobs of {view.name}: {states_line(view.states)}.")
    if done.noted:
        console().print(f"{done.noted} more are under way and end as soon as their outcome is known.")

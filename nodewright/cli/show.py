"""The commands that only read: fleets, jobs, show."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.listing import Sort
from nodewright.cli.fleets import fleet_document
from nodewright.cli.options import Csv, Json, connect
from nodewright.cli.output import (
    STATE_STYLES,
    console,
    counted,
    error_text,
    fleet_table,
    grid,
    held_note,
    job_table,
    print_job_csv,
    print_job_json,
    print_json,
    program,
    state_text,
    states_line,
)
from nodewright.cli.pictures import examples, failures_picture
from nodewright.cli.spending import cost_line, print_spend
from nodewright.client import Asked, Client, Fleet, JobDetail, NotFound, TimelineEvent
from nodewright.failures import BadInput
from nodewright.words import gap, sentence

CHUNK: Final = 200
WIDE: Final = 120
"""Columns from which on a timeline names events and states too."""
_SHOWN_FACTS: Final = (
    "id",
    "fleet",
    "type",
    "region",
    "image",
    "linode_id",
    "ipv4",
    "ipv6",
    "attempt",
    "sends",
    "expires_at",
)

Limit = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How many at most. Default: all.", show_default=False)
]


def fleets(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many at most.")] = 100,
    spend: Annotated[
        bool, typer.Option("--spend", help="What they have cost so far, and cost an hour now.")
    ] = False,
    json: Json = False,
) -> None:
    """List fleets, newest first."""
    with connect() as client:
        if spend:
            print_spend(client.spend(limit=limit), json=json)
            return
        found = client.fleets(limit=limit)
    if json:
        print_json({"fleets": [fleet.to_json() for fleet in found]})
    elif found:
        console().print(fleet_table(found))
    else:
        console().print(f"No fleets yet. Submit one: {program()} submit --help")


def jobs(
    *,
    fleet: Annotated[str | None, typer.Option(metavar="ID|NAME", help="Only this fleet's.")] = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only those in this state.")] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Only those whose label begins so, or with this id, instance id or IP address.",
        ),
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(help="The order, if not a fleet's own or the newest first.", show_default=False),
    ] = None,
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """List jobs: a fleet's in order, else the newest first. Every row, unless `--limit` is given."""
    if json and csv:
        raise BadInput("--json and --csv: choose one of them")
    with connect() as client:
        found = client.jobs(fleet=fleet, state=state, q=search, sort=sort, limit=limit)
        if json:
            print_job_json(found)
        elif csv:
            print_job_csv(found)
        else:
            _print_tables(found)


def _print_tables(found: Any) -> None:  # noqa: ANN401 - an iterator of jobs
    out, rows = console(), list(islice(found, CHUNK))
    if not rows:
        out.print("No jobs.")
    while rows:
        out.print(job_table(rows))
        rows = list(islice(found, CHUNK))


def show(
    ref: Annotated[str, typer.Argument(metavar="ID", help="A job's id, or a fleet's id or name.")],
    *,
    extend_ttl: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Let a fleet live longer first, by 90m, 2h or 3d. Asks no more."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show a job with its timeline, or a fleet with its jobs."""
    with connect() as client:
        found = _find(client, ref) if extend_ttl is None else _extend(client, ref, extend_ttl, json=json)
        if isinstance(found, Fleet):
            _show_fleet(client, found, json=json)
        elif json:
            print_json({"job": found.to_json()})
        else:
            _show_job(found)


def _extend(client: Client, ref: str, by: str, *, json: bool) -> Fleet:
    try:
        done = client.extend_ttl(ref, by)
    except NotFound:
        raise BadInput(f"there is no fleet {ref!r}; see `nodewright fleets`") from None
    if not json:
        console().print(f"{counted(done.extended)} of {done.fleet.name} live longer by {by}.")
    return done.fleet


def _find(client: Client, ref: str) -> JobDetail | Fleet:
    try:
        return client.job(ref)
    except NotFound:
        pass
    try:
        return client.fleet(ref)
    except NotFound:
        raise BadInput(f"there is no job and no fleet {ref!r}; see `nodewright fleets`") from None


def _show_fleet(client: Client, fleet: Fleet, *, json: bool) -> None:
    if json:
        print_json(fleet_document(client, fleet))
        return
    console().print(f"Fleet {fleet.name} ({fleet.id}): {states_line(fleet.states)}{held_note(fleet)}")
    console().print(f"Cost so far {cost_line(fleet)}")
    if fleet.held_at:
        console().print(f"Paused since {fleet.held_at}; go on with: {program()} resume {fleet.name}")
    for words in _circumstances(fleet):
        console().print(words)
    _print_failures(client, fleet)
    console().print()
    _print_tables(client.jobs(fleet=fleet.id))


def _print_failures(client: Client, fleet: Fleet) -> None:
    if fleet.states.get("failed") or fleet.states.get("rejected"):
        out, found = console(), client.failures(fleet.id)
        for part in failures_picture([(group, examples(group)) for group in found], wide=out.width >= WIDE):
            out.print(part)


def _circumstances(fleet: Fleet) -> Iterator[str]:
    if fleet.stopped_at is not None:
        yield f"Stopped at {fleet.stopped_at}: {fleet.stop_reason}."
    if fleet.not_before is not None:
        yield f"Nothing is sent before {fleet.not_before}."
    if fleet.deadline is not None:
        yield f"What is not bought by {fleet.deadline} ends."
    if fleet.ttl_seconds is not None:
        yield f"Each instance is deleted {timedelta(seconds=fleet.ttl_seconds)} after its create."


def _show_job(job: JobDetail) -> None:
    out, facts = console(), job.to_json()
    out.print(job.label, state_text(job.state))
    if job.error:
        out.print(error_text(job), style="red")
    table = Table.grid(padding=(0, 2, 0, 0))
    for name in _SHOWN_FACTS:
        if facts.get(name) is not None:
            table.add_row(name, str(facts[name]))
    if job.asked is not None and len(job.asked.types) * len(job.asked.regions) > 1:
        table.add_row("asked for", _asked(job.asked))
    table.add_row("tag", f"nw:{job.id}.{facts.get('attempt')}")
    if job.spent_usd or job.hourly_usd:
        table.add_row("cost so far", cost_line(job))
    out.print(table)
    out.print()
    _print_story(out, job)


def _asked(asked: Asked) -> str:
    regions = ("over " if asked.spread else "in ") + (", " if asked.spread else " or ").join(asked.regions)
    return f"{' or '.join(asked.types)} {regions}"


def _print_story(out: Console, job: JobDetail) -> None:
    """Print what happened in words: when, what, and by whom; on a wide terminal also state and event by name."""
    if not job.timeline:
        return
    day, wide = job.timeline[0].at[:10], out.width >= WIDE
    named = ["STATE", "EVENT"] if wide else []
    table = grid(f"{day} UTC", "WHAT HAPPENED", "BY", *named)
    table.columns[0].no_wrap = True
    for line, waited in _with_gaps(job.timeline):
        if waited:
            table.add_row("", Text(waited, style="dim italic"), "", *([""] * len(named)))
        said = Text(sentence(line.event, line.detail, line.state), style=STATE_STYLES.get(line.state, ""))
        names: list[Text | str] = [state_text(line.state), line.event] if wide else []
        table.add_row(_moment(line.at, day), said, Text(line.actor, style="dim"), *names)
    out.print(table)


def _with_gaps(timeline: Sequence[TimelineEvent]) -> Iterator[tuple[TimelineEvent, str | None]]:
    """Yield each line of a timeline with what the time before it was spent on."""
    last: TimelineEvent | None = None
    for line in timeline:
        seconds = 0.0 if last is None else _seconds_between(last.at, line.at)
        yield line, None if last is None else gap(last.event, last.state, seconds)
        last = line


def _seconds_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def _moment(at: str, day: str) -> str:
    """Return a time, with its day where that is another one than the heading's."""
    return at[11:23] if at.startswith(day) else at[5:19].replace("T", " ")

"""The plan of a fleet: shown by ``plan``, and by ``submit`` before it asks whether to go on."""

import sys
from decimal import Decimal
from typing import Final

import typer
from rich.console import Console
from rich.table import Table

from nodewright.cli import options as opt
from nodewright.cli.documents import (
    Typed,
    read_keys,
    read_user_data,
    split_members,
    split_tags,
    typed_document,
)
from nodewright.cli.errors import BAD_INPUT, OK, OTHERWISE
from nodewright.cli.options import Json, connect
from nodewright.cli.output import console, counted, grid, print_json, program
from nodewright.cli.pictures import clock
from nodewright.client import Client, Estimate, Plan
from nodewright.settings import Settings

EXIT_CODES: Final = {"accept": OK, "accept_some": OTHERWISE, "refuse": BAD_INPUT}
_SHOWN_LINES: Final = 12
_SHOWN_FINDINGS: Final = 8
_SHOWN_OTHERS: Final = 3
_CENTS: Final = 0.1
"""Below this an amount is shown to the hundredth of a cent."""


def plan(  # noqa: PLR0913 - one parameter per option
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
    json: Json = False,
) -> None:
    """Say what `submit` would do with the same file or options: cost, time, what is refused. Nothing is stored.

    Exit codes: 0 all would be accepted, 1 only a part, 2 nothing or bad input, 3 not reached.
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
    with connect() as client:
        made = client.plan(typed.document)
    if json:
        print_json({"plan": made.to_json()})
    else:
        show_plan(console(), made, typed)
        _say_what_next(console(), made, typed)
    raise typer.Exit(EXIT_CODES.get(made.verdict, OTHERWISE))


def confirm(client: Client, typed: Typed, settings: Settings) -> bool:
    """Show the plan of a fleet that costs more than the setting, and ask whether to go on. On a terminal only."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    made = client.plan(typed.document)
    most = max(made.hourly_usd, made.most_hourly_usd or 0.0)
    if made.verdict == "refuse" or Decimal(str(most)) <= settings.confirm_hourly_usd:
        return True
    show_plan(console(), made, typed)
    return typer.confirm(
        f"Submit it for {'at most ' if most > made.hourly_usd else ''}{money(most)} an hour?", default=False
    )


def show_plan(out: Console, made: Plan, typed: Typed) -> None:
    """Print a plan: one screen at 80 columns."""
    out.print(f"Plan for fleet {made.name}: {counted(made.count)}\n", style="bold")
    out.print(_costs(made))
    out.print()
    out.print(_facts(made))
    findings = [("refused", "red", one) for one in made.errors]
    findings += [("warning", "yellow", one) for one in made.warnings]
    if findings:
        out.print()
    for kind, style, finding in findings[:_SHOWN_FINDINGS]:
        out.print(f"{kind}: {typed.sentence(finding)}", style=style)
    if len(findings) > _SHOWN_FINDINGS:
        out.print(f"… {len(findings) - _SHOWN_FINDINGS} more")
    out.print()


def _costs(made: Plan) -> Table:
    right = ["COUNT", "PER HOUR", "PER MONTH"]
    table = grid("", "COUNT", "TYPE", "REGION", "PER HOUR", "PER MONTH", "", right=right)
    for line in made.lines[:_SHOWN_LINES]:
        wrong = line.count - line.accepted
        sign = "+" if line.accepted else "x"
        note = f"{wrong} refused" if wrong else "with backups" if line.backups_hourly_usd else ""
        prices = (money(line.hourly_usd), money(line.monthly_usd)) if line.accepted else ("", "")
        table.add_row(sign, str(line.count), line.type, line.region, *prices, note)
        for other in line.alternatives[:_SHOWN_OTHERS]:
            table.add_row("", "", f"or {other.type}", other.region, "", "", "", style="dim")
        if more := line.alternatives[_SHOWN_OTHERS:]:
            table.add_row("", "", f"or {len(more)} more", "", "", "", "", style="dim")
    rest = made.lines[_SHOWN_LINES:]
    if rest:
        table.add_row("", str(sum(line.count for line in rest)), f"… {len(rest)} more lines", "", "", "", "")
    table.add_section()
    total = (money(made.hourly_usd), money(made.monthly_usd))
    table.add_row("", str(made.accepted), "accepted", "", *total, "", style="bold")
    if made.most_hourly_usd is not None and made.most_hourly_usd > made.hourly_usd:
        table.add_row("", "", "at most", "", money(made.most_hourly_usd), money(made.most_monthly_usd), "")
    return table


def _facts(made: Plan) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    instances, spend = made.quota.instances, made.quota.hourly_usd
    table.add_row("Instances", f"{instances.used:g} now, {instances.after:g} then, of {instances.limit:g}")
    table.add_row("Per hour", f"{money(spend.used)} now, {money(spend.after)} then, of {money(spend.limit)}")
    if made.estimate is not None:
        for name, text in _times(made.estimate):
            table.add_row(name, text)
    elif made.accepted:
        table.add_row("Time", "cannot be told: no worker has reported yet")
    return table


def _times(found: Estimate) -> list[tuple[str, str]]:
    rate = "any number of" if found.creates_per_minute is None else f"{found.creates_per_minute:g}"
    boot = f"{found.boot_seconds:.0f} s" + (
        "" if found.boot_seconds_known else " (a guess: none was seen yet)"
    )
    created, running = clock(found.last_create_seconds), clock(found.all_running_seconds)
    text = f"last create in about {created}, all running in about {running}"
    why = f"{rate} creates a minute, {found.jobs_ahead} jobs before it, boots take {boot}"
    return [("Time", text), ("", why), *(("Holds", hold) for hold in found.holds)]


def _say_what_next(out: Console, made: Plan, typed: Typed) -> None:
    again = f" {typed.source}" if typed.source else " with the same options"
    if made.verdict == "refuse":
        out.print("Nothing would be stored: correct what is refused above.")
    elif made.verdict == "accept_some":
        out.print(
            f"{made.accepted} of {made.count} would go on, the others be rejected: {program()} submit{again}"
        )
    else:
        out.print(f"Nothing is stored yet. Send it: {program()} submit{again}")


def money(amount: float | None) -> str:
    """Return an amount of US dollars as people read it; nothing where there is no price."""
    if amount is None:
        return "?"
    return f"${amount:,.4f}" if 0 < amount < _CENTS else f"${amount:,.2f}"

"""What commands print: readable at 80 columns on a terminal, plain in a pipe, JSON and CSV for programs."""

import codecs
import csv
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nodewright.client import Fleet, Job

PIPE_WIDTH: Final = 400
_PLAINLY: Final = "nodewright-plainly"
_PLAIN: Final = {"·": "|", "…": "~", "─": "-", "■": "#", "□": "."}  # one column each, as tables count them
STATE_STYLES: Final = {
    "running": "green",
    "booting": "cyan",
    "creating": "blue",
    "uncertain": "yellow",
    "failed": "red",
    "rejected": "red",
    "deleting": "magenta",
}
ORDER: Final = (
    "running",
    "booting",
    "creating",
    "uncertain",
    "dispatched",
    "queued",
    "submitted",
    "failed",
    "rejected",
    "cancelled",
    "deleting",
    "deleted",
)
JOB_COLUMNS: Final = (
    "id",
    "fleet",
    "label",
    "state",
    "linode_id",
    "ipv4",
    "ipv6",
    "type",
    "region",
    "image",
    "error_code",
    "error_reason",
    "error_field",
    "submitted_at",
    "created_at",
    "running_at",
    "fleet_id",
    "position",
    "attempts",
    "sends",
    "hourly_usd",
    "spent_usd",
    "wasted_usd",
    "sent_at",
    "ended_at",
    "seconds_waited",
    "seconds_creating",
    "seconds_booting",
)
"""Those of the view ``job_results``, by its names; new ones come last, so that a place means the same for ever."""
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which ends the same whatever was being written."""
        raise BrokenPipeError


def speak_plainly(*streams: TextIO) -> None:
    """Let streams whose encoding lacks a character write one of ASCII in its place, instead of failing."""
    codecs.register_error(_PLAINLY, _plainly)
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_PLAINLY)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end


def console(*, stderr: bool = False) -> Console:
    """Return a console; in a pipe it is wide, so that nothing is cut, and writes no escape codes."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return _Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)


def program() -> str:
    """Return how the user calls this program: by its name where the shell finds it, else by the path that was typed."""
    typed = Path(sys.argv[0])
    if typed.name != "nodewright":
        return "nodewright"
    found = shutil.which("nodewright")
    if found is not None and Path(found).samefile(typed):
        return "nodewright"
    here = Path.cwd()
    return str(typed.relative_to(here) if typed.is_relative_to(here) else typed)


def counted(instances: int) -> str:
    """Return ``1 instance``, ``40 instances``."""
    return "1 instance" if instances == 1 else f"{instances} instances"


def print_json(value: Any) -> None:  # noqa: ANN401 - JSON is any of its types
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_job_csv(jobs: Iterable[Job]) -> None:
    """Print jobs as CSV, one row each as it comes."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(JOB_COLUMNS)
    for job in jobs:
        row = _flat(job)
        writer.writerow([safe_cell(row.get(name)) for name in JOB_COLUMNS])


def _flat(job: Job) -> dict[str, Any]:
    row = job.to_json()
    error = row.pop("error", None) or {}
    row |= {f"error_{name}": value for name, value in error.items()}
    spans = {"waited": ("submitted_at", "sent_at"), "creating": ("sent_at", "created_at")}
    spans["booting"] = ("created_at", "running_at")
    seconds = {f"seconds_{name}": _seconds(row[first], row[last]) for name, (first, last) in spans.items()}
    return {**row, "attempts": row["attempt"], **seconds}


def _seconds(first: str | None, last: str | None) -> float | None:
    if first is None or last is None:
        return None
    return round((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds(), 3)


def safe_cell(value: object) -> object:
    """Return what a CSV cell holds for a value: of a text that a spreadsheet would run as a formula, the text."""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return "" if value is None else value


def print_job_json(jobs: Iterable[Job]) -> None:
    """Print ``{"jobs": […]}``, job by job, so that a million rows need no memory."""
    sys.stdout.write('{"jobs": [')
    for index, job in enumerate(jobs):
        sys.stdout.write(",\n" if index else "\n")
        sys.stdout.write(json.dumps(job.to_json(), ensure_ascii=False))
    sys.stdout.write("\n]}\n")


def state_text(text: str, state: str | None = None) -> Text:
    """Return a state, or ``text`` that stands for it, in its colour."""
    return Text(text, style=STATE_STYLES.get(state or text, ""))


def states_line(states: dict[str, int]) -> str:
    """Return ``40 running · 12 booting``."""
    ordered = sorted(states, key=life_order)
    return " · ".join(f"{states[state]} {state}" for state in ordered if states[state]) or "nothing yet"


def life_order(state: str) -> int:
    """Return where a state stands in the order in which people ask for it: what runs comes first."""
    return ORDER.index(state) if state in ORDER else len(ORDER)


def grid(*columns: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table in the house style."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def fleet_table(fleets: Iterable[Fleet]) -> Table:
    """Return fleets as a table."""
    table = grid("FLEET", "COUNT", "STATES", "SUBMITTED", right=["COUNT"])
    for fleet in fleets:
        submitted = str(fleet.to_json().get("created_at") or "")[:19].replace("T", " ")
        table.add_row(
            fleet.name, str(fleet.count), f"{states_line(fleet.states)}{held_note(fleet)}", submitted
        )
    return table


def held_note(fleet: Fleet) -> str:
    """Return `` · paused`` where a person has paused the fleet, else nothing."""
    return " · paused" if fleet.held_at else ""


def job_table(jobs: Iterable[Job]) -> Table:
    """Return jobs as a table: their error where they have one."""
    table = grid("LABEL", "STATE", "LINODE", "IPV4", "REGION", right=["LINODE"])
    rows = list(jobs)
    several_types = len({job.type for job in rows}) > 1
    if several_types:
        table.add_column("TYPE", overflow="fold")
    with_errors = any(job.error for job in rows)
    if with_errors:
        table.add_column("ERROR", overflow="fold", ratio=1)
    for job in rows:
        cells = (job.label, state_text(job.state), str(job.linode_id or ""), job.ipv4 or "", _region(job))
        more = [job.type] if several_types else []
        table.add_row(*cells, *more, *((error_text(job),) if with_errors else ()))
    return table


def _region(job: Job) -> str:
    return str(job.to_json().get("region") or "")


def error_text(job: Job) -> str:
    """Return why a job ended or waits, or nothing."""
    if job.error is None:
        return ""
    reason = f": {job.error.reason}" if job.error.reason else ""
    return f"{job.error.code}{reason}"

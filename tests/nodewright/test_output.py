import csv
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from nodewright.cli.output import JOB_COLUMNS, print_job_csv, safe_cell
from nodewright.client import Job

COMMANDS = Path(__file__).parents[2] / "docs/reference/cli.md"
RESULTS = Path(__file__).parents[2] / "docs/reference/results.md"
SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")
MOMENTS = {
    "submitted_at": "2026-03-01T12:00:00.000Z",
    "sent_at": "2026-03-01T12:00:10.500Z",
    "created_at": "2026-03-01T12:00:12.000Z",
    "running_at": "2026-03-01T12:00:52.000Z",
}


def _rows(monkeypatch, *jobs):
    out = StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_job_csv(jobs)
    return list(csv.DictReader(StringIO(out.getvalue(), newline="")))


def test_the_columns_are_those_of_the_view():
    """Each CSV column is documented as one of the view, and the first sixteen stand where they always stood."""
    documented = set(re.findall(r"^\| `([a-z0-9_]+)`", RESULTS.read_text(), re.MULTILINE))
    assert set(JOB_COLUMNS) <= documented
    csv_part = COMMANDS.read_text().partition("## CSV")[2].partition("`type` and `region`")[0]
    assert tuple(re.findall(r"`([a-z0-9_]+)`", csv_part)) == JOB_COLUMNS
    assert JOB_COLUMNS[:4] == ("id", "fleet", "label", "state")
    assert JOB_COLUMNS[15] == "running_at"


def test_a_row_is_whole(monkeypatch):
    """A row says everything that is known: the error by its parts, and how long each step took."""
    error = {"code": "no_capacity", "reason": 'No, "really"\nnot', "field": "region"}
    (row,) = _rows(monkeypatch, Job(id="1", label="a", state="failed", attempt=2, error=error, **MOMENTS))
    assert (row["error_code"], row["error_field"], row["error_reason"]) == tuple(
        error[name] for name in ("code", "field", "reason")
    )
    assert (row["seconds_waited"], row["seconds_creating"], row["seconds_booting"]) == ("10.5", "1.5", "40.0")
    assert (row["attempts"], row["linode_id"], row["ended_at"]) == ("2", "", "")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_spreadsheet_runs_nothing(start):
    """A text that a spreadsheet would take for a formula, such as the API's words, is kept as text."""
    assert safe_cell(f"{start}cmd()") == f"'{start}cmd()"
    assert safe_cell(f"a{start}b") == f"a{start}b"
    assert safe_cell(-1.5) == -1.5


@pytest.mark.parametrize(
    "arguments", [["jobs", "--csv"], ["jobs", "--json"], ["jobs"], ["inventory", "--format", "csv"]]
)
def test_a_reader_that_has_seen_enough(served, run, arguments):
    """When whoever reads the output goes away, such as `head`, the command ends without a word."""
    run("submit", "--name", "web", "--count", "40", *SPEC, env=served.env)
    served.give_instances()
    command = [sys.executable, "-m", "nodewright", *arguments]
    with subprocess.Popen(command, env=served.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141

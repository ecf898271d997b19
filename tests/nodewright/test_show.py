import json
from io import StringIO

import pytest
from rich.console import Console

from nodewright.cli.show import _print_story
from nodewright.client import JobDetail

SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")
RESET = {
    "code": "outcome_unknown",
    "reason": "ReadError: [Errno 104] Connection reset by peer",
    "field": None,
}
EVENTS = [
    ("12:00:00.100", "validated", "queued", "key 4f2a", {}),
    ("12:02:10.400", "admitted", "dispatched", "worker-1", {}),
    ("12:02:10.420", "sent", "creating", "worker-1", {"attempt": 1, "send": 1}),
    ("12:02:12.500", "unknown", "uncertain", "worker-1", RESET),
    ("12:02:14.600", "adopted", "booting", "worker-2", {"linode_id": 123456, "proof": "tag nw:j.1"}),
    ("12:03:00.000", "seen_running", "running", "worker-2", {}),
]


def told(width):
    """The story of a job whose reply was lost, as it is printed on so many columns."""
    timeline = [
        {"at": f"2026-03-01T{at}Z", "event": event, "state": state, "actor": actor, "detail": detail}
        for at, event, state, actor, detail in EVENTS
    ]
    out = Console(file=StringIO(), width=width)
    _print_story(out, JobDetail(id="j", label="web-0001", state="running", timeline=timeline))
    return out.file.getvalue()


def test_a_story_in_words():
    """Each event is a sentence with its time and its actor, and what took long is said between them."""
    lines = [" ".join(line.split()) for line in told(400).splitlines()]
    assert lines[2:] == [
        "12:00:00.100 accepted, waits for the rate window key 4f2a queued validated",
        "waited 2 min 10 s for the rate window",
        "12:02:10.400 granted a place in the rate window worker-1 dispatched admitted",
        "12:02:10.420 create sent (attempt 1, send 1) worker-1 creating sent",
        "the create took 2 s",
        (
            "12:02:12.500 reply lost, the instance may exist: ReadError: [Errno 104] Connection reset by peer "
            "(outcome_unknown) worker-1 uncertain unknown"
        ),
        "waited 2 s to look it up",
        "12:02:14.600 looked up, adopted instance 123456 (tag nw:j.1) worker-2 booting adopted",
        "booted for 45 s",
        "12:03:00.000 seen up worker-2 running seen_running",
    ]


@pytest.mark.parametrize("width", [60, 80, 119])
def test_a_story_fits_a_narrow_terminal(width):
    """On a narrow terminal sentences are wrapped between words, and no line is longer than the terminal."""
    text = told(width)
    assert max(map(len, text.splitlines())) <= width
    assert "outcome_unknown" in text
    assert "validated" not in text


def test_a_fleet_says_first_what_failed(served, run):
    """`show FLEET` says what failed and what to do before its table."""
    run("submit", "--name", "web", "--count", "2", *SPEC, env=served.env)
    assert "ended otherwise" not in run("show", "web", env=served.env).stdout
    served.put_all("failed", error_code="no_capacity", error_reason="No capacity")
    shown = run("show", "web", env=served.env).stdout
    assert "2 ended otherwise" in shown
    assert "Choose another region" in shown
    assert shown.index("Choose another region") < shown.index("LABEL")


def test_a_story_of_the_real_service(served, run):
    """`show JOB` tells who asked for it; with --json the timeline is as the service keeps it."""
    run("submit", "--name", "web", *SPEC, env=served.env)
    job = json.loads(run("jobs", "--json", env=served.env).stdout)["jobs"][0]
    run("cancel", "web", env=served.env)
    shown = run("show", job["id"], env=served.env).stdout
    assert "accepted, waits for the rate window" in shown
    assert "cancelled, nothing was bought" in shown
    assert "key " in shown
    timeline = json.loads(run("show", job["id"], "--json", env=served.env).stdout)["job"]["timeline"]
    assert [line["event"] for line in timeline] == ["validated", "cancelled"]

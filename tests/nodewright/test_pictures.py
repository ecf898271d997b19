import json
from io import StringIO

import pytest
from rich.console import Console

from nodewright.cli.pictures import (
    Look,
    Picture,
    Seen,
    cells,
    line,
    rate_words,
    seconds_left,
    summary,
    together,
)
from nodewright.cli.reports import JsonLines, Lines, reporter
from nodewright.client import Alarm, Estimate, FailureGroup, Fleet, Outlook, Rate

RATE = Rate(allowed=20, spent=18, seconds=15.0, opens_in_seconds=6.0)
ESTIMATE = Estimate(
    jobs_ahead=0,
    creates_per_minute=80.0,
    boot_seconds=30.0,
    boot_seconds_known=True,
    last_create_seconds=40.0,
    all_running_seconds=70.0,
)
LACKING = FailureGroup(
    code="no_capacity",
    reason="No capacity in us-east",
    count=3,
    remedy="Choose another region.",
    examples=[{"id": "1", "label": "web-0003"}, {"id": "2", "label": "web-0017"}],
)
BROKEN = FailureGroup(
    code="boot_failed", count=1, owning=1, remedy="Look at it.", examples=[{"id": "3", "label": "x"}]
)
ALARM = Alarm(code="unauthorized", message="account default is paused", remedy="set a token")


def fleet(name="web", held_at=None, **states):
    """A fleet with so many jobs in these states."""
    return Fleet(id=name, name=name, count=sum(states.values()), states=states, held_at=held_at)


def at_work(name="web", **more):
    """A fleet as it is seen in the middle of its run."""
    found = fleet(name, running=20, booting=8, queued=9, failed=3)
    return Seen(found, Outlook(rate=RATE, estimate=ESTIMATE), asked_ago=2.0, **more)


def drawn(*seen, width=80, encoding="utf-8", color=None, **more):
    """The lines of a picture on a terminal of this width."""
    out = StringIO()
    console = Console(
        file=_Encoded(out, encoding), width=width, height=40, color_system=color, force_terminal=True
    )
    console.print(Picture(Look(seen, elapsed=42.0, **more)))
    return out.getvalue().splitlines()


class _Encoded:
    """A text file with an encoding."""

    def __init__(self, out, encoding):
        self._out, self.encoding = out, encoding

    def write(self, text):
        text.encode(self.encoding, errors="replace")
        return self._out.write(text)

    def flush(self):
        self._out.flush()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize(
    "seen", [[at_work()], [at_work(), at_work("a-fleet-with-a-name-that-is-long", failures=(LACKING,))]]
)
def test_a_picture_fits_its_terminal(width, seen):
    """No line is wider than the terminal, and each says its numbers whole."""
    lines = drawn(*seen, width=width, alarms=(ALARM,))
    assert max(map(len, lines)) <= width
    assert any("20" in one and ("50%" in one or "20/40" in one) for one in lines)


def test_one_fleet_in_words_and_bars():
    """One fleet is a bar per state, the rate as it stands now, what is left, and what failed with what to do."""
    lines = drawn(at_work(failures=(LACKING, BROKEN)))
    text = "\n".join(lines)
    assert lines[0].strip() == "web  40 instances"
    bars = {one.split()[0]: one for one in lines if one.endswith("%")}
    assert list(bars) == ["running", "booting", "queued", "failed"]
    assert bars["running"].count("█") > 2 * bars["booting"].count("▓") > 10
    assert "18 of 20 in this window, next opens in 4 s" in text
    assert "0:42 elapsed · all running in about 1:08" in text
    assert "4 ended otherwise" in text
    assert "3 no_capacity: No capacity in us-east (web-0003, web-0017, …)" in text
    assert "what to do: Choose another region." in text
    assert "what to do: Look at it. 1 instance of them still cost money." in text
    assert lines[-1] == ""


def test_several_fleets_are_a_row_each():
    """Several fleets are a row each, with what failed in all of them together."""
    done = Seen(fleet("db", running=5))
    ended = Seen(fleet("batch", running=4, failed=1), failures=(LACKING,))
    held = Seen(fleet("late", queued=2, held_at="2026-03-01T12:00:00.000Z"))
    text = "\n".join(drawn(at_work(failures=(LACKING,)), done, ended, held))
    rows = {one.split()[0]: one.split() for one in text.splitlines() if "/" in one}
    assert {name: row[-3:] for name, row in rows.items()} == {
        "web": ["20/40", "3", "1:08"],
        "db": ["5/5", "0", "done"],
        "batch": ["4/5", "1", "ended"],
        "late": ["0/2", "0", "paused"],
    }
    assert "6 no_capacity: No capacity in us-east (3 of web, 3 of batch)" in text
    assert "4 fleets  29 of 52 instances running · 2 at work" in text


def test_without_unicode_and_colour():
    """On a terminal that knows neither, each state has a sign of its own that is plain ASCII."""
    one = "\n".join(drawn(at_work(), encoding="ascii"))
    assert "#" * 20 in one
    assert "+" * 5 in one
    rows = "\n".join(drawn(at_work(), at_work("b"), encoding="ascii"))
    assert "# running" in rows
    for text in (one, rows):
        assert "\x1b" not in text
        assert set(text.replace("·", "")) <= set(map(chr, range(128)))


def test_what_stands_still_and_what_rings():
    """What holds a fleet is said instead of a time, and alarms with what to do; so is a service that is away."""
    still = ESTIMATE.model_copy(update={"holds": ("the fleet is paused by a person",)})
    seen = Seen(fleet(queued=2), Outlook(rate=RATE, estimate=still))
    text = "\n".join(drawn(seen, alarms=(ALARM,), away=True))
    assert "stands still: the fleet is paused by a person" in text
    assert "all running" not in text
    assert "alarm: account default is paused (unauthorized)" in text
    assert "what to do: set a token" in text
    assert "the service does not answer; trying again" in text


@pytest.mark.parametrize("width", [4, 10, 37, 100])
@pytest.mark.parametrize(
    "counts", [{"running": 1, "failed": 499}, {"running": 3, "queued": 3, "failed": 1}, {}]
)
def test_every_state_has_a_cell(counts, width):
    """A single job among hundreds is seen, and the cells are never more than there is room."""
    found = cells(counts, sum(counts.values()), width)
    assert sum(found.values()) == (width if counts else 0)
    assert all(count >= 1 for count in found.values())
    assert set(found) == set(counts)


def test_small_states_take_their_cells_from_the_large():
    """Where every state has a cell the largest one gives way, so that all of them fit."""
    counts = {"running": 1000, "failed": 1, "booting": 1, "queued": 1}
    assert cells(counts, 1003, 4) == dict.fromkeys(counts, 1)
    assert sum(cells(counts, 1003, 7).values()) == 7


def test_more_fleets_than_lines():
    """Of more fleets than the terminal has lines for the first ones are shown, and how many more there are is said."""
    picture = drawn(*(at_work(f"web-{number}") for number in range(50)))
    assert "50 fleets" in picture[0]
    assert "… 18 more" in [line.strip() for line in picture]


def test_the_countdown_goes_on_between_two_answers():
    """An outlook grows older: what was 6 s then is 4 s two seconds later, and never less than nothing."""
    assert rate_words(RATE, 2.0) == "18 of 20 in this window, next opens in 4 s"
    assert rate_words(RATE, 60.0) == "18 of 20 in this window, next opens now"
    assert (
        rate_words(RATE.model_copy(update={"opens_in_seconds": None})) == "18 of 20 spent, in windows of 15 s"
    )
    assert seconds_left(Seen(fleet(booting=1), Outlook(estimate=ESTIMATE), asked_ago=100.0)) == 0.0


def test_a_guess_is_called_one():
    """While no boot was seen yet, the estimate says what it rests on."""
    guessed = ESTIMATE.model_copy(update={"boot_seconds_known": False})
    said = line(Seen(fleet(booting=1), Outlook(estimate=guessed)), 1.0)
    assert said.endswith("all running in about 1:10 if boots take 30 s")


def test_failures_of_several_fleets_are_added_up():
    """What failed for the same reason in several fleets is one group, the largest first."""
    seen = [
        Seen(fleet("a", failed=3), failures=(LACKING,)),
        Seen(fleet("b", failed=4), failures=(LACKING, BROKEN)),
    ]
    assert [(group.code, group.count, group.owning, which) for group, which in together(seen)] == [
        ("no_capacity", 6, 0, "3 of a, 3 of b"),
        ("boot_failed", 1, 1, "1 of b"),
    ]


def test_lines_say_what_changed():
    """In a pipe there is a line per change, and each reason with its remedy once."""
    out = StringIO()
    show = Lines(Console(file=out, width=400))
    first = at_work(failures=(LACKING,))
    for elapsed in (1.0, 2.0):
        show(Look((first,), elapsed=elapsed))
    more = LACKING.model_copy(update={"count": 4})
    show(Look((Seen(fleet(running=36, failed=4), failures=(more,)),), elapsed=9.0))
    assert out.getvalue().splitlines() == [
        f"web: 20 running · 8 booting · 9 queued · 3 failed · creates {rate_words(RATE, 2)} · {summary(first, 1)}",
        "web: ended otherwise: 3 no_capacity: No capacity in us-east (web-0003, web-0017, …)",
        "what to do: Choose another region.",
        "web: 36 running · 4 failed · 0:09 elapsed",
        "web: ended otherwise: 4 no_capacity: No capacity in us-east (web-0003, web-0017, …)",
    ]


@pytest.mark.parametrize(
    ("terminal", "term", "bars"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_who_gets_a_picture(terminal, term, bars):
    """Only a terminal that can redraw gets a picture; a dumb one and a pipe get lines without escape codes."""
    out = StringIO()
    console = Console(file=out, width=80, force_terminal=terminal, _environ={"TERM": term, "NO_COLOR": "1"})
    with reporter(console) as show:
        show(Look((at_work(),)))
    assert ("█" in out.getvalue()) is bars
    assert ("\x1b" in out.getvalue()) is bars
    assert "web" in out.getvalue()


def test_json_per_change():
    """With --json there is an object a line per change, and the last one of a fleet has its jobs."""
    out = StringIO()
    with JsonLines(_OneJob(), out) as show:
        for elapsed in (1.0, 2.0):
            show(Look((at_work(),), elapsed=elapsed))
        show(Look((Seen(fleet(running=40)),), alarms=(ALARM,)))
    first, last = map(json.loads, out.getvalue().splitlines())
    assert (first["settled"], first["outlook"]["rate"]["spent"], "jobs" in first) == (False, 18, False)
    assert (last["settled"], last["outlook"], last["fleet"]["states"]) == (True, None, {"running": 40})
    assert last["jobs"] == ["a job"]
    assert last["alarms"][0]["code"] == "unauthorized"


class _OneJob:
    """A client that knows one job, and that one as JSON."""

    def jobs(self, *, fleet):
        assert fleet == "web"
        return [self]

    def to_json(self):
        return "a job"

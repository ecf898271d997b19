import json

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.picture import COUNT, LIMIT, PICTURE, WINDOW, draw, kept, series
from benchmarks.report import RESULTS, Bound, Row, markdown, medians, shown, worst, write

OURS = Row(
    "Speed", "ours", {"seconds": 10.0, "refused": 0}, {"refused": Bound(most=0)}, runs=[{"seconds": 10.0}]
)
THEIRS = Row("Speed", "theirs", {"seconds": 25.0}, against="ours", ratios=("seconds",))


def test_a_table_shows_ratios():
    """A figure is shown with its ratio to the row that it is compared with; a missing one is empty."""
    lines = markdown([OURS, THEIRS]).splitlines()
    assert lines[0] == "## Speed"
    assert "| ours | 10.00 | 0 |" in lines
    assert any(line.startswith("| theirs | 25.00 (2.50") and line.endswith("|  |") for line in lines)


def test_a_broken_bound_is_bold_and_said():
    """A figure beyond its bound stands out in its table, and fails the run in a sentence that names both."""
    row = Row("Speed", "ours", {"refused": 3}, {"refused": Bound(most=0)})
    assert "**3**" in markdown([row])
    assert row.broken == ["Speed, ours: refused is 3, expected ≤ 0"]
    assert OURS.broken == []


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        (Bound(most=1.01), 1.01, True),
        (Bound(most=1.01), 1.011, False),
        (Bound(least=0.95), 0.95, True),
        (Bound(least=0.95), 0.949, False),
        (Bound(), 7, True),
    ],
)
def test_bounds(bound, value, holds):
    """A bound includes its own value."""
    assert bound.holds(value) is holds


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (146.48, "146.5"), (52.301, "52.30"), (1.0, "1.000"), ("x", "x")],
)
def test_figures_are_short(value, text):
    """A figure has as many digits as say something."""
    assert shown(value) == text


def test_medians_and_worst():
    """Numbers become medians, but what must never happen is shown at its worst; text is the first run's."""
    runs = [
        {"s": 1.0, "refused": 0, "how": "a"},
        {"s": 9.0, "refused": 2, "how": "b"},
        {"s": 2.0, "refused": 0, "how": "c"},
    ]
    assert medians(runs) == {"s": 2.0, "refused": 0, "how": "a"}
    assert worst(runs, "refused") == {"s": 2.0, "refused": 2, "how": "a"}


def test_results_are_written(tmp_path):
    """Markdown and JSON name the machine, the versions and what is broken."""
    write("speed", [OURS], tmp_path)
    document = json.loads((tmp_path / "speed.json").read_text())
    assert document["rows"][0]["figures"] == {"seconds": 10.0, "refused": 0}
    assert document["machine"]["cores"] >= 1
    assert "Python" in (tmp_path / "speed.md").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_committed_results_keep_their_bounds(part):
    """The results that are committed are of every part, and break no bound."""
    document = json.loads((RESULTS / f"{part}.json").read_text())
    assert document["rows"]
    assert [sentence for row in document["rows"] for sentence in row["broken"]] == []


def test_a_series_begins_with_its_first_create():
    """The picture counts seconds from the first create on, and tells what passed from what was refused."""
    creates = [{"at": 101.5, "status": "429"}, {"at": 100.0, "status": "200"}]
    found = series("x", creates)
    assert (found.passed, found.refused) == ([0.0], [1.5])


def test_the_committed_picture_is_of_the_committed_run():
    """The picture in the documentation is what drawing its data gives."""
    assert PICTURE.read_text() == draw(kept(), count=COUNT, limit=LIMIT, window=WINDOW)

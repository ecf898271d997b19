import re
from datetime import timedelta

import pytest

from nodewright.page import pictures
from nodewright.page.pictures import Row, Sample, Scale, Stretch
from tests.support.clock import START

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOSTILE = "\"><script>alert(1)</script>'"


def _numbers(picture, attribute):
    return [float(one) for one in re.findall(rf'<rect [^>]*\b{attribute}="([^"]*)"', picture)]


def test_a_bar_has_a_piece_for_each_share():
    """The pieces lie side by side, as wide as their share of the whole; what is missing to the whole stays empty."""
    picture = pictures.bar([("running", 6), ("failed", 1), ("booting", 0)], 10)

    assert re.findall(r'class="k-(\w+)"', picture) == ["running", "failed"]
    assert _numbers(picture, "x") == [0, 600]
    assert _numbers(picture, "width") == [600, 100]


@pytest.mark.parametrize("whole", [0, 2])
def test_a_bar_is_never_fuller_than_full(whole):
    """Where there are more than the whole, or the whole is nothing, the pieces fill the bar and no more."""
    picture = pictures.bar([("running", 3), ("failed", 1)], whole)

    assert sum(_numbers(picture, "width")) == 1000
    assert "<rect" not in pictures.bar([], 0)


def test_columns_stand_under_the_line_of_the_limit():
    """A window that was spent fully reaches the line; one that nothing was sent in has no column."""
    picture = pictures.columns([20, 0, 10], 20)
    line = float(re.search(r'class="limit" d="M0 ([\d.]+)h', picture)[1])
    tops = _numbers(picture, "y")

    assert len(tops) == 2
    assert tops[0] == pytest.approx(line)
    assert tops[1] > line
    assert "limit" not in pictures.columns([3], 0)


@pytest.mark.parametrize(
    ("seconds", "named"),
    [
        (20, ["12:00:05", "12:00:10", "12:00:15", "12:00:20"]),
        (600, ["12:02", "12:04", "12:06", "12:08", "12:10"]),
        (3 * 3600, ["13:00", "14:00", "15:00"]),
        (4 * 86_400, ["2 Mar", "3 Mar", "4 Mar", "5 Mar"]),
    ],
)
def test_the_axis_names_round_moments(seconds, named):
    """An axis names a handful of round moments, as exactly as they need it."""
    span = Scale(START, START + seconds * SECOND)

    assert [words for _, words in pictures.marks(span)] == named
    assert all(words in pictures.axis(span) for words in named)


def test_a_mark_is_where_its_moment_is():
    """Half of the time is half of the way, and what lies outside is at the edge."""
    span = Scale(START, START + 4 * MINUTE)

    assert (2 / 4 * 100, "12:02") in pictures.marks(span)
    assert [span.at(START + at * MINUTE) for at in (-1, 0, 1, 4, 9)] == [0, 0, 250, 1000, 1000]


def test_a_growing_span_is_seldom_another():
    """While time goes on the end stays the same for a while, so that what has not changed need not be sent again."""
    ends = {pictures.scale(START, START + (600 + after) * SECOND).end for after in range(60)}

    assert len(ends) <= 3
    assert all(end > START + 600 * SECOND for end in ends)


def test_states_over_time_lie_upon_another():
    """Each kind's band begins where the one below it ends; one that never occurs has none."""
    samples = [Sample(START, {"waiting": 4}), Sample(START + MINUTE, {"running": 3, "failed": 1})]

    picture = pictures.area(
        samples, ("running", "booting", "waiting", "failed"), Scale(START, START + MINUTE), 4
    )
    bands = dict(re.findall(r'class="k-(\w+)" d="M([^"]*)Z"', picture))

    assert set(bands) == {"running", "waiting", "failed"}
    assert bands["running"] == "0 1000L1000 250L1000 1000L0 1000"
    assert bands["failed"] == "0 0L1000 0L1000 250L0 0"
    assert re.findall(r">([\d,]+)</text>", picture) == ["4", "2", "0"]


def _rows(count, label="web"):
    return [
        Row(
            f"{label}-{number:04d}",
            f"{label}-{number:04d} running after 1 min",
            f"/jobs/{number}",
            (
                Stretch("waiting", START, START + MINUTE),
                Stretch("running", START + MINUTE, START + 4 * MINUTE),
            ),
        )
        for number in range(1, count + 1)
    ]


def test_each_job_has_a_line_that_is_a_link():
    """Every row can be pointed at and moved to by keyboard, leads to its job, and says in words what it is."""
    picture = pictures.gantt(_rows(3), Scale(START, START + 4 * MINUTE), many=3)

    assert re.findall(r'<a href="([^"]*)"', picture) == ["/jobs/1", "/jobs/2", "/jobs/3"]
    assert picture.count("web-0002 running after 1 min</text></a>") == 1
    waiting = re.search(r'class="k-waiting" d="([^"]*)"', picture)[1]
    running = re.search(r'class="k-running" d="([^"]*)"', picture)[1]
    assert waiting == "M0 0h250M0 1h250M0 2h250"
    assert running == "M250 0h750M250 1h750M250 2h750"


def test_few_rows_are_thick_and_many_are_thin():
    """The more jobs there are the thinner their lines, and the fewer of them are named beside the picture."""
    span, high, named = Scale(START, START + 4 * MINUTE), [], []
    for many in (10, 100, 500):
        picture = pictures.gantt(_rows(50), span, many=many)
        high.append(int(re.search(r'height="(\d+)"', picture)[1]) // 50)
        named.append(len(re.findall(r'<text x="-6"', picture)))

    assert high == sorted(high, reverse=True)
    assert len(set(high)) == 3
    assert named == [50, 5, 5]


def test_what_was_short_can_be_seen():
    """A stretch of no length is drawn, and inside the picture, also at its very end."""
    end = START + 4 * MINUTE
    row = Row("a", "a failed", "/jobs/1", (Stretch("failed", end, end),))

    assert 'class="k-failed" d="M998 0h2"' in pictures.gantt([row], Scale(START, end), many=1)


def test_a_long_label_is_cut_at_its_beginning():
    """Beside its row a label shows its end, by which it differs from its neighbours."""
    picture = pictures.gantt(_rows(1, label="a-very-long-name"), Scale(START, START + MINUTE), many=1)

    assert re.search(r'<text x="-6"[^>]*>…ong-name-0001<', picture)


def test_markup_in_a_label_is_text():
    """Whatever a label, a kind or an address holds, a picture shows it and runs none of it."""
    row = Row(HOSTILE, HOSTILE, f"/jobs/{HOSTILE}", (Stretch(HOSTILE, START, START + MINUTE),))
    span = Scale(START, START + MINUTE)

    drawn = [
        pictures.gantt([row], span, many=1),
        pictures.bar([(HOSTILE, 1)], 1),
        pictures.area([Sample(START, {HOSTILE: 1}), Sample(span.end, {HOSTILE: 1})], [HOSTILE], span, 1),
    ]

    for picture in drawn:
        assert "<script" not in picture
        assert '"><' not in re.sub(r'="[^"<>]*"', "", picture)
    assert "&lt;script&gt;" in drawn[0]

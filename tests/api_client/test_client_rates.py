import pytest

from api_client import RateInfo, parse_rate

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # NOW


def test_reads_all_headers():
    """Well-formed headers become numbers, the reset and the date in epoch seconds."""
    headers = {
        "x-ratelimit-limit": "20",
        "x-ratelimit-remaining": "19",
        "x-ratelimit-reset": "1700000015",
        "retry-after": "14",
        "date": DATE,
    }
    assert parse_rate(headers, now=0.0) == RateInfo(20, 19, 1_700_000_015.0, 14.0, NOW)


def test_missing_headers_are_unknown():
    """A reply without headers says nothing, and that is no error."""
    assert parse_rate({}, now=NOW) == RateInfo()


@pytest.mark.parametrize(
    "text", ["", "-1", "0", "1.5", "1e3", "20, 20", "many", "٣", "2_0", "9" * 40, "1000001"]
)
def test_an_absurd_limit_is_unknown(text):
    """A limit that is no whole number from 1 to a million is unknown."""
    assert parse_rate({"x-ratelimit-limit": text}, now=NOW).limit is None


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), (" 20 ", 20), ("21", None), ("-1", None), ("x", None)]
)
def test_remaining_is_at_most_the_limit(text, expected):
    """Remaining calls run from 0 to the limit; anything else is unknown."""
    headers = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": text}
    assert parse_rate(headers, now=NOW).remaining == expected


def test_remaining_without_a_limit_is_kept():
    """Remaining calls are known even where the limit is not."""
    assert parse_rate({"x-ratelimit-remaining": "7"}, now=NOW).remaining == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1700000000", NOW), ("1700086400", NOW + 86_400), ("1700086401", None), ("-1", None), ("15", None)],
)
def test_a_reset_more_than_a_day_away_is_unknown(text, expected):
    """A reset is believed within a day of the server's clock, or of ours when it has none."""
    assert parse_rate({"x-ratelimit-reset": text}, now=NOW).reset == expected
    assert parse_rate({"x-ratelimit-reset": text, "date": DATE}, now=0.0).reset == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0.0), ("86400", 86_400.0), ("86401", None), ("-1509450059", None), ("Wed, 21 Oct 2015", None)],
)
def test_a_wait_of_more_than_a_day_is_unknown(text, expected):
    """Retry-After is whole seconds up to a day; anything else is unknown."""
    assert parse_rate({"retry-after": text}, now=NOW).retry_after == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 99999 22:13:20 GMT"]
)
def test_an_unreadable_date_is_unknown(text):
    """A Date header that is no date is ignored."""
    assert parse_rate({"date": text}, now=NOW).date is None

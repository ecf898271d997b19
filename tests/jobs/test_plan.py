from jobs.plan import dearest_price, plan_lines, portions, total_price
from jobs.validation import Rules, validate
from tests.support.clock import START
from tests.support.fleets import catalog, fleet_request


def judged(*groups, max_count=100, **fleet):
    """Return what the plan says of a request: its portions and its lines."""
    request, known = fleet_request(*groups, **fleet), catalog()
    report = validate(request, known, rules=Rules(max_count=max_count), now=START)
    found = portions(request, report, known, START)
    return found, plan_lines(found, known)


def good(found):
    """Return how many good jobs each portion has."""
    return [portion.accepted for portion in found]


def test_a_type_that_is_unknown_has_no_price():
    """Groups of an unknown type are one line without prices, and cost nothing in the sum."""
    found, (line,) = judged({"type": "x"}, {"type": "x", "count": 2, "label_pattern": "b-{index}"})
    assert (line.count, line.accepted, line.price, line.backups) == (3, 0, None, None)
    assert line.to_json()["hourly_usd"] is None
    assert total_price(found).hourly == 0


def test_one_group_with_backups_and_one_without_are_one_line():
    """The line's price is of both, what backups cost is of the one that has them."""
    first, second = {"backups_enabled": True}, {"label_pattern": "b-{index}"}
    for groups in ((first, second), (second, first)):
        found, (line,) = judged(*groups)
        assert (good(found), line.count, line.price.hourly) == ([1, 1], 2, 15_000)
        assert line.backups is not None


def test_a_request_that_is_refused_as_a_whole_has_no_good_job():
    """A fleet that is too large has none; a group whose labels cannot be made has none of its own."""
    assert good(judged({"count": 101})[0]) == [0]
    assert good(judged({}, {"label_pattern": "{nam}"})[0]) == [1, 0]


def test_alternatives_show_what_they_may_cost():
    """A line says what is taken in its place, and the sum what it costs at first and at most."""
    found, (line,) = judged({"count": 2, "type": ["g6-nanode-1", "g6-standard-2"]})
    assert [one["type"] for one in line.to_json()["alternatives"]] == ["g6-standard-2"]
    assert (total_price(found).hourly, dearest_price(found).hourly) == (15_000, 72_000)


def test_a_spread_has_a_line_for_each_region():
    """A spread shows how many instances go where."""
    spread = {"count": 7, "region": None, "regions": {"us-east": 2, "eu-west": 1}}
    found, lines = judged(spread)
    assert [(line.region, line.count) for line in lines] == [("us-east", 5), ("eu-west", 2)]
    assert good(found) == [5, 2]

from jobs.plan import good_jobs, plan_lines, total_price
from jobs.validation import Rules, validate
from tests.support.clock import START
from tests.support.fleets import catalog, fleet_request


def judged(*groups, max_count=100, **fleet):
    """Return a request with what validation and the plan say of it: good jobs and lines."""
    request, found = fleet_request(*groups, **fleet), catalog()
    report = validate(request, found, rules=Rules(max_count=max_count), now=START)
    good = good_jobs(request, report)
    return request, good, plan_lines(request, found, good)


def test_a_type_that_is_unknown_has_no_price():
    """Groups of an unknown type are one line without prices, and cost nothing in the sum."""
    request, good, (line,) = judged({"type": "x"}, {"type": "x", "count": 2, "label_pattern": "b-{index}"})
    assert (line.count, line.accepted, line.price, line.backups) == (3, 0, None, None)
    assert line.to_json()["hourly_usd"] is None
    assert total_price(request, catalog(), good).hourly == 0


def test_one_group_with_backups_and_one_without_are_one_line():
    """The line's price is of both, what backups cost is of the one that has them."""
    first, second = {"backups_enabled": True}, {"label_pattern": "b-{index}"}
    for groups in ((first, second), (second, first)):
        _, good, (line,) = judged(*groups)
        assert (good, line.count, line.price.hourly) == ([1, 1], 2, 15_000)
        assert line.backups is not None


def test_a_request_that_is_refused_as_a_whole_has_no_good_job():
    """A fleet that is too large has none; a group whose labels cannot be made has none of its own."""
    assert judged({"count": 101})[1] == [0]
    assert judged({}, {"label_pattern": "{nam}"})[1] == [1, 0]

import pytest

from api_client import (
    BadRequest,
    Forbidden,
    Instance,
    MethodNotAllowed,
    NotFound,
    NotSent,
    OutcomeUnknown,
    RateInfo,
    Reason,
    ServerFault,
    Throttled,
    Unauthorized,
)
from api_client.errors import ErrorDetail
from worker.outcomes import (
    LabelInUse,
    Limited,
    Paused,
    Refused,
    Unknown,
    Unsent,
    facts_of,
    rate_facts,
    read_error,
)

UNIQUE = Reason("Label must be unique among your linodes", "label")


def error(kind, *reasons, rate=None, summary="what happened"):
    """An error of a create, as the client raises it."""
    detail = ErrorDetail("POST", "/linode/instances", summary, errors=tuple(reasons))
    return kind(detail if rate is None else ErrorDetail("POST", "/linode/instances", summary, rate=rate))


REFUSALS = [
    ("A valid plan type by that ID was not found", "type", "unknown_type"),
    ("region is not valid", "region", "unknown_region"),
    ("image is not valid", "image", "unknown_image"),
    ("Must provide valid root_pass, authorized_keys, or authorized_users", None, "rejected_by_api"),
    ("Password does not meet strength requirement", "root_pass", "weak_password"),
    ("Password does not meet strength requirements: it is too short", None, "weak_password"),
    ("Must be 3-64 characters", "label", "invalid_label"),
    (
        "A limit on your account is preventing the deployment of the selected Linode plan. Please contact Support.",
        None,
        "account_limit",
    ),
    (
        "You've reached the limit for the number of active vCPUs in this Linode plan. Please contact Support.",
        "type",
        "account_limit",
    ),
    ("The selected region has no capacity for this plan", "region", "no_capacity"),
    ("This plan is currently unavailable in this region", None, "no_capacity"),
    ("Premium plans are sold out", "type", "no_capacity"),
    ("type is required", "type", "rejected_by_api"),
    ("Something that nobody has recorded", "firewall_id", "rejected_by_api"),
    ("swap_size is not valid", "swap_size", "rejected_by_api"),
]


@pytest.mark.parametrize(("words", "field", "code"), REFUSALS, ids=[words[:30] for words, _, _ in REFUSALS])
def test_refusals(words, field, code):
    """A definite no of the API ends the job with a stable code and the API's own words."""
    outcome = read_error(error(BadRequest, Reason(words, field)))
    assert isinstance(outcome, Refused)
    assert outcome.why.code == code
    assert words in outcome.why.reason
    assert outcome.why.field == (field if code != "weak_password" else "root_pass")


def test_accumulated_errors():
    """Several errors at once are all told; the first of them gives the code."""
    reasons = [Reason("region is not valid", "region"), Reason("image is not valid", "image")]
    outcome = read_error(error(BadRequest, *reasons))
    assert (outcome.why.code, outcome.why.field) == ("unknown_region", "region")
    assert outcome.why.reason == "region is not valid (region); image is not valid (image)"


@pytest.mark.parametrize(
    "others", [[], [Reason("region is not valid", "region")]], ids=["alone", "among others"]
)
def test_a_label_in_use_is_always_looked_up(others):
    """The label that is not unique may be our own: alone or among other errors, it ends nothing by itself."""
    for reasons in ([*others, UNIQUE], [UNIQUE, *others]):
        outcome = read_error(error(BadRequest, *reasons))
        assert isinstance(outcome, LabelInUse)
        assert outcome.why.code == "label_taken"


PAUSES = [
    (Unauthorized, "Invalid Token", "unauthorized"),
    (Unauthorized, "Your OAuth token is not authorized to use this endpoint.", "missing_scope"),
    (Forbidden, "Unauthorized", "unauthorized"),
    (BadRequest, "Account Limit reached. Please open a support ticket.", "account_limit"),
]


@pytest.mark.parametrize(("kind", "words", "code"), PAUSES)
def test_what_concerns_the_account_pauses_it(kind, words, code):
    """A token that is not accepted and a full account say nothing about the job: the account pauses."""
    outcome = read_error(error(kind, Reason(words)))
    assert isinstance(outcome, Paused)
    assert (outcome.why.code, outcome.why.reason) == (code, words)


UNKNOWNS = [
    (OutcomeUnknown, "Please try again", False),
    (OutcomeUnknown, None, False),
    (ServerFault, "Internal server error", True),
    (ServerFault, "Bad gateway", True),
    (ServerFault, None, True),
    (BadRequest, "Linode busy.", False),
    (NotFound, "Not found", False),
    (MethodNotAllowed, "Method Not Allowed", False),
]


@pytest.mark.parametrize(("kind", "words", "fault"), UNKNOWNS)
def test_whatever_is_no_clear_no_is_unknown(kind, words, fault):
    """408, 5xx, a reply that cannot be read and every reply that is not expected may have been applied."""
    outcome = read_error(error(kind, *([Reason(words)] if words else [])))
    assert isinstance(outcome, Unknown)
    assert (outcome.why.code, outcome.fault) == ("outcome_unknown", fault)
    assert outcome.why.reason == (words or "what happened")


def test_not_sent():
    """What never left the machine costs nothing and is told as that."""
    outcome = read_error(error(NotSent, summary="connection refused"))
    assert isinstance(outcome, Unsent)
    assert (outcome.why.code, outcome.why.reason, outcome.ours) == ("not_sent", "connection refused", False)


def test_throttled():
    """A 429 ends nothing; its headers are kept for the window."""
    rate = RateInfo(limit=20, remaining=0, reset=None, retry_after=7, date=None)
    outcome = read_error(error(Throttled, rate=rate))
    assert isinstance(outcome, Limited)
    assert (outcome.facts.allowed, outcome.facts.retry_after) == (20, 7)


def test_a_refusal_without_words():
    """A refusal that says nothing still ends in a reason that can be read."""
    outcome = read_error(error(BadRequest))
    assert (outcome.why.code, outcome.why.reason) == ("rejected_by_api", "what happened")


def test_the_words_for_no_capacity_can_be_told():
    """Which words mean that a region is full is a guess, so the caller may know better."""
    words = error(BadRequest, Reason("Out of stock", "region"))
    assert read_error(words).why.code == "rejected_by_api"
    assert read_error(words, no_capacity_words=("out of stock",)).why.code == "no_capacity"


@pytest.mark.parametrize(
    ("reset", "date", "left"), [(110, 100, 10), (90, 100, None), (110, None, None), (None, 100, None)]
)
def test_the_reset_counts_by_the_servers_own_clock(reset, date, left):
    """The reset is told as seconds from the reply; without the server's date, or in the past, it is unknown."""
    rate = RateInfo(limit=20, remaining=3, reset=reset, retry_after=None, date=date)
    assert rate_facts(rate).reset_seconds == left


def test_facts_of_an_instance():
    """The first IPv4 address is kept; an instance without one is no error."""
    instance = Instance(
        id=7, label="web", ipv4=["192.0.2.1", "10.0.0.1"], type="g6-nanode-1", region="us-central"
    )
    assert (facts_of(instance).ipv4, facts_of(instance).region) == ("192.0.2.1", "us-central")
    assert facts_of(Instance(id=7)).ipv4 is None

import pytest

from nodewright.credentials import check_token, judge, judge_refusal
from nodewright.failures import BadInput
from nodewright.settings import Settings
from simulator import SimulatorOptions, background


@pytest.mark.parametrize(
    ("scopes", "fault"),
    [
        (None, None),
        ({"*"}, None),
        ({"linodes:read_write", "images:read_only"}, None),
        ({"linodes:read_only"}, "missing_scope"),
        (set(), "missing_scope"),
        ({"unknown"}, "unauthorized"),
    ],
)
def test_scopes_decide(scopes, fault):
    """A token is good if it may write instances; what the API does not say is no fault."""
    found = judge(scopes).fault
    assert found is None if fault is None else fault in found


def test_a_token_that_may_not_read_a_profile():
    """A 401 for want of a scope on the profile says nothing against a token that may write instances."""
    words = "Your OAuth token is not authorized to use this endpoint."
    assert judge_refusal({"linodes:read_write"}, words).fault is None
    assert "unauthorized" in judge_refusal({"unknown"}, "Invalid Token").fault


def test_tokens_against_an_api():
    """The API's own answers tell a good token from a wrong one and from one that may only read."""
    with background(
        SimulatorOptions(tokens=("good", "reader:linodes:read_only,account:read_only"))
    ) as simulator:

        def check(token):
            return check_token(Settings.load({"LINODE_TOKEN": token, "LINODE_API_URL": simulator.url}))

        assert check("good") == check("good").__class__()
        assert "unauthorized" in check("wrong").fault
        assert "missing_scope" in check("reader").fault


def test_an_api_that_is_away_is_a_warning():
    """When the API cannot be reached the token is not judged."""
    found = check_token(Settings.load({"LINODE_TOKEN": "t", "LINODE_API_URL": "http://127.0.0.1:1/v4"}))
    assert found.fault is None
    assert "cannot be reached" in found.warning


def test_no_token():
    """Without a token the message says where to get one."""
    with pytest.raises(BadInput, match=r"cloud\.linode\.com"):
        check_token(Settings.load({}))

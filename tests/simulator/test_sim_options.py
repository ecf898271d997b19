import argparse
import json
from pathlib import Path

import pytest

from simulator import (
    Bucket,
    FaultError,
    SimulatorOptions,
    Token,
    add_arguments,
    build_world,
    from_arguments,
)
from simulator.accounts import parse_token
from simulator.options import parse_jitter, parse_limit


def _read(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(arguments))


def test_without_arguments_the_defaults_hold():
    """Documented limit, 60 s to running, one printed token, port 4100."""
    options = _read()
    assert options == SimulatorOptions(port=4100)
    world = build_world(options, now=0.0)
    assert world.limits.classes["create"] == (Bucket(20, 15.0),)
    assert list(world.tokens) == ["simulated-token"]


def test_every_argument_reaches_the_world(tmp_path):
    """Limits, times, headers, tokens, faults, seed and jitter arrive where they work."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("faults:\n  - {action: busy, start: 5}\n  - action: slow\n    delay: 2\n")
    options = _read(
        *("--port", "0", "--create-limit", "5", "--create-window", "7", "--limit", "list=none"),
        *("--backends", "2", "--boot", "10", "--boot-spread", "3", "--latency", "1.5", "--deletion", "2"),
        *("--speed", "20", "--headers", "limit-only", "--token", "a", "--token", "b@acme:linodes:read_only"),
        *("--faults", str(rules), "--seed", "9", "--jitter", "50±30", "--instance-limit", "100"),
    )
    world = build_world(options, now=100.0)
    assert world.limits.classes["create"] == (Bucket(5, 7.0),)
    assert world.limits.classes["list"] == ()
    assert world.limits.backends == 2
    assert world.settings.jitter == (0.05, 0.03)
    assert (world.settings.boot, world.settings.headers, world.settings.seed) == (10.0, "limit-only", 9)
    assert world.tokens["b"] == Token("b", "acme", frozenset({"linodes:read_only"}))
    assert [one.rule.start for one in world.faults.rules] == [105.0, 100.0]


def test_a_create_limit_of_zero_is_no_limit():
    """Benchmarks turn the limit off."""
    assert build_world(SimulatorOptions(create_limit=0), now=0.0).limits.classes["create"] == ()


def test_small_grammars():
    """Limits, jitter and tokens are written in one word each."""
    assert parse_limit("create=5/15,10/30") == ("create", (Bucket(5, 15.0), Bucket(10, 30.0)))
    assert parse_jitter("50+-30") == (50.0, 30.0)
    assert parse_jitter("20") == (20.0, 0.0)
    assert parse_token("t:linodes:read_write,events:read_only").scopes == {
        "linodes:read_write",
        "events:read_only",
    }


@pytest.mark.parametrize("text", ["create", "nothing=1/2"])
def test_a_wrong_limit_is_refused(text):
    """An unknown class, or no windows, is an error that says what was expected."""
    with pytest.raises(ValueError, match="limit: expected"):
        parse_limit(text)


def test_a_token_needs_a_value():
    """Scopes alone are no token."""
    with pytest.raises(ValueError, match="token: expected"):
        parse_token(":linodes:read_only")


@pytest.mark.parametrize("text", ["{", "5", "faults: 5"])
def test_an_unreadable_rules_file_is_refused(tmp_path, text):
    """Not YAML, or not a list of rules: one error that names the file."""
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(FaultError, match=r"rules\.yaml"):
        build_world(SimulatorOptions(faults=path), now=0.0)


def test_a_rules_file_may_be_json(tmp_path):
    """JSON is YAML too."""
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"action": "busy"}]))
    assert len(build_world(SimulatorOptions(faults=path), now=0.0).faults.rules) == 1


def test_a_missing_rules_file_is_refused():
    """A file that is not there is an error, not an empty list."""
    with pytest.raises(FaultError, match="cannot be read"):
        build_world(SimulatorOptions(faults=Path("/nonexistent/rules.yaml")), now=0.0)

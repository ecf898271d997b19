import argparse
import subprocess
import sys
from dataclasses import fields
from importlib import resources

import pytest

import simulator
from simulator import Rule, add_arguments
from simulator.control import _ACTIONS as LEVERS
from simulator.faults import ACTIONS

README = resources.files("simulator").joinpath("README.md").read_text("utf-8")


def _options():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return [action.option_strings[0] for action in parser._actions if action.dest != "help"]


def test_exports_are_sorted_and_there():
    """__all__ is sorted as ruff sorts it, and every name in it exists."""
    names = simulator.__all__
    kinds = [
        sorted(filter(test, names))
        for test in (str.isupper, lambda n: n[0].isupper() and not n.isupper(), str.islower)
    ]
    assert [name for kind in kinds for name in kind] == list(names)
    assert all(hasattr(simulator, name) for name in names)


@pytest.mark.parametrize("option", _options())
def test_every_option_is_documented(option):
    """An option that README.md does not name is a defect."""
    assert f"`{option}`" in README


@pytest.mark.parametrize("word", [*ACTIONS, *(spec.name for spec in fields(Rule))])
def test_every_action_and_key_of_a_rule_is_documented(word):
    """A rule can be written from README.md alone."""
    assert f"`{word}`" in README


@pytest.mark.parametrize("lever", [f"{method} {name}" for method, name in LEVERS])
def test_every_control_call_is_documented(lever):
    """A lever that README.md does not name is a defect."""
    assert f"`{lever}`" in README


def test_importing_does_nothing_and_needs_nothing_of_ours():
    """The import reads no catalog, starts no thread, and loads none of the other rooms."""
    code = (
        "import sys, threading, simulator; from simulator.catalog import load_catalog;"
        "assert load_catalog.cache_info().currsize == 0; assert threading.active_count() == 1;"
        "assert not {'api_client', 'jobs', 'worker', 'nodewright'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Fault rules from a file: the one place in this package that reads the disk."""

from pathlib import Path

import yaml

from simulator.faults import FaultError


def read_rules(path: Path) -> list[object]:
    """The rules of a YAML or JSON file: a list, or a mapping with the list under ``faults``."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FaultError(f"{path}: cannot be read as YAML or JSON: {error}") from error
    rules = values.get("faults") if isinstance(values, dict) else values
    if not isinstance(rules, list):
        raise FaultError(f"{path}: expected a list of rules, got {type(rules).__name__}")
    return rules

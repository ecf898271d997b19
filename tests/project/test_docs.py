"""The pages hold to the code: what is not documented fails here."""

import ast
import json
import re
from pathlib import Path
from random import Random

import pytest
import yaml
from jsonschema_rs import Draft202012Validator
from sqlalchemy import text

from jobs.database import Database
from jobs.documents import load_document
from jobs.remedies import ENDED, WAITING
from jobs.requests import FLEET_FIELDS, GROUP_FIELDS
from jobs.schema import upgrade
from jobs.states import State
from jobs.tables import metadata
from nodewright.cli import demo as demo_command
from nodewright.settings import describe_settings
from scripts import gendocs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")], key=str)
ROOMS = ("api_client", "jobs", "worker", "simulator", "nodewright")
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def _name(path):
    return str(path.relative_to(ROOT))


def _first_column(page, heading=None):
    words = (DOCS / page).read_text()
    if heading is not None:
        words = words.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z0-9_]+)`", words, re.MULTILINE))


# Pages as such


@pytest.mark.parametrize("page", gendocs.PARTS)
def test_generated_parts_are_fresh(page):
    """What is generated is what the code says now; `make docs` writes it again."""
    assert gendocs.page(page) == (DOCS / page).read_text()


@pytest.mark.parametrize("name", gendocs.FILES)
def test_generated_files_are_fresh(name):
    """A file that is generated as a whole is what the code says now."""
    assert gendocs.FILES[name]() == (DOCS / name).read_text()


def test_the_example_files_fit_their_schema():
    """An editor that reads the schema finds nothing wrong in the examples."""
    schema = Draft202012Validator(json.loads((DOCS / "reference/fleet.schema.json").read_text()))
    for path in (ROOT / "examples").glob("*.yaml"):
        schema.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    """Each relative link of a page names a file that exists."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=_name)
def test_every_page_can_be_found(page):
    """Each page of docs/ is in its index."""
    if page != DOCS / "README.md":
        assert f"({page.relative_to(DOCS)})" in (DOCS / "README.md").read_text()


def _code_of(page):
    """Return what a page shows as code: its blocks, and what stands between backticks."""
    found = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL)
    return "\n".join(block or word for block, word in found)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist(page):
    """Each `make` target and each `nodewright` command that a page shows exists."""
    code = _code_of(page)
    targets = {word for line in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", code) for word in line.split()}
    commands = set(re.findall(r"(?:^|[\s/$'])(?<!from )nodewright ([a-z]+)\b", code))

    assert targets <= TARGETS
    assert commands <= set(gendocs.commands())


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_variables_exist(page):
    """Each variable that a page names is a setting."""
    names = {info.name for info in describe_settings()} | {
        f"{info.name}_FILE" for info in describe_settings() if info.file
    }
    named = set(re.findall(r"\b(?:NODEWRIGHT|LINODE)_[A-Z_]+[A-Z]\b", page.read_text()))

    assert named <= names


# The README and its like


def test_readme_shows_the_demo_as_it_is():
    """The demo's own introduction stands in the README word for word."""
    assert " ".join(demo_command._INTRODUCTION.split()) in " ".join(README.split())


def test_readme_shows_the_example_as_it_is():
    """The fleet file in the README is the one in examples/."""
    shown = re.search(r"```yaml\n# examples/web\.yaml\n(.*?)```", README, re.DOTALL)[1]

    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "examples/web.yaml").read_text())


def test_changelog_has_this_version():
    """The project's version has its section."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]

    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_contributing_quotes_real_code():
    """The function that shows our style is the one in the code."""
    quoted = re.search(r"```python\n(def room.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]

    assert quoted in (ROOT / "jobs/windows.py").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=_name)
def test_examples_can_be_read(path):
    """Each example is a fleet file without a fault of shape."""
    assert load_document(path.read_text(), source=path.name).total >= 1


# Reference


def test_every_field_of_a_fleet_file_is_documented():
    """Each key that a fleet file may have stands in the how-to, and no other."""
    page = (DOCS / "howto/fleet-files.md").read_text()
    cells = re.findall(r"^\| ((?:`\w+` ?)+)\|", page, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert documented == FLEET_FIELDS | GROUP_FIELDS | {"user_data_file", "authorized_keys_file"}


def test_every_state_is_documented():
    """Each state says what it means, and who moves the job on."""
    assert set(gendocs.said_of(State)) == {state.value for state in State}


def test_every_result_column_is_documented(tmp_path):
    """The results page lists the view's columns, all and no other."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    upgrade(database, dice=Random(0))
    with database.read() as tx:
        columns = {row[1] for row in tx.execute(text("PRAGMA table_info(job_results)"))}
    database.close()

    events = _first_column("reference/results.md", "Timelines")

    assert _first_column("reference/results.md", "Columns") == columns
    assert events == set(metadata.tables["job_events"].columns.keys())


def test_the_questions_are_sql_that_runs(tmp_path):
    """Each query on the results page runs."""
    database = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    upgrade(database, dice=Random(0))
    queries = re.findall(r"```sql\n(.*?)```", (DOCS / "reference/results.md").read_text(), re.DOTALL)
    with database.read() as tx:
        for query in queries:
            tx.execute(text(query))
    database.close()

    assert queries


# Error codes

FIXED = (
    *("unknown_type", "unknown_region", "unknown_image", "image_too_large", "region_lacks_capability"),
    *("unavailable", "invalid_label", "label_taken", "weak_password", "user_data_too_large", "account_limit"),
    *("no_capacity", "unauthorized", "missing_scope", "quota_exceeded", "rejected_by_api", "boot_failed"),
    *("boot_timeout", "vanished", "deadline_exceeded", "stopped_by_policy", "credentials_erased"),
)
"""What callers were promised; these names never change."""

REMEDIES = {**ENDED, **WAITING}

CODE_AT = {"Reason": 0, "Why": 0, "Verdict": 0, "Alarm": 0, "Problem": 2}
"""Where the code stands among the arguments of what carries one."""
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def _codes_in(path):
    position = {**CODE_AT, "Problem": 1} if "service" in path.parts else CODE_AT
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        arguments = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if name in position and len(node.args) > position[name]:
            arguments.append(node.args[position[name]])
        for argument in arguments:
            yield from _constants(argument)


def _constants(node):
    """Yield the strings that an argument may be: a constant, or either side of a conditional."""
    if isinstance(node, ast.IfExp):
        yield from (*_constants(node.body), *_constants(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value


def _used_codes():
    files = [path for room in ("jobs", "worker", "nodewright") for path in (ROOT / room).rglob("*.py")]
    return {code for path in files for code in _codes_in(path)}


def test_every_code_that_is_used_is_documented():
    """A code that errors.md does not explain fails the build."""
    assert _used_codes() - _first_column("reference/errors.md") == set()


def test_every_code_of_a_job_has_a_remedy():
    """What people are told to do about a code is what errors.md says, of every code that a job can carry."""
    words = (DOCS / "reference/errors.md").read_text().partition("## Alarms")[0]
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| .* \| (.*) \|$", words, re.MULTILINE))

    assert {**REMEDIES, **documented} == REMEDIES
    assert set(FIXED) <= set(ENDED)
    assert set(REMEDIES) - set(documented) == {"boot_failed"}, "it is reserved"


def test_every_fixed_code_is_documented():
    """The codes that callers were promised are all there."""
    assert set(FIXED) - _first_column("reference/errors.md") == set()


def test_reserved_codes_are_not_used():
    """A code that is issued by now is no longer only reserved: it moves up on the page."""
    assert _first_column("reference/errors.md", "Reserved").isdisjoint(_used_codes())


def test_the_search_for_codes_finds_them():
    """The search is not blind: it sees codes in each of the three rooms, and in conditionals."""
    assert {
        "image_tight",
        "outcome_unknown",
        "idempotency_conflict",
        "missing_scope",
        "parked",
    } <= _used_codes()

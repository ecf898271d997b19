"""The house rules that no linter knows."""

import ast
import importlib
import itertools
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
ROOMS = ("api_client", "jobs", "worker", "simulator", "nodewright")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_TO_IMPORT = {"jobs.migrations.env"}
"""Alembic runs it, within a migration only."""


def _modules():
    for room in ROOMS:
        yield room
        for info in pkgutil.walk_packages([str(ROOT / room)], f"{room}."):
            if info.name not in NOT_TO_IMPORT:
                yield info.name


MODULES = sorted(_modules())


def _tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


# Importing

WATCH = """
import importlib, sys, threading
seen = []
def hook(event, arguments):
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "sqlite3.connect", "os.mkdir", "os.remove"}:
        seen.append((event, str(arguments)))
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append((event, str(arguments)))
sys.dont_write_bytecode = True
sys.addaudithook(hook)
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not seen, seen
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_does_nothing():
    """Every module can be imported without opening, writing, connecting or starting anything."""
    subprocess.run([sys.executable, "-c", WATCH, *MODULES], cwd=ROOT, check=True)


LIVING = {
    "Engine",
    "Celery",
    "FastAPI",
    "Settings",
    "Client",
    "LinodeClient",
    "Database",
    "Redis",
    "Console",
    "Typer",
}
"""What must be made by somebody, and never by an import."""


@pytest.mark.parametrize("name", MODULES)
def test_nothing_lives_in_a_module(name):
    """No module holds an engine, app, client or settings object."""
    values = vars(importlib.import_module(name)).items()

    assert [key for key, value in values if type(value).__name__ in LIVING] == []


def _public():
    return [name for name in MODULES if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("name", _public())
def test_what_is_exported_is_there(name):
    """Each name of `__all__` exists; ruff keeps them sorted."""
    module = importlib.import_module(name)

    assert [one for one in module.__all__ if not hasattr(module, one)] == []


# Rooms


def test_rooms_keep_their_contracts():
    """Imports run downwards only."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_no_import_cycle():
    """No module imports itself by way of others, not even within its room."""
    graph = grimp.build_graph(*ROOMS, exclude_type_checking_imports=True, cache_dir=None)
    edges = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    cycles = [edge for edge in edges if graph.chain_exists(importer=edge[1], imported=edge[0])]

    assert cycles == []


def _environment_readers():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
                    yield str(path.relative_to(ROOT))


def test_only_the_settings_read_the_environment():
    """Everything else is told."""
    assert set(_environment_readers()) <= {"nodewright/settings.py"}


# What is committed

ADDRESSES = tuple(
    "".join(parts)
    for parts in (
        ("pypi", ".org"),
        ("python", "hosted"),
        ("npm", "js"),
        ("proxy.", "golang"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/opt/", "wheels"),
        ("/opt/", "pypi"),
        ("--find", "-links"),
        ("--index", "-url"),
    )
)


def test_no_address_of_an_index_and_no_path_of_a_machine():
    """Nothing committed says where packages come from, or where somebody's checkout lies."""
    found = [
        f"{path.relative_to(ROOT)}: {address}"
        for path in _tracked()
        for address in ADDRESSES
        if address in path.read_text(errors="replace")
    ]

    assert found == []


def test_no_other_lock():
    """There is one way to pin: uv.lock would name an index."""
    assert "uv.lock" not in {path.name for path in _tracked()}


def test_every_lock_entry_has_a_hash():
    """Nothing can be installed whose content is not known."""
    for name in ("requirements.lock", "requirements-run.lock", "requirements-browser.lock"):
        entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


# Make


MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z-]+):(.*)$", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(
    ("target", "rest"), TARGETS, ids=lambda one: one if re.fullmatch(r"[a-z-]+", one) else ""
)
def test_every_target_says_what_it_does(target, rest):
    """The menu is complete, and no target is mistaken for a file."""
    assert " ## " in rest
    assert f".PHONY: {target}\n" in MAKEFILE


@pytest.mark.parametrize("target", ["demo", "test", "check", "coverage", "docs", "format", "up"])
def test_targets_set_up_what_they_need(target):
    """Each of them works in a fresh clone."""
    assert dict(TARGETS)[target].startswith(" $(READY)")


def test_ci_calls_what_exists():
    """Each step of CI is a target."""
    steps = re.search(r"STEPS=\((.*?)\n\)", (ROOT / ".ci/run").read_text(), re.DOTALL)[1]
    called = [line.split()[0] for line in steps.strip().splitlines() if not line.strip().startswith("#")]

    assert called
    assert set(called) <= set(dict(TARGETS))


# Exceptions to the linter


def _bare_exceptions(path):
    """Yield each exception that has no reason beside it, below it, or where its file first made it."""
    explained = set()
    lines = [*path.read_text().splitlines(), ""]
    for line, below in itertools.pairwise(lines):
        found = re.search(r"# noqa: ([A-Z0-9]+(?:, [A-Z0-9]+)*)(.*)", line)
        if not found:
            continue
        codes = set(found[1].split(", "))
        if found[2].strip() or below.strip().startswith("#"):
            explained |= codes
        elif codes - explained:
            yield line.strip()


def test_every_exception_to_the_linter_has_its_reason():
    """A `noqa` without a reason is a silence."""
    sources = [path for path in _tracked() if path.suffix == ".py"]
    found = {str(path.relative_to(ROOT)): list(_bare_exceptions(path)) for path in sources}

    assert {name: lines for name, lines in found.items() if lines} == {}


def test_every_exception_of_the_project_has_its_reason():
    """Each line of `ignore` and of the exceptions per file in pyproject.toml ends with a reason."""
    lint = (
        (ROOT / "pyproject.toml")
        .read_text()
        .partition("[tool.ruff.lint]\n")[2]
        .partition("[tool.importlinter]")[0]
    )
    lines = [line for line in lint.splitlines() if re.match(r'\s+"[A-Z]+[0-9]*",|"[a-z/*]+" = \[.+\]', line)]

    assert lines
    assert [line for line in lines if "#" not in line] == []


def test_pure_modules_exist():
    """Each module that coverage is asked of is there."""
    assert [name for name in PYPROJECT["tool"]["nodewright"]["pure"] if not (ROOT / name).exists()] == []


# Tests


def _silent_tests(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and not ast.get_docstring(node)
        ):
            yield node.name


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_every_test_opens_with_a_sentence(path):
    """Each test says what is so."""
    assert list(_silent_tests(path)) == []

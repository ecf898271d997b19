"""What Prometheus and Grafana are shipped holds to the code, without them; `make alerts` asks promtool itself."""

import json
import re

import pytest
import yaml

from jobs import tallies
from jobs.alarms import _PAUSED, CODES
from jobs.states import State
from nodewright.metrics import METRICS, series
from tests.alerts.__main__ import CONFIG, DASHBOARD, ROOT, RULES, expressions, rules, written
from tests.alerts.cases import CASES
from tests.project.test_docs import _codes_in, _first_column

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
ENTRIES = set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE))
SERIES = {name for metric in METRICS for name in series(metric)}
LABELS = {name: set(METRICS[metric].labels) for metric in METRICS for name in series(metric)}
OF_PROMETHEUS = {"job", "instance", "le"}


def unknown(expression):
    """Return what an expression says of us that does not exist: metrics, and labels of those that do."""
    found = {name for name in re.findall(r"\bnodewright_\w+", expression) if name not in SERIES}
    for name, matchers in re.findall(r"\b(nodewright_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        found |= {f"{name}.{label}" for label in asked - LABELS.get(name, set()) - OF_PROMETHEUS}
    return found


@pytest.mark.parametrize("name", rules())
def test_a_rule_is_whole(name):
    """A rule asks for metrics that exist, has both cases, a known severity, and an entry in the runbook."""
    rule = rules()[name]
    assert unknown(rule["expr"]) == set()
    assert {case.fires for case in CASES if case.alert == name} == {True, False}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert name in ENTRIES
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / path).exists()
    assert anchor in {name.lower(), "{{ $labels.code }}"}


def test_every_entry_of_the_runbook_is_needed():
    """The runbook speaks of the alerts and alarms that there are, all of them and no other."""
    assert set(rules()) | set(CODES) == ENTRIES


def test_every_alarm_has_its_code_in_the_list():
    """The codes that alarms are raised with are the ones that the metrics begin with."""
    used = {*_codes_in(ROOT / "jobs/alarms.py"), *_PAUSED}
    assert used == set(CODES)


def test_every_code_that_ends_a_job_begins_at_nothing():
    """The codes of ended jobs are those of the page on errors."""
    assert _first_column("reference/errors.md", "Codes of jobs") == set(tallies.CODES)


def test_the_cases_are_those_of_the_rules():
    """No case tests an alert that is gone, and its metrics exist."""
    assert {case.alert for case in CASES} == set(rules())
    for case in CASES:
        assert {found for name in case.series for found in unknown(name)} == set(), case


def test_the_search_for_unknown_metrics_finds_them():
    """The search is not blind: neither to names, nor to labels, nor to a histogram asked without its suffix."""
    assert unknown('rate(nodewright_job_total{a="b"}[5m])') == {
        "nodewright_job_total",
        "nodewright_job_total.a",
    }
    assert unknown('nodewright_jobs{status="x",job="y"}') == {"nodewright_jobs.status"}
    assert unknown("nodewright_job_booting_seconds") == {"nodewright_job_booting_seconds"}


# The dashboard -------------------------------------------------------------------------------------------------------


def panels():
    """Return the panels that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_the_dashboard_asks_for_what_there_is():
    """Each panel's metrics exist, and so do their labels, in expressions and in legends."""
    for panel in panels():
        for target in panel["targets"]:
            assert unknown(target["expr"]) == set(), panel["title"]
            names = re.findall(r"nodewright_\w+", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert any(label in LABELS[name] for name in names), (panel["title"], label)


def test_the_dashboard_shows_every_metric():
    """No metric is left out, but for what says only which version runs."""
    shown = {name for one in expressions() for name in re.findall(r"nodewright_\w+", one)}
    unseen = {metric for metric in METRICS if shown.isdisjoint(series(metric))}
    assert unseen == {
        "nodewright_build_info",
        "nodewright_refused_messages_total",
        "nodewright_chore_failing",
    }


def test_the_dashboard_can_be_imported():
    """It names no data source of ours, ids are unique, and no two panels lie on each other."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert (dashboard["uid"], dashboard["title"]) == ("nodewright", "Nodewright")
    assert [one["type"] for one in dashboard["templating"]["list"]] == ["datasource", "query"]
    sources = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert sources == {"${datasource}"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_states_that_the_dashboard_names_exist():
    """A state that is asked for by name is one."""
    named = [found for one in expressions() for found in re.findall(r'state=~?"([^"]+)"', one)]
    asked = {state for found in named for state in found.split("|")} - {"pending", "dead"}
    assert asked <= set(State)
    assert asked


# The example ---------------------------------------------------------------------------------------------------------


def test_the_example_scrapes_with_a_key():
    """Prometheus is given the rules and a key by file; the job's name is the one that rules and dashboard ask for."""
    config = yaml.safe_load(CONFIG.read_text())
    assert config["rule_files"] == [RULES.name]
    (job,) = config["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("nodewright", "/metrics")
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_key"}


def test_what_promtool_is_given():
    """Each case becomes a test of promtool's, with the alert's own labels and words where it fires."""
    tests = written(CASES)["tests"]
    assert len(tests) == len(CASES)
    (first, *_) = [test for test in tests if test["name"] == "NodewrightAlarm fires"]
    (expected,) = first["alert_rule_test"][0]["exp_alerts"]
    assert expected["exp_labels"] == {"severity": "warning", "job": "nodewright", "code": "parked"}
    assert expected["exp_annotations"]["runbook"] == "docs/runbook.md#parked"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_metrics_that_a_page_names_exist(page):
    """Each metric that a page of the docs names is one."""
    named = unknown(page.read_text())
    assert {
        name
        for name in named
        if name.removesuffix("_bucket") not in METRICS
        and name not in METRICS
        and not name.startswith("nodewright_read_")  # the role of PostgreSQL that may read results
    } == set()

"""Alerts, by Prometheus' own judge: `promtool` lints a real scrape, checks the rules, and tests each of them.

python -m tests.alerts
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.alerts.cases import CASES, SERVICE, Case
from tests.nodewright.conftest import _make_site, _serving

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD: Final = ROOT / "deploy/grafana/nodewright.json"
CONFIG: Final = ROOT / "deploy/prometheus/prometheus.yml"


def main() -> int:
    """Ask promtool; return its worst exit code."""
    promtool = shutil.which("promtool")
    if promtool is None:
        print("promtool is not installed: it is in Debian's package `prometheus`", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        tests = Path(folder) / "tests.yml"
        tests.write_text(yaml.safe_dump(written(CASES), sort_keys=False))
        print(f"=== {len(CASES)} cases of {len(rules())} rules, and a scrape")
        panels = Path(folder) / "panels.yml"
        panels.write_text(yaml.safe_dump(recorded(expressions())))
        return max(
            asked(promtool, "check", "metrics", given=scraped(Path(folder) / "site")),
            asked(promtool, "check", "config", "--syntax-only", str(CONFIG)),
            asked(promtool, "check", "rules", str(RULES)),
            asked(promtool, "check", "rules", str(panels)),
            asked(promtool, "test", "rules", str(tests)),
        )


def asked(*command: str, given: str = "") -> int:
    """Run promtool; return its exit code. Linting says nothing where all is well, so that any word is a complaint."""
    done = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
    print(done.stdout + done.stderr, end="")
    return done.returncode or (1 if command[1:3] == ("check", "metrics") and done.stdout + done.stderr else 0)


def scraped(folder: Path) -> str:
    """Return what a real service answers."""
    folder.mkdir()
    site = _make_site(folder / "home")
    try:
        with _serving(site):
            httpx.get(f"{site.url}/livez", trust_env=False)
            return httpx.get(f"{site.url}/metrics", trust_env=False).raise_for_status().text
    finally:
        site.database.close()


def rules() -> dict[str, dict[str, Any]]:
    """Return the alert rules by their names."""
    return {
        rule["alert"]: rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    }


def expressions() -> list[str]:
    """Return what the dashboard's panels ask, as Grafana would ask it."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "1m").replace("$job", "nodewright") for one in asked]


def recorded(expressions: Sequence[str]) -> dict[str, Any]:
    """Return a file of rules that record these expressions, because promtool reads expressions in rules only."""
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    return {"groups": [{"name": "panels", "rules": rules}]}


def written(cases: tuple[Case, ...]) -> dict[str, Any]:
    """Return promtool's own test file."""
    return {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [_test(case) for case in cases]}


def _test(case: Case) -> dict[str, Any]:
    series = [{"series": _labelled(name), "values": values} for name, values in case.series.items()]
    asked = {"eval_time": f"{case.minute}m", "alertname": case.alert, "exp_alerts": _expected(case)}
    name = f"{case.alert} {'fires' if case.fires else 'does not fire'}"
    return {"name": name, "interval": "1m", "input_series": series, "alert_rule_test": [asked]}


def _expected(case: Case) -> list[dict[str, Any]]:
    if not case.fires:
        return []
    rule = rules()[case.alert]
    said = {name: _filled(words, case) for name, words in rule["annotations"].items()}
    return [{"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": said}]


def _labelled(name: str) -> str:
    metric, _, own = name.rstrip("}").partition("{")
    return f"{metric}{{{','.join(filter(None, (own, SERVICE)))}}}"


def _filled(words: str, case: Case) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: case.labels[found[1]], words)


if __name__ == "__main__":
    sys.exit(main())

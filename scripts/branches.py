"""Says how much of each pure module's branches the tests take, and fails below 95 %.

    python scripts/branches.py .coverage.json

The list of pure modules is in pyproject.toml (`[tool.nodewright] pure`); the numbers come from `coverage json`.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Final

LEAST: Final = 95.0
ROOT: Final = Path(__file__).parent.parent


def percent(summary: dict[str, int]) -> float:
    """Return the share of branches taken; a module without branches is judged by its lines."""
    kind, total = ("branches", "num_branches") if summary["num_branches"] else ("lines", "num_statements")
    return 100.0 * summary[f"covered_{kind}"] / summary[total] if summary[total] else 100.0


def main(report: Path) -> int:
    """Print the table; return 1 if a module is below the mark or was never imported."""
    pure: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["nodewright"]["pure"]
    files = json.loads(report.read_text())["files"]
    shares = {name: percent(files[name]["summary"]) if name in files else 0.0 for name in pure}
    for name, share in shares.items():
        print(f"{share:6.1f} %  {name}{'' if share >= LEAST else '   <- too little'}")
    low = [name for name, share in shares.items() if share < LEAST]
    print(f"{len(pure) - len(low)} of {len(pure)} pure modules have {LEAST:.0f} % of their branches covered")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

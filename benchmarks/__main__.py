"""Every part of the suite in one run: ``python -m benchmarks [--quick] [PART …]``."""

import argparse
import sys
import time
from importlib import import_module

from benchmarks.report import run, verdict

PARTS = ("rate_window", "burst", "changing_limits", "competitors", "bulk")
"""The modules of the suite, in the order of their runs."""


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default all")
    parser.add_argument("--quick", action="store_true", help="smaller, with wide bounds; writes nothing")
    values = parser.parse_args()
    broken: list[str] = []
    for part in values.parts or PARTS:
        began = time.monotonic()
        broken += run(part, import_module(f"benchmarks.{part}").measure, quick=values.quick)
        print(f"=== {part}: {time.monotonic() - began:.0f} s\n", file=sys.stderr, flush=True)
    return verdict(broken)


if __name__ == "__main__":
    sys.exit(main())

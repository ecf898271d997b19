"""Who gets the places of a window: by priority, then in fair shares between tenants, then by age.

Each tenant is ahead of the others by the calls that it was served, divided by its weight; whoever is least ahead is
served next. One who comes back after a pause starts level with the others: nobody saves up turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Candidate:
    """A job that could be granted, in the order of its tenant: the most urgent one first, of equals the oldest."""

    behind: int
    """Minus its priority."""
    job_id: str
    tenant: str


def choose(
    candidates: Sequence[Candidate], most: int, *, weights: Mapping[str, int], ahead: Mapping[str, float]
) -> tuple[list[str], dict[str, float]]:
    """Choose at most ``most`` jobs; return their ids, and by how much each tenant is ahead from then on.

    Of several places the first goes to the tenant that is least ahead, whatever its priority, so that nobody starves.
    """
    queues: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, reverse=True):
        queues.setdefault(candidate.tenant, []).append(candidate)
    served = {**dict.fromkeys(queues, 0.0), **ahead}
    chosen: list[str] = []
    level = 0.0
    while queues and len(chosen) < most:
        fairly = not chosen and most > 1
        heads = [queue[-1] for queue in queues.values()]
        head = min(heads, key=lambda one: _rank(one, served[one.tenant], fairly=fairly))
        queues[head.tenant].pop()
        if not queues[head.tenant]:
            del queues[head.tenant]
        chosen.append(head.job_id)
        level = max(level, served[head.tenant])
        served[head.tenant] += 1 / weights.get(head.tenant, 1)
    return chosen, {tenant: tag - level for tenant, tag in served.items() if tag > level}


def _rank(head: Candidate, served: float, *, fairly: bool) -> tuple[float, float, str]:
    return (served, head.behind, head.job_id) if fairly else (head.behind, served, head.job_id)

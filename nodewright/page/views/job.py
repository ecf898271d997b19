"""One job: how it stands, why, what happened to it, what was asked for, what came of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobs import queries
from jobs.remedies import remedy
from jobs.states import WAITING, State
from jobs.views import EventView, JobDetail, JobView
from nodewright.page.shown import Asked, Shown
from nodewright.page.views import telling
from nodewright.page.views.rendering import known, parts
from nodewright.service.deps import ServiceDeps
from nodewright.words import gap, sentence

_CANCELLABLE: Final = frozenset({*WAITING, State.CREATING, State.UNCERTAIN})
_LEFT_OUT: Final = frozenset(
    {"count", "label", "name", "secrets", "type", "region", "regions", "image", "authorized_keys", "prefer"}
)
_LONGEST: Final = 300


@dataclass(frozen=True)
class Line:
    """One line of a job's story; ``gap``: what the time before it was spent on."""

    at: datetime
    kind: str
    words: str
    by: str
    gap: str | None


def show_job(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show one job."""
    tenant = asked.visitor.tenant
    detail = deps.service.job(asked.path["job_id"], tenant)
    with deps.service.reading() as tx:
        request = queries.request_of(tx, detail.job.id)
        now = tx.now
    job = detail.job
    return Shown(
        job.label,
        parts(
            "job.html",
            asked,
            now,
            job=job,
            sentence=telling.state_of_job(job, now),
            remedy=None if job.error is None else remedy(job.error.code),
            lines=list(story(detail)),
            request=asked_for(detail, request),
            instance=instance(job),
            may_cancel=job.state in _CANCELLABLE,
            may_retry=job.state == State.FAILED,
        ),
    )


def story(detail: JobDetail) -> Iterator[Line]:
    """Yield the lines of a job's timeline, oldest first, with what the time between them was spent on."""
    before: EventView | None = None
    for event in detail.timeline:
        spent = None if before is None else (event.at - before.at).total_seconds()
        waited = None if before is None or spent is None else gap(before.event, before.state, spent)
        words = sentence(event.event, telling.plain(event.detail), event.state)
        kind = telling.KIND_OF.get(event.state, "ended")
        yield Line(event.at, kind, words[:1].upper() + words[1:], telling.who(event.actor), waited)
        before = event


def asked_for(detail: JobDetail, request: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return what the request asked for, as facts. Secrets are not in what a row stores."""
    job, wish = detail.job, detail.asked
    regions = telling.listed(wish.regions) if wish.spread else " or ".join(wish.regions)
    facts: list[tuple[str, object]] = [
        ("type", " or ".join(wish.types)),
        ("region", f"spread over {regions}" if wish.spread else regions),
        ("image", job.image),
    ]
    facts += [
        (name.replace("_", " "), _short(value))
        for name, value in request.items()
        if name not in _LEFT_OUT and value is not False
    ]
    if keys := request.get("authorized_keys"):
        facts.append(("SSH keys", telling.counted(len(keys), "key")))
    if secrets := request.get("secrets"):
        facts.append(("secrets", f"{telling.listed(secrets)} (encrypted, never shown)"))
    return known(facts)


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def instance(job: JobView) -> list[tuple[str, object]]:
    """Return what is known of a job's instance, as facts."""
    if job.linode_id is None:
        return []
    cost = f"{telling.usd(job.hourly_microusd)} an hour, {telling.usd(job.spent_microusd)} so far"
    return known(
        [
            ("Linode", job.linode_id),
            ("IPv4", job.ipv4),
            ("IPv6", job.ipv6),
            ("type", job.got_type or job.type),
            ("region", job.got_region or job.region),
            ("cost", cost),
        ]
    )

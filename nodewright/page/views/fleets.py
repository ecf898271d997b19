"""The first page: what needs a look, then the fleets, newest first."""

from typing import Final

from jobs import overview
from jobs.database import Transaction
from jobs.queries import as_id
from jobs.states import State
from jobs.views import FleetView
from nodewright.page.shown import Asked, Shown
from nodewright.page.views import telling
from nodewright.page.views.rendering import link, parts
from nodewright.service.deps import ServiceDeps

PAGE: Final = 25
_EXPLAINED: Final = 10
"""So many fleets that failed in part say why."""
_FEW: Final = 1_000
"""Of more failures the fleet's own page says why: here they would be counted again and again."""


def show_fleets(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show alarms and fleets."""
    visitor = asked.visitor
    after = as_id(asked.query.get("after", ""))
    found = deps.service.fleets(visitor.tenant, limit=PAGE + 1, after=after)
    status = deps.service.status(visitor.part)
    shown = found[:PAGE]
    with deps.service.reading() as tx:
        reasons = _reasons(tx, shown)
        now = tx.now
    held_up = any(alarm.code in telling.HOLDING_UP for alarm in status.alarms)
    older = link("/", after=shown[-1].id) if len(found) > PAGE else None
    return Shown(
        "Fleets",
        parts(
            "fleets.html",
            asked,
            now,
            fleets=shown,
            reasons=reasons,
            alarms=status.alarms,
            sentences={fleet.id: telling.state_of(fleet) for fleet in shown},
            paces={} if held_up else {fleet.id: telling.pace_of(fleet, status.windows) for fleet in shown},
            newest=link("/") if after else None,
            older=older,
        ),
    )


def _reasons(tx: Transaction, fleets: list[FleetView]) -> dict[str, tuple[overview.FailureGroup, ...]]:
    wrong = [fleet for fleet in fleets if 0 < _failed(fleet) <= _FEW]
    return {fleet.id: overview.failures(tx, fleet.id) for fleet in wrong[:_EXPLAINED]}


def _failed(fleet: FleetView) -> int:
    return fleet.states.get(State.FAILED, 0) + fleet.states.get(State.REJECTED, 0)

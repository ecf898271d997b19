"""What holds everything up: workers, what waits longest, jobs in doubt, catalogs, deliveries, chores."""

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from jobs import overview
from jobs.overview import CatalogView
from jobs.queries import CATALOG_KINDS
from nodewright.page.shown import Asked, Shown
from nodewright.page.views.rendering import parts
from nodewright.service.deps import ServiceDeps


def show_system(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show how the installation is."""
    visitor = asked.visitor
    status = deps.service.status(visitor.part)
    with deps.service.reading() as tx:
        system = overview.system(tx, visitor.part)
        now = tx.now
    shown = parts(
        "system.html",
        asked,
        now,
        alarms=status.alarms,
        status=status,
        system=system,
        version=version("nodewright"),
        kinds=CATALOG_KINDS,
        catalogs=_by_account(system.catalogs),
        ailing=[chore for chore in system.chores if chore.error],
    )
    return Shown("System", shown)


def _by_account(catalogs: Sequence[CatalogView]) -> dict[str, dict[str, datetime]]:
    """Return when each account's catalogs were read."""
    found: dict[str, dict[str, datetime]] = {}
    for one in catalogs:
        found.setdefault(one.account, {})[one.kind] = one.fetched_at
    return found

"""The rate windows: what is spent, when the next one opens, how they were used lately; and what is paused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from jobs import admission, holds, overview, queries
from jobs.admission import CREATE
from jobs.database import Transaction
from jobs.overview import Pace
from jobs.views import WindowView
from jobs.windows import Window, next_opening, rolled, room, usable
from nodewright.page.shown import Asked, Shown
from nodewright.page.views import telling
from nodewright.page.views.rendering import parts
from nodewright.service.deps import ServiceDeps
from nodewright.words import duration

SLOTS: Final = 40
"""So many of the last windows are drawn."""
_MEANT: Final = {
    CREATE: "Creates",
    "DELETE /linode/instances/{id}": "Deletes",
    "GET /linode/instances": "Lists of instances",
    "GET /linode/instances/{id}": "Looks at one instance",
    "GET /linode/types": "Catalog of types",
    "GET /regions": "Catalog of regions",
    "GET /regions/availability": "Catalog of availability",
    "GET /images": "Catalog of images",
}
"""What the calls of a route are for, the most important one first."""


@dataclass(frozen=True)
class Line:
    """One window as it stands now."""

    view: WindowView
    words: str
    spent: int
    usable: int
    withheld: int
    opens: str

    @property
    def shares(self) -> list[tuple[str, float]]:
        """What the bar is made of."""
        return [("spent", self.spent), ("withheld", self.withheld)]


@dataclass(frozen=True)
class Lately:
    """How one token's windows of creates were used lately."""

    pace: Pace
    amounts: list[int]
    span: str
    words: str


@dataclass(frozen=True)
class TokenLines:
    """One token's windows, those of creates first."""

    account: str
    token: str
    lines: list[Line]


def show_limits(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show rate windows and pauses."""
    visitor = asked.visitor
    views = deps.service.status(visitor.part).windows
    with deps.service.reading() as tx:
        ids = queries.account_ids(tx, visitor.part)
        held = holds.held(tx, ids, visitor.tenant)
        context = {
            "held": held,
            "tokens": by_token(list(_lines(tx, views))),
            "lately": [used(pace, tx.now) for pace in overview.pace(tx, ids)],
        }
        now = tx.now
    return Shown("Limits", parts("limits.html", asked, now, **context))


def _lines(tx: Transaction, views: Sequence[WindowView]) -> Iterator[Line]:
    for (token, route), found in groupby(views, key=lambda view: (view.token, view.route)):
        for view, window in zip(found, admission.read_windows(tx, token, route), strict=False):
            yield line_of(view, window, tx.now)


def by_token(lines: Sequence[Line]) -> list[TokenLines]:
    """Return the windows of each token, those of creates first."""
    found: dict[str, TokenLines] = {}
    for line in lines:
        view = line.view
        found.setdefault(view.token, TokenLines(view.account, view.token, [])).lines.append(line)
    order = {route: place for place, route in enumerate(_MEANT)}
    for token in found.values():
        token.lines.sort(key=lambda line: order.get(line.view.route, len(order)))
    return list(found.values())


def line_of(view: WindowView, stored: Window, now: datetime) -> Line:
    """Return a window as it stands at ``now``, whatever was last written of it."""
    window = rolled(stored, now)
    return Line(
        view=view,
        words=_MEANT.get(view.route, ""),
        spent=min(window.spent, window.allowed) if window.allowed else window.spent,
        usable=usable(window),
        withheld=window.withheld,
        opens=opens(window, now),
    )


def opens(window: Window, now: datetime) -> str:
    """Return when the next calls may go, in words."""
    left = room(window, now)
    if left is None:
        return "there is no limit"
    if left:
        return f"{left} may go now"
    seconds = (next_opening(window, now) - now).total_seconds()
    closed = "refused; " if window.closed_until is not None else ""
    return f"{closed}opens in {duration(max(seconds, 0))}"


def used(pace: Pace, now: datetime) -> Lately:
    """Return how full the last windows were, the present one last."""
    last = int(now.timestamp() // pace.seconds)
    amounts = [0] * SLOTS
    for burst in pace.windows:
        slot = SLOTS - 1 - (last - int(burst.began_at.timestamp() // pace.seconds))
        if 0 <= slot < SLOTS:
            amounts[slot] += burst.creates
    busy = [amount for amount in amounts if amount]
    span = duration(SLOTS * pace.seconds)
    if not busy:
        return Lately(pace, amounts, span, f"No creates in the last {span}")
    sent = telling.counted(sum(busy), "create")
    most = f"{max(busy)} of {pace.allowed}" if pace.allowed else str(max(busy))
    words = f"{sent} in the last {span}, in {telling.counted(len(busy), 'window')}; {most} in the fullest"
    return Lately(pace, amounts, span, words)

"""Somebody who looks at the page: the views, called as the routes call them, and what they read on it."""

import html
import re
from random import Random
from typing import Any

from starlette.datastructures import QueryParams

from jobs import house, schema
from jobs.database import Database
from jobs.sessions import Sessions
from nodewright.page.shown import Asked, Shown, Visitor
from nodewright.page.views import VIEWS
from nodewright.service import ServiceDeps
from tests.support.clock import FakeClock
from tests.support.fleets import ACCOUNT, PARTS, TENANT, make_service, move_in

EVERYTHING = frozenset({"submit", "read", "operate", "admin"})


class Looker:
    """An installation on SQLite whose clock stands still, and a person who is logged in to its page."""

    def __init__(self, folder: Any) -> None:
        self.clock = FakeClock()
        self.database = Database(f"sqlite:///{folder / 'jobs.db'}", clock=self.clock)
        schema.upgrade(self.database, dice=Random(0))
        move_in(self.database)
        with self.database.write() as tx:
            house.store_catalogs(tx, ACCOUNT, PARTS)
            house.heartbeat(tx, "worker-1@here")
        self.visitor = Visitor(TENANT, "key nwk_test", EVERYTHING, csrf="the-token", logged_in=True)
        self.deps = ServiceDeps(
            make_service(self.database),
            authenticate=lambda _key: None,
            sessions=Sessions(self.database, dice=Random(9)),
            hooks=None,
            ready=lambda: None,
        )

    @property
    def now(self):
        """The present moment."""
        return self.clock.now

    def show(self, view: str, query: str = "", **path: str) -> Shown:
        """Return a page as it is shown; ``view`` is its path's template."""
        asked = Asked(self.visitor, path=path, query=QueryParams(query), url=view)
        return VIEWS[view](self.deps, asked)

    def markup(self, view: str, query: str = "", **path: str) -> str:
        """Return a page's HTML."""
        return "\n".join(self.show(view, query, **path).parts.values())

    def read(self, view: str, query: str = "", **path: str) -> str:
        """Return what somebody reads on a page."""
        return text_of(self.markup(view, query, **path))


def text_of(markup: str) -> str:
    """Return the words of some HTML, with one space between them."""
    return (
        " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split()).replace(" .", ".").replace(" ,", ",")
    )

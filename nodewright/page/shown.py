"""What the parts of the page agree on: who looks, what a view is, and what it shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import QueryParams

from nodewright.service.deps import ServiceDeps


@dataclass(frozen=True)
class Visitor:
    """Who looks at the page, and what they may do there."""

    tenant: str
    actor: str
    """How timelines name them: ``key nwk_abcdefgh``."""
    scopes: frozenset[str]
    csrf: str = ""
    """What each form of theirs carries; empty where nobody is logged in, and then nothing can be done."""
    logged_in: bool = False

    def may(self, scope: str) -> bool:
        """Whether they may do what needs ``scope``."""
        return scope in self.scopes

    @property
    def part(self) -> str | None:
        """The tenant whose part of the whole they may see; None: all of it."""
        return None if self.may("admin") else self.tenant


@dataclass(frozen=True)
class Asked:
    """One look at one page: the parts of its path, and its query."""

    visitor: Visitor
    path: Mapping[str, str] = field(default_factory=dict)
    query: QueryParams = field(default_factory=QueryParams)
    url: str = "/"
    """Path and query, as the browser shows them."""


@dataclass(frozen=True)
class Shown:
    """A rendered page: its title, and its parts by name, each replaced by itself when it changes."""

    title: str
    parts: Mapping[str, str]
    """HTML without the element around it, in the order in which it is read."""
    status: HTTPStatus = HTTPStatus.OK
    live: bool = True
    """Whether it can change while somebody looks."""


View = Callable[[ServiceDeps, Asked], Shown]
"""Reads what a page shows, and renders it. Raises what the jobs service raises, as NotFound."""

"""From values to the named parts of a page: templates, of which each block is a part."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from jobs.views import moment
from nodewright.page import pictures
from nodewright.page.shown import Asked
from nodewright.page.views import telling


@cache
def environment() -> Environment:
    """Return the templates of the page. Everything that they are given is escaped."""
    made = Environment(
        loader=PackageLoader("nodewright.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "length": telling.length,
        "usd": telling.usd,
        "counted": telling.counted,
        "listed": telling.listed,
        "kind": telling.KIND_OF.__getitem__,
        "kinds": telling.kinds_of,
        "number": lambda value: f"{value:,}",
    }
    made.globals |= {"bar": pictures.bar, "columns": pictures.columns, "MEANT": telling.MEANT}
    made.globals["ui"] = made.get_template("macros.html").module
    return made


class Times:
    """Writes moments for somebody who looks ``now``."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self, at: datetime) -> Markup:
        """Return a moment as an element that programs read too."""
        exact = moment(at)
        return Markup('<time datetime="{}">{}</time>').format(exact, telling.clock(at, self._now))

    def ago(self, at: datetime) -> Markup:
        """Return how long ago a moment was, and, for whoever points at it, when."""
        words = telling.age(at, self._now)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            moment(at), telling.clock(at, self._now), words
        )


def parts(template: str, asked: Asked, now: datetime, **context: Any) -> dict[str, str]:  # noqa: ANN401 - what a template takes
    """Return the blocks of a template, rendered, in the order in which it has them."""
    page = environment().get_template(template)
    given = page.new_context({"visitor": asked.visitor, "asked": asked, "at": Times(now), "now": now, **context})
    return {name: "".join(block(given)).strip() for name, block in page.blocks.items()}


def rows_of(pairs: Iterable[tuple[str, object]]) -> list[tuple[str, Markup]]:
    """Return facts for a list of terms, without those that are unknown."""
    return [(term, escape(value)) for term, value in pairs if value not in {None, ""}]


def query(asked: Asked, **changes: str | None) -> str:
    """Return the present page's path with its query changed; None takes a parameter out."""
    kept = [(key, value) for key, value in asked.query.multi_items() if key not in changes and value]
    kept += [(key, value) for key, value in changes.items() if value is not None]
    return f"{asked.url.partition('?')[0]}{_encoded(kept)}"


def _encoded(pairs: Iterable[tuple[str, str]]) -> str:
    from urllib.parse import urlencode

    text = urlencode(list(pairs))
    return f"?{text}" if text else ""


def link(path: str, wanted: Mapping[str, str | None]) -> str:
    """Return a path with a query; what is None is left out."""
    return path + _encoded((key, value) for key, value in wanted.items() if value)

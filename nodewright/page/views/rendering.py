"""From values to the named parts of a page: templates, of which each block is a part."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from jobs.views import moment
from nodewright.page import pictures
from nodewright.page.shown import Asked
from nodewright.page.views import telling
from nodewright.words import duration


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
        "duration": duration,
        "usd": telling.usd,
        "counted": telling.counted,
        "listed": telling.listed,
        "without": telling.without,
        "who": telling.who,
        "kind": telling.KIND_OF.__getitem__,
        "kinds": telling.kinds_of,
        "number": _number,
        "code": _code,
    }
    made.globals |= {"bar": pictures.bar, "columns": pictures.columns, "MEANT": telling.MEANT, "link": link}
    made.globals["ui"] = made.get_template("macros.html").module
    return made


def _number(value: int) -> str:
    return f"{value:,}"


def _code(text: str) -> Markup:
    """Return words of ours with what stands between backticks as code."""
    pieces = (escape(piece) for piece in text.split("`"))
    marked = (Markup("<code>{}</code>").format(piece) if at % 2 else piece for at, piece in enumerate(pieces))
    return Markup("").join(marked)


class Times:
    """Writes moments for somebody who looks ``now``."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self, at: datetime) -> Markup:
        """Return a moment as an element that programs read too."""
        return Markup('<time datetime="{}">{}</time>').format(moment(at), telling.clock(at, self._now))

    def ago(self, at: datetime) -> Markup:
        """Return how long ago a moment was, and, for whoever points at it, when."""
        words, exact = telling.age(at, self._now), telling.clock(at, self._now)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(moment(at), exact, words)


def parts(template: str, asked: Asked, now: datetime, **context: Any) -> dict[str, str]:  # noqa: ANN401 - what a template takes
    """Return the blocks of a template, rendered, in the order in which it has them."""
    page = environment().get_template(template)
    given = {"visitor": asked.visitor, "asked": asked, "at": Times(now), "now": now, **context}
    inside = page.new_context(given)
    return {name: "".join(block(inside)).strip() for name, block in page.blocks.items()}


def link(path: str, wanted: Mapping[str, str | None] | None = None, **more: str | None) -> str:
    """Return a path with a query; what is None or empty is left out."""
    pairs = [(key, value) for key, value in {**(wanted or {}), **more}.items() if value]
    return quote(path, safe="/%") + (f"?{urlencode(pairs)}" if pairs else "")


Pairs = Iterable[tuple[str, object]]


def known(pairs: Pairs) -> list[tuple[str, object]]:
    """Return facts for a list of terms, without those that are unknown."""
    return [(term, value) for term, value in pairs if value is not None and value != ""]

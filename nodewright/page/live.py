"""Pages that change while somebody looks: each is drawn once for all who see the same, and sent as what has changed.

Who looks differs in the token that their forms carry. So a page is drawn with a mark in its place, and each stream puts
its own session's there. Nothing is remembered of a listener but which drawing it was sent last.
"""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from random import Random, SystemRandom
from typing import Final

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from markupsafe import escape
from sqlalchemy.exc import OperationalError
from starlette.responses import Response

from jobs.feed import stamp
from jobs.service import NotFound
from nodewright.page.drawing import asked_of
from nodewright.page.shown import Asked, Shown, View, Visitor
from nodewright.page.views import VIEWS
from nodewright.page.visitor import Entry, Watching, find, look_on
from nodewright.service.deps import ServiceDeps
from nodewright.service.events import BEAT_SECONDS, STILL_HERE, EventStream, place
from nodewright.service.guards import Streams
from nodewright.service.problems import RETRY_SECONDS, Problem
from nodewright.service.pulse import Pulse, Sleep

TICK_SECONDS: Final = 1.0
"""A page is drawn again at most so often."""
STALE_SECONDS: Final = 10.0
"""So old it is drawn again although nothing has happened: a window may have opened, a worker may have died."""
CHECK_SECONDS: Final = 60.0
"""So often a stream asks whether its session has ended."""
FIRST_SECONDS: Final = 20.0
_BUSY: Final = 5.0
"""Drawing takes one part in so many of the time, however many pages are watched: the rest is for calls."""
_STAMP_SECONDS: Final = 0.5
_RETRY_MS: Final = 2_000
_DRAWERS: Final = 2
_MARK_BITS: Final = 128


# Drawings ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of a page. ``version``: the drawing in which it came to be as it is. ``after``: the part before it."""

    html: str
    version: int
    after: str | None


@dataclass(frozen=True)
class Drawing:
    """A page as it was drawn last."""

    parts: Mapping[str, Part] = field(default_factory=dict)
    version: int = 0

    def since(self, version: int) -> dict[str, Part]:
        """Return the parts that differ from an older drawing, or all after none."""
        return {name: part for name, part in self.parts.items() if part.version > version}


def redrawn(old: Drawing, shown: Mapping[str, str]) -> Drawing:
    """Return the drawing that follows; the same one if nothing differs. A part that is gone is an empty one."""
    names = [*shown, *(name for name in old.parts if name not in shown)]
    version, parts, before = old.version + 1, {}, None
    for name in names:
        html, was = shown.get(name, ""), old.parts.get(name)
        same = was is not None and was.html == html
        parts[name] = was if was is not None and same else Part(html, version, before)
        before = name
    changed = any(part.version == version for part in parts.values())
    return Drawing(parts, version) if changed or not old.version else old


class Canvas:
    """One page as one kind of visitor sees it, drawn again when something may have changed. Called in threads.

    Args:
        show: draws it.
        stamp: tells whether anything may have changed.
        monotonic: the clock.

    """

    def __init__(
        self, show: Callable[[], Shown], stamp: Callable[[], object], monotonic: Callable[[], float]
    ) -> None:
        self._show = show
        self._stamp = stamp
        self._monotonic = monotonic
        self._drawing = Drawing()
        self._drawn: tuple[object, float] | None = None
        self.cost = 0.0
        """How many seconds the last drawing took."""

    def look(self) -> Drawing:
        """Return the page as it is."""
        now, found = self._monotonic(), self._stamp()
        if self._drawn is None or self._drawn[0] != found or now - self._drawn[1] >= STALE_SECONDS:
            self._drawing = redrawn(self._drawing, self._show().parts)
            self._drawn, self.cost = (found, now), self._monotonic() - now
        return self._drawing


class Stamps:
    """Reads what tells whether anything may have changed, once for all pages."""

    def __init__(self, read: Callable[[], object], monotonic: Callable[[], float]) -> None:
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._found: tuple[object, float] | None = None

    def __call__(self) -> object:
        """Return what was read within the last half second."""
        with self._lock:
            now = self._monotonic()
            if self._found is None or now - self._found[1] >= _STAMP_SECONDS:
                self._found = (self._read(), now)
            return self._found[0]


# Watching ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Watched:
    pulse: Pulse[Drawing]
    canvas: Canvas


class Live:
    """The pages that are watched now. For one event loop.

    Args:
        deps: the service's collaborators.
        dice: randomness for the mark.
        monotonic: the clock.
        sleep: waits so many seconds.
        streams: the places for listeners.
        beat_seconds: a stream that has nothing to say says so, so often.

    """

    def __init__(
        self,
        deps: ServiceDeps,
        *,
        dice: Random,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = anyio.sleep,
        streams: Streams | None = None,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.deps = deps
        self.beat_seconds = beat_seconds
        self.monotonic = monotonic
        self.streams = streams or Streams()
        self._mark = f"{dice.getrandbits(_MARK_BITS):032x}"
        self._sleep = sleep
        self._stamps = Stamps(self._stamp, monotonic)
        self._limiter = anyio.CapacityLimiter(_DRAWERS)
        self._watched: dict[object, _Watched] = {}

    @property
    def pages(self) -> int:
        """How many pages are watched."""
        return len(self._watched)

    @contextmanager
    def watching(self, view: View, asked: Asked) -> Iterator[Pulse[Drawing]]:
        """Watch a page for the length of a block, together with all who see the same of it."""
        who = asked.visitor
        key = (view, asked.url, who.tenant, who.scopes, who.logged_in)
        found = self._watched.get(key)
        if found is None or found.pulse.failure is not None:
            found = self._watched[key] = self._open(view, asked)
        try:
            with found.pulse.joined():
                yield found.pulse
        finally:
            if not found.pulse.listeners and self._watched.get(key) is found:
                del self._watched[key]

    def worn(self, html: str, visitor: Visitor) -> str:
        """Return a part as one visitor gets it: their forms carry their own session's token."""
        return html.replace(self._mark, str(escape(visitor.csrf)))

    def _open(self, view: View, asked: Asked) -> _Watched:
        # Whatever is somebody's own must not be in it: neither their token nor their name.
        anybody = replace(asked.visitor, actor="", csrf=self._mark if asked.visitor.logged_in else "")
        general = replace(asked, visitor=anybody)
        canvas = Canvas(lambda: view(self.deps, general), self._stamps, self.monotonic)
        pulse = Pulse(
            canvas.look,
            self._seconds,
            closing=self.deps.closing,
            sleep=self._sleep,
            limiter=self._limiter,
        )
        return _Watched(pulse, canvas)

    def _seconds(self) -> float:
        return max(TICK_SECONDS, _BUSY * sum(one.canvas.cost for one in self._watched.values()))

    def _stamp(self) -> object:
        with self.deps.service.reading() as tx:
            return stamp(tx)


# Streams -------------------------------------------------------------------------------------------------------------


async def stream(live: Live, request: Request, entry: Entry, view: View) -> Response:
    """Return the stream of a page's parts: all of them, then those that change."""
    asked = asked_of(request, entry.visitor)
    asked = replace(asked, url=asked.url.removeprefix("/live"))
    with ExitStack() as held:
        held.enter_context(place(live.streams, entry.visitor.actor, "load the page again now and then"))
        pulse = held.enter_context(live.watching(view, asked))
        await pulse.wait(0, FIRST_SECONDS)
        if pulse.answer is None:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "the page takes too long", headers=headers)
        return EventStream(
            _messages(live, pulse, entry.visitor, lambda: _stays(request, entry)), held.pop_all()
        )


def _stays(request: Request, entry: Entry) -> bool:
    """Whether somebody may still look, and sees and may do the same. To look on is no use of a session."""
    try:
        found = (
            look_on(request)
            if entry.session is None
            else find(request.app.state.deps, entry.session, use=False)
        )
    except Problem:
        return False
    return found is not None and found.visitor == entry.visitor


async def _messages(
    live: Live, pulse: Pulse[Drawing], visitor: Visitor, stays: Callable[[], bool]
) -> AsyncIterator[str]:
    clock = live.monotonic
    ends, checked, turn, sent = clock() + live.deps.stream_seconds, clock(), 0, 0
    yield f"retry: {_RETRY_MS}\n\n"
    try:
        while clock() < ends and not live.deps.closing():
            due = checked + CHECK_SECONDS - clock()
            seen, turn = turn, await pulse.wait(turn, min(live.beat_seconds, due))
            if clock() - checked >= CHECK_SECONDS:
                if not await run_sync(stays):
                    return
                checked = clock()
            drawing = pulse.answer or Drawing()
            for name, part in drawing.since(sent).items():
                yield _message(name, part, live.worn(part.html, visitor))
            sent = drawing.version
            if turn == seen:
                yield STILL_HERE
    except (OperationalError, NotFound):
        return  # the browser asks again, and is answered what there is to say


def _message(name: str, part: Part, html: str) -> str:
    content = {"name": name, "html": html, "after": part.after}
    return f"event: part\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


def install(app: FastAPI, views: Mapping[str, View] = VIEWS) -> None:
    """Put a stream for each page on ``app``."""
    for path, view in views.items():
        app.add_api_route(f"/live{path}", _streams(view), methods=["GET"], include_in_schema=False)


def live_of(app: FastAPI) -> Live:
    """Return the pages that are watched on ``app``."""
    if not hasattr(app.state, "live"):
        app.state.live = Live(app.state.deps, dice=SystemRandom())
    found: Live = app.state.live
    return found


def _streams(view: View) -> Callable[[Request, Watching], object]:
    async def send(request: Request, entry: Watching) -> Response:
        return await stream(live_of(request.app), request, entry, view)

    return send

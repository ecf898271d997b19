"""A fleet's events as a stream (server-sent events), resumed by ``Last-Event-ID``."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send

from jobs.feed import LARGEST_ID, Batch, FleetFeed, Look
from jobs.service import UnknownEvent
from nodewright.service.access import Reader
from nodewright.service.deps import Deps, ServiceDeps
from nodewright.service.guards import Streams
from nodewright.service.openapi import answers, streams
from nodewright.service.problems import RETRY_SECONDS, Problem, bad_parameter, refused_parameters
from nodewright.service.pulse import Pulse

MEDIA_TYPE: Final = "text/event-stream"
TICK_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 15.0
STILL_HERE: Final = ": still here\n\n"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_NUMBER: Final = re.compile(r"[0-9]{1,19}")

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The `id` of the last event that was read.")
]


class EventStream(StreamingResponse):
    """A stream that lets go of what it holds, however it ends: a generator that is cut off is not always closed."""

    media_type = MEDIA_TYPE

    def __init__(self, lines: AsyncIterator[str], held: ExitStack) -> None:
        super().__init__(lines, headers=_HEADERS)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        with self._held:
            await super().__call__(scope, receive, send)


async def _pulse(request: Request) -> Pulse[Look]:
    """Return what looks at the events for all the streams of this application."""
    state = request.app.state
    if not hasattr(state, "events"):
        deps: ServiceDeps = state.deps
        state.events = Pulse(deps.service.lookout.look, lambda: TICK_SECONDS, closing=deps.closing)
    found: Pulse[Look] = state.events
    return found


Events = Annotated[Pulse[Look], Depends(_pulse)]


async def stream_events(
    key: Reader, deps: Deps, pulse: Events, ref: str, last_event_id: LastEventId = None
) -> Response:
    """Stream what happens to the fleet's jobs, from its beginning or after `Last-Event-ID`, until it has ended.

    `event: job` carries one line of a job's timeline, and its `id`. The last one is `event: end` with the fleet. A
    stream that ends without it is to be resumed. One that is resumed when nothing follows any more is answered 204.
    """
    after = None if last_event_id is None else _number(last_event_id)
    try:
        feed = await run_sync(lambda: deps.service.feed(ref, key.tenant, after=after))
    except UnknownEvent:
        raise _unknown(last_event_id or "") from None
    first = await run_sync(feed.poll)
    if first.ended is not None and after is not None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    with ExitStack() as held:
        held.enter_context(place(deps.streams, key.key_id, "ask for the fleet now and then instead"))
        held.enter_context(pulse.joined())
        return EventStream(lines(feed, first, deps, pulse), held.pop_all())


@contextmanager
def place(streams: Streams, key_id: str, instead: str) -> Iterator[None]:
    """Hold a place for one stream. Raises the refusal where there is none, which says what to do instead."""
    if not streams.take(key_id):
        detail = f"too many event streams are open; close one, or {instead}"
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", detail, headers=headers)
    try:
        yield
    finally:
        streams.give_back(key_id)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
        raise _unknown(text)
    return int(text)


def _unknown(text: str) -> Problem:
    message = "the fleet has no event of this id"
    remedy = "send the `id` of an event of this fleet, or leave the header out to begin with the first"
    return refused_parameters([bad_parameter("Last-Event-ID", message, remedy, value=text)])


async def lines(
    feed: FleetFeed,
    batch: Batch,
    deps: ServiceDeps,
    pulse: Pulse[Look],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[str]:
    """Yield what a stream says, from ``batch`` on."""
    spoke, turn = clock(), -1
    ends = spoke + deps.stream_seconds
    yield f"retry: {RETRY_SECONDS * 1000}\n\n"
    while clock() < ends and not deps.closing():
        if batch.events:
            yield "".join(_message("job", event.to_json(), event.id) for event in batch.events)
            spoke = clock()
        elif clock() - spoke >= BEAT_SECONDS:  # though others' fleets may have kept it awake
            yield STILL_HERE
            spoke = clock()
        if batch.ended is not None:
            yield _message("end", {"fleet": batch.ended.to_json()})
            return
        try:
            if not batch.events:  # else there may be more, or the fleet has ended by them
                turn = await pulse.wait(turn, min(spoke + BEAT_SECONDS, ends) - clock())
            batch = await _next(feed, pulse.answer)
        except OperationalError:
            return  # the client resumes once the database is back


async def _next(feed: FleetFeed, look: Look | None) -> Batch:
    found = None if look is None else feed.glance(look)
    return await run_sync(feed.poll, look) if found is None else found


def _message(event: str, content: dict[str, Any], event_id: int | None = None) -> str:
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"{number}event: {event}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


def install(router: APIRouter) -> None:
    """Put the route on ``router``."""
    documented = answers(None, 404)
    documented["responses"][200] = {"description": "The events.", "content": streams(MEDIA_TYPE)}
    documented["responses"][204] = {"description": "The fleet has ended, and nothing follows the event."}
    router.add_api_route(
        "/fleets/{ref}/events",
        stream_events,
        methods=["GET"],
        tags=["fleets"],
        response_class=Response,  # with a media type it would be documented as a text
        **documented,
    )

"""A fleet's events as a stream (server-sent events), resumed by ``Last-Event-ID``."""

import json
import re
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Final

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send

from jobs.feed import LARGEST_ID, Batch, FleetFeed
from jobs.service import UnknownEvent
from nodewright.service.access import Reader
from nodewright.service.deps import Deps, ServiceDeps
from nodewright.service.guards import Streams
from nodewright.service.openapi import answers
from nodewright.service.problems import RETRY_SECONDS, Problem, bad_parameter, refused_parameters

MEDIA_TYPE: Final = "text/event-stream"
TICK_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 15.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_NUMBER: Final = re.compile(r"[0-9]{1,19}")

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The `id` of the last event that was read.")
]


class _Stream(StreamingResponse):
    """A stream that gives its place back, however it ends."""

    media_type = MEDIA_TYPE

    def __init__(self, lines: AsyncIterator[str], streams: Streams, key_id: str) -> None:
        super().__init__(lines, headers=_HEADERS)
        self._streams = streams
        self._key_id = key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._key_id)


async def stream_events(key: Reader, deps: Deps, ref: str, last_event_id: LastEventId = None) -> Response:
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
    if not deps.streams.take(key.key_id):
        detail = "too many event streams are open; close one, or ask for the fleet now and then instead"
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many_streams", detail, headers=headers)
    return _Stream(_lines(feed, first, deps), deps.streams, key.key_id)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
        raise _unknown(text)
    return int(text)


def _unknown(text: str) -> Problem:
    message = "the fleet has no event of this id"
    remedy = "send the `id` of an event of this fleet, or leave the header out to begin with the first"
    return refused_parameters([bad_parameter("Last-Event-ID", message, remedy, value=text)])


async def _lines(feed: FleetFeed, batch: Batch, deps: ServiceDeps) -> AsyncIterator[str]:
    began = beat = time.monotonic()
    yield f"retry: {RETRY_SECONDS * 1000}\n\n"
    while time.monotonic() - began < deps.stream_seconds and not deps.closing():
        if batch.events:
            yield "".join(_message("job", event.to_json(), event.id) for event in batch.events)
            beat = time.monotonic()
        if batch.ended is not None:
            yield _message("end", {"fleet": batch.ended.to_json()})
            return
        if not batch.more:
            await anyio.sleep(TICK_SECONDS)
        if time.monotonic() - beat > BEAT_SECONDS:
            yield ": still here\n\n"
            beat = time.monotonic()
        try:
            batch = await run_sync(feed.poll)
        except OperationalError:
            return  # the client resumes once the database is back


def _message(event: str, content: dict[str, Any], event_id: int | None = None) -> str:
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"{number}event: {event}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


def install(router: APIRouter) -> None:
    """Put the route on ``router``."""
    documented = answers(None, 404)
    documented["responses"][200] = {
        "description": "The events.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
    documented["responses"][204] = {"description": "The fleet has ended, and nothing follows the event."}
    router.add_api_route(
        "/fleets/{ref}/events",
        stream_events,
        methods=["GET"],
        tags=["fleets"],
        response_class=_Plain,
        **documented,
    )


class _Plain(Response):
    media_type = MEDIA_TYPE

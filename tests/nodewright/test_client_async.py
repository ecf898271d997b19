import asyncio
import inspect
import json

import httpx
import pytest

from nodewright import AsyncClient, Client
from nodewright.client import NotFound, ServiceNotReached, ServiceUnavailable, Throttled
from nodewright.stream import Message, Messages

ACCEPTED = {"fleet": {"id": "f", "name": "web", "count": 1, "states": {"queued": 1}}}
FLEET = {"fleet": {"id": "f", "name": "web", "count": 1, "states": {"running": 1}}}
EVENT = {
    "job_id": "j",
    "label": "web-0001",
    "position": 1,
    "at": "2026-01-01T00:00:00.000Z",
    "event": "validated",
    "state": "queued",
    "actor": "t",
    "detail": {},
}


def recorded(*answers):
    """A transport that gives these answers in turn, and the requests that it saw."""
    left, seen = list(answers), []

    def handle(request):
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), seen


def streamed(*events, end=True):
    """The answer of a stream that tells of these events."""
    parts = [f"id: {n}\nevent: job\ndata: {json.dumps({**EVENT, 'id': str(n)})}\n\n" for n in events]
    parts += ['event: end\ndata: {"fleet": {}}\n\n'] if end else []
    return httpx.Response(200, text="retry: 5000\n\n: still here\n\n" + "".join(parts))


async def no_pause(_):
    """Wait for nothing."""


def test_both_clients_can_the_same():
    """What one client can, the other can, with the same parameters."""
    ours = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    theirs = {name for name in vars(AsyncClient) if not name.startswith("_")} - {"aclose"}
    assert ours == theirs
    for name in ours:
        one, other = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))
        assert list(one) == list(other), name


def test_the_async_client_against_the_service(served, document):
    """Submit, plan, page, follow, cancel and wait, with await, through the real service."""

    async def use():
        async with AsyncClient(served.url, served.key, pause=no_pause) as client:
            assert (await client.plan(document())).verdict == "accept"
            fleet = (await client.submit(document(count=3))).fleet
            assert [job.label async for job in client.jobs(fleet="web", limit=2)] == ["web-0001", "web-0002"]
            assert [one.id async for one in client.iter_fleets()] == [fleet.id]
            jobs = [job async for job in client.jobs()]
            assert (await client.job(jobs[0].id)).timeline
            assert [one.id for one in await client.types("nano")] == ["g6-nanode-1"]
            assert len(await client.regions()) == 3
            assert len(await client.images("debian")) == 2
            assert (await client.cancel(fleet.id)).cancelled == 3
            assert [event.event async for event in client.events("web")] == ["validated"] * 3 + [
                "cancelled"
            ] * 3
            assert (await client.wait("web")).settled
            assert await client.rate_windows() == []
            assert (await client.status()).catalog.state == "fresh"
            with pytest.raises(NotFound):
                await client.fleet("nope")
            assert repr(client) == f"AsyncClient({served.url!r})"

    asyncio.run(use())


def test_the_async_submit_is_sent_again_with_the_same_key():
    """When no answer comes, or the key asked too often, the submit is sent again, with the key of the first try."""
    transport, seen = recorded(
        httpx.ReadError("reset"),
        httpx.Response(429, json={"code": "too_many_requests"}, headers={"Retry-After": "1"}),
        httpx.Response(202, json=ACCEPTED),
    )

    async def use():
        async with AsyncClient("http://x", "k", transport=transport, pause=no_pause) as client:
            return await client.submit({"name": "web"})

    assert asyncio.run(use()).fleet.id == "f"
    assert len({request.headers["idempotency-key"] for request in seen}) == 1


def test_a_throttled_submit_waits_as_long_as_it_is_told():
    """After a 429 the client waits for `Retry-After`, and gives up where that is long."""
    soon, later = ({"Retry-After": seconds} for seconds in ("3", "60"))
    problem = {"code": "too_many_requests", "detail": "too often"}
    transport, _ = recorded(
        httpx.Response(429, json=problem, headers=soon), httpx.Response(429, json=problem, headers=later)
    )
    pauses = []
    with (
        Client("http://x", "k", transport=transport, pause=pauses.append) as client,
        pytest.raises(Throttled) as caught,
    ):
        client.submit({"name": "web"})
    assert (pauses, caught.value.retry_after) == ([3.0], 60.0)


def test_events_are_resumed_where_the_stream_broke():
    """A stream that breaks off, or is refused for now, is asked for again after the last event that was read."""
    transport, seen = recorded(
        httpx.Response(200, json=FLEET),
        streamed(1, 2, end=False),
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"code": "database_unavailable"}),
        streamed(3),
    )
    with Client("http://x", "k", transport=transport, pause=lambda _: None) as client:
        assert [event.id for event in client.events("web")] == ["1", "2", "3"]
    assert [request.headers.get("last-event-id") for request in seen] == [None, None, "2", "2", "2"]
    assert {request.url.path for request in seen[1:]} == {"/v1/fleets/f/events"}


def test_events_that_are_over_end_at_once():
    """A 204 means that nothing follows."""
    transport, _ = recorded(httpx.Response(200, json=FLEET), httpx.Response(204))
    with Client("http://x", "k", transport=transport) as client:
        assert list(client.events("web", after="9")) == []


def test_a_stream_that_never_comes_is_given_up():
    """After many failures in a row the last one is raised."""
    transport, seen = recorded(httpx.Response(200, json=FLEET), *[httpx.ConnectError("refused")] * 99)
    with (
        Client("http://x", "k", transport=transport, pause=lambda _: None) as client,
        pytest.raises(ServiceNotReached),
    ):
        list(client.events("web"))
    assert len(seen) == 12


def test_waiting_bears_short_outages_and_ends():
    """A look that fails is repeated; a fleet that is not settled in time is a TimeoutError."""
    queued = httpx.Response(200, json=ACCEPTED)
    transport, _ = recorded(
        httpx.ConnectError("x"),
        httpx.Response(503, json={"code": "x"}),
        queued,
        httpx.Response(200, json=FLEET),
    )
    with Client("http://x", "k", transport=transport, pause=lambda _: None) as client:
        assert client.wait("web").all_running
    transport, _ = recorded(*[httpx.Response(200, json=ACCEPTED) for _ in range(99)])
    with (
        Client("http://x", "k", transport=transport, pause=lambda _: None) as client,
        pytest.raises(TimeoutError, match="'queued': 1"),
    ):
        client.wait("web", timeout=3)
    transport, _ = recorded(*[httpx.Response(503, json={"code": "x"}) for _ in range(99)])
    with (
        Client("http://x", "k", transport=transport, pause=lambda _: None) as client,
        pytest.raises(ServiceUnavailable),
    ):
        client.wait("web")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["event: job", 'data: {"a": 1}', ""], [Message("job", {"a": 1})]),
        (['data: {"a":', "data: 1}", ""], [Message("message", {"a": 1})]),
        ([": beat", "", "retry: 1", "", "event: x", ""], []),
        (
            ["event:job", "data:{}", "id: 7", "", 'data: {"b": 2}', ""],
            [Message("job", {}), Message("message", {"b": 2})],
        ),
    ],
)
def test_messages_are_put_together(lines, found):
    """Lines become messages as the HTML standard says; comments and unknown fields are left out."""
    messages = Messages()
    assert [message for line in lines if (message := messages.add(line))] == found

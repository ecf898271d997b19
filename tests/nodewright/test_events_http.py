"""A fleet's events over HTTP: the stream itself, its resumption and its bounds."""

import asyncio
import json
import threading

import httpx
import pytest
from jsonschema_rs import Draft202012Validator

from nodewright import Client
from nodewright.service.events import BEAT_SECONDS, STILL_HERE, lines
from nodewright.service.guards import RateLimiter, Streams
from nodewright.service.pulse import Pulse
from nodewright.wiring import TENANT
from tests.support.fleets import submit
from tests.support.listening import Ticks


def messages(response):
    """Yield the messages of a stream as (id, event, data)."""
    found = {}
    for line in response.iter_lines():
        if line.startswith((":", "retry")):
            continue
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif found:
            yield found.get("id"), found["event"], json.loads(found["data"])
            found = {}


def read(http, path="/v1/fleets/web/events", **headers):
    """Read a stream to its end."""
    with http.stream("GET", path, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(messages(response))


@pytest.fixture
def ended(http, document):
    """A fleet of three that was cancelled."""
    http.post("/v1/fleets", json=document())
    http.post("/v1/fleets/web/cancel")
    return http


def test_the_stream_tells_everything_and_ends(ended):
    """Each job's lines come in order with their ids, and the last message is the fleet as it ended."""
    found = read(ended)
    assert [event for _, event, _ in found] == [*["job"] * 6, "end"]
    assert [data["event"] for _, event, data in found if event == "job"] == ["validated"] * 3 + [
        "cancelled"
    ] * 3
    assert found[0][2]["id"] == found[0][0]
    assert found[-1][2]["fleet"]["states"] == {"cancelled": 3}


def test_the_stream_is_as_documented(ended):
    """Each message is one of those that the OpenAPI document tells of, and its data what the document says it is."""
    components = ended.get("/openapi.json").json()["components"]
    path = "/v1/fleets/{ref}/events"
    answer = ended.get("/openapi.json").json()["paths"][path]["get"]["responses"]["200"]
    whole = Draft202012Validator(
        {**answer["content"]["text/event-stream"]["schema"], "components": components}
    )
    inside = {
        kind["properties"]["event"]["const"]: Draft202012Validator(
            {**kind["properties"]["data"]["contentSchema"], "components": components}
        )
        for kind in components["schemas"]["StreamedEvent"]["oneOf"]
    }
    for number, event, data in read(ended):
        sent = {"id": number, "event": event, "data": json.dumps(data)}
        whole.validate({name: value for name, value in sent.items() if value is not None})
        inside[event].validate(data)
    assert not whole.is_valid({"event": "job", "data": "{}"})
    assert not inside["job"].is_valid({"id": "1"})


def test_a_stream_is_resumed(ended):
    """After `Last-Event-ID` only the rest comes; after the last one there is nothing, and no stream."""
    found = read(ended)
    rest = read(ended, **{"Last-Event-ID": found[3][0]})
    assert rest == found[4:]
    assert ended.get("/v1/fleets/web/events", headers={"Last-Event-ID": found[5][0]}).status_code == 204


@pytest.mark.parametrize("value", ["0", "-1", "x", "9" * 19, "9" * 400, "1.5", "٣"])
def test_an_unknown_last_event_is_refused(ended, value):
    """An id that is none of the fleet's events is a 422 problem that names the header."""
    headers = {b"Last-Event-ID": value.encode()}
    answer = ended.get("/v1/fleets/web/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Last-Event-ID"


def test_what_happens_is_told_while_it_happens(served, document):
    """A stream stays open until the fleet ends, and tells what happens meanwhile."""
    with Client(served.url, served.key) as client:
        fleet = client.submit(document(count=2)).fleet
        seen = []
        for event in client.events(fleet.id):
            seen.append(event.event)
            if len(seen) == 2:
                client.cancel(fleet.id)
    assert seen == ["validated", "validated", "cancelled", "cancelled"]


def test_a_stream_that_is_cut_off_is_resumed_by_the_client(served, document):
    """Where the service closes a stream before the fleet's end, the client goes on after the last event."""
    object.__setattr__(served.deps, "stream_seconds", 0.6)
    with Client(served.url, served.key) as client:
        fleet = client.submit(document(count=2)).fleet
        cancel = threading.Timer(1.5, client.cancel, [fleet.id])
        cancel.start()
        seen = [(event.position, event.event) for event in client.events(fleet.id)]
        cancel.join()
    assert seen == [(1, "validated"), (2, "validated"), (1, "cancelled"), (2, "cancelled")]


def test_streams_are_bounded(served, http, document):
    """Beyond so many open streams another is answered 429 and when to try again; a closed one makes room."""
    http.post("/v1/fleets", json=document())
    object.__setattr__(served.deps, "streams", Streams(1))
    with http.stream("GET", "/v1/fleets/web/events") as response:
        lines = response.iter_lines()
        assert next(lines)
        answer = http.get("/v1/fleets/web/events")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
        assert answer.headers["retry-after"]
    http.post("/v1/fleets/web/cancel")
    for _ in range(100):
        if served.deps.streams.take("x"):
            return
        threading.Event().wait(0.1)
    raise AssertionError("the closed stream kept its place")


def test_a_quiet_stream_says_that_it_is_still_there(site):
    """A fleet in which nothing happens is not silent for longer than others take for dead, however busy others are."""
    service, database = site.deps.service, site.database
    submit(database, name="quiet")

    async def scene():
        ticks = Ticks()
        pulse = Pulse(service.lookout.look, lambda: 0.5, closing=lambda: False, sleep=ticks.sleep)
        feed = service.feed("quiet", TENANT)
        said = lines(feed, feed.poll(), site.deps, pulse, ticks.monotonic)
        with pulse.joined():
            assert (await anext(said)).startswith("retry: ")
            assert "validated" in await anext(said)
            heard = asyncio.create_task(anext(said))
            for number in range(3):
                submit(database, name=f"busy{number}")
                await ticks.pass_by(BEAT_SECONDS / 2)
            assert await asyncio.wait_for(heard, 20) == STILL_HERE

    asyncio.run(scene())


def test_one_key_cannot_hold_all_streams():
    """A key may hold a quarter of the streams; what it gives back is free again."""
    streams = Streams(8)
    assert [streams.take("a") for _ in range(3)] == [True, True, False]
    assert streams.take("b")
    streams.give_back("a")
    assert streams.take("a")


def test_a_key_that_asks_too_often_is_answered_429(served, document):
    """Beyond its rate a key is answered 429 with `Retry-After`, another key is not, and time heals it."""
    now = [0.0]
    object.__setattr__(served.deps, "limiter", RateLimiter(2, monotonic=lambda: now[0]))
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        key = {"Authorization": f"Bearer {served.key}"}
        answers = [http.get("/v1/fleets", headers=key) for _ in range(5)]
        assert [one.status_code for one in answers] == [200] * 4 + [429]
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].json()["code"] == "too_many_requests"
        now[0] += 0.5
        assert http.get("/v1/fleets", headers=key).status_code == 200


def test_the_limiter_counts_each_key_alone():
    """One key's requests take nothing from another's; without a limit nobody waits."""
    limiter = RateLimiter(1, monotonic=lambda: 0.0)
    assert [limiter.wait("a") for _ in range(3)] == [0.0, 0.0, 1.0]
    assert limiter.wait("b") == 0.0
    assert [RateLimiter(0, monotonic=lambda: 0.0).wait("a") for _ in range(9)] == [0.0] * 9

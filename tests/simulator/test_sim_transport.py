import json

import httpx
import pytest

from simulator import World, WorldTransport, parse_rule


class _Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    """A clock that only tests move."""
    return _Clock()


@pytest.fixture
def world():
    """A fresh world."""
    return World()


@pytest.fixture
def client(world, clock):
    """An httpx client whose calls reach the world in-process."""
    with httpx.Client(
        transport=WorldTransport(world, clock, on_delay=clock.wait),
        base_url="http://simulated/v4",
        headers={"Authorization": "Bearer simulated-token"},
        timeout=10.0,
    ) as made:
        yield made


def test_an_httpx_client_talks_to_a_world_without_a_socket(client, clock, nanode):
    """Create, wait on the injected clock, filter, read an image by its encoded id, page: as over HTTP."""
    made = client.post("/linode/instances", json={**nanode, "label": "web-1"}).json()
    clock.wait(60)
    listed = client.get("/linode/instances", headers={"X-Filter": json.dumps({"label": "web-1"})}).json()
    assert [(row["id"], row["status"]) for row in listed["data"]] == [(made["id"], "running")]
    assert client.get("/images/linode%2Fdebian12").json()["vendor"] == "Debian"
    assert client.get("/regions/availability", params={"page": 3, "page_size": 500}).json()["page"] == 3


@pytest.mark.parametrize(
    ("action", "error", "made"),
    [
        ("reset_before", httpx.ReadError, 0),
        ("reset_after", httpx.ReadError, 1),
        ("refuse", httpx.ConnectError, 0),
        ("hang", httpx.ReadTimeout, 0),
    ],
)
def test_a_broken_wire_is_the_httpx_error_that_it_would_be(client, world, nanode, action, error, made):
    """A reset is a ReadError whether or not the create was applied; nothing listening is a ConnectError."""
    world.faults.add(parse_rule({"action": action}, now=0.0))
    with pytest.raises(error):
        client.post("/linode/instances", json=nanode)
    assert len(world.instances) == made


def test_a_reply_that_takes_longer_than_the_client_waits_is_a_timeout(client, world, clock, nanode):
    """The timeout passes on the clock, and the create was made all the same; a shorter delay just passes."""
    world.faults.add(parse_rule({"action": "slow", "delay": 11, "nth": 1}, now=0.0))
    world.faults.add(parse_rule({"action": "slow", "delay": 3}, now=0.0))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/linode/instances", json=nanode)
    assert (clock.now, len(world.instances)) == (1_800_000_010.0, 1)
    assert client.get("/profile").status_code == 200
    assert clock.now == 1_800_000_013.0


def test_a_success_can_be_cut_short(client, world, clock, nanode):
    """A 200 whose body ends in the middle, or the protocol error that a socket would raise."""
    world.faults.add(parse_rule({"action": "truncate"}, now=0.0))
    reply = client.post("/linode/instances", json=nanode)
    assert reply.status_code == 200
    with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
        reply.json()
    strict = WorldTransport(world, clock, strict_bodies=True)
    with pytest.raises(httpx.RemoteProtocolError):
        strict.handle_request(reply.request)


def test_a_late_create_appears_as_the_clock_moves_on(client, world, clock, nanode):
    """504 now, the instance two seconds later, seen by the next call."""
    rule = {"action": "gateway_timeout", "applied": "later", "after": 2, "count": 1}
    world.faults.add(parse_rule(rule, now=0.0))
    assert client.post("/linode/instances", json=nanode).status_code == 504
    assert client.get("/linode/instances").json()["results"] == 0
    clock.wait(2)
    assert client.get("/linode/instances").json()["results"] == 1

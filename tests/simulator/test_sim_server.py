import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from simulator import SimulatorOptions, SimulatorServer, background
from simulator.measure import creates_per_second


@pytest.fixture(scope="module")
def server():
    """A simulator in a thread, without a limit on creates, for the whole module."""
    with background(SimulatorOptions(create_limit=0, boot=0.5)) as made:
        yield made


@pytest.fixture
def client(server):
    """An httpx client of the server; rules that a test adds are gone after it."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=5.0) as made:
        yield made
    httpx.delete(f"{server.root}/_control/faults")


def _fault(server, **values):
    answer = httpx.post(f"{server.root}/_control/faults", json=values)
    assert answer.status_code == 200, answer.text


def _audit(server):
    return httpx.get(f"{server.root}/_control/audit").json()


def test_it_speaks_http(client, nanode):
    """A create over a socket, with its headers and a JSON body."""
    reply = client.post("/linode/instances", json={**nanode, "label": "speaks"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert {"date", "server", "x-oauth-scopes"} <= set(reply.headers)


def test_one_label_is_sold_once_however_many_ask_at_a_time(server, client, nanode):
    """Of sixteen creates of one label at once exactly one succeeds."""
    with ThreadPoolExecutor(8) as pool:
        body = {**nanode, "label": "contended"}
        got = list(pool.map(lambda _: client.post("/linode/instances", json=body).status_code, range(16)))
    assert sorted(got) == [200] + [400] * 15
    assert _audit(server)["per_label"]["contended"] == 1


@pytest.mark.parametrize(("action", "made"), [("reset_before", 0), ("reset_after", 1), ("refuse", 0)])
def test_connections_really_break(server, client, nanode, action, made):
    """The client sees its connection reset, and only the audit knows what was made."""
    _fault(server, action=action, method="POST", count=1)
    with pytest.raises(httpx.ReadError):
        client.post("/linode/instances", json={**nanode, "label": f"breaks-{action[-6:]}"})
    assert _audit(server)["per_label"].get(f"breaks-{action[-6:]}", 0) == made


def test_a_success_is_really_cut_short(server, client, nanode):
    """Headers promise more than comes before the connection ends."""
    _fault(server, action="truncate", method="POST", count=1)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.post("/linode/instances", json={**nanode, "label": "cut-short"})
    assert _audit(server)["per_label"]["cut-short"] == 1


def test_a_hanging_call_ends_with_the_clients_patience(server, client):
    """No reply comes; the client times out, and the next call works."""
    _fault(server, action="hang", route="/profile", count=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/profile", timeout=0.3)
    assert client.get("/profile").status_code == 200


def test_a_slow_call_takes_its_time(server, client):
    """The delay is real on the wire."""
    _fault(server, action="slow", delay=0.3, count=1)
    begin = time.monotonic()
    client.get("/profile")
    assert time.monotonic() - begin >= 0.3


def test_its_rate_can_be_measured(server):
    """The measuring tool makes what it says, and gives up on anything but a success."""
    measured = {"token": server.token, "requests": 200, "connections": 4}
    assert creates_per_second(server.url, prefix="measured", **measured) > 50
    assert _audit(server)["per_tag"]["measured"] == 200
    with pytest.raises(RuntimeError, match=r"expected 200, got .*400"):
        creates_per_second(server.url, prefix="measured", **measured)


def test_a_taken_port_is_an_error_at_once(server):
    """A second simulator on the same port does not start."""
    with pytest.raises(OSError, match="in use"):
        SimulatorServer(SimulatorOptions(port=server.port))


def test_the_command_says_where_it_listens_and_stops_when_told(tmp_path):
    """The command prints one line with URL and token, answers, and ends on SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", "--port", "0", "--token", "mine"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        line = process.stdout.readline()
        url = re.fullmatch(r"Linode API v4 simulator at (http://127\.0\.0\.1:\d+/v4) token mine\n", line)[1]
        assert httpx.get(f"{url}/profile", headers={"Authorization": "Bearer mine"}).status_code == 200
        process.terminate()
        assert process.wait(10) in (0, -15)


def test_a_wrong_command_line_is_one_message():
    """A bad token or rules file ends with status 2 and says why."""
    ran = subprocess.run(
        [sys.executable, "-m", "simulator", "--port", "0", "--token", ":x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "token: expected" in ran.stderr

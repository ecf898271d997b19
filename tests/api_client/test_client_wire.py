import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from api_client import (
    BadRequest,
    Clock,
    InstanceCreate,
    Limits,
    LinodeClient,
    LinodeError,
    NotSent,
    OutcomeUnknown,
    ServerFault,
    Throttled,
    Timeouts,
)
from api_client.wire import is_loopback

TOKEN = "tok-3141592653589793"
REQUEST = InstanceCreate(type="g6-nanode-1", region="us-east")
BODY = b'{"id": 7, "status": "provisioning"}'


def response(body, *, status="200 OK", length=None, kind="application/json", more=""):
    """The bytes of a reply, with a length that may lie."""
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n"
    return head.encode() + body


def reset(conn):
    """Close so that the peer gets a reset instead of an end."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def create(url, **options):
    """Create an instance with a client made for it."""
    with LinodeClient(TOKEN, base_url=url, **options) as client:
        return client.instances.create(REQUEST)


def create_error(url, **options):
    """The error of such a create."""
    with pytest.raises(LinodeError) as caught:
        create(url, **options)
    return caught.value


@pytest.mark.parametrize(
    "kind",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.LocalProtocolError,
    ],
)
def test_what_fails_before_the_first_byte_is_not_sent(kind):
    """Errors that httpx raises before it writes anything mean that the server never saw the call."""
    error = transport_error(kind("no"))
    assert type(error) is NotSent
    assert not error.outcome_unknown
    assert str(error) == f"POST /linode/instances: {kind.__name__}: no"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ReadTimeout(""),
        httpx.WriteTimeout("no"),
        httpx.ReadError("no"),
        httpx.WriteError("no"),
        httpx.CloseError("no"),
        httpx.RemoteProtocolError("no"),
        httpx.DecodingError("no"),
        OSError("no"),
        RuntimeError("no"),
    ],
)
def test_any_other_failure_is_unknown(failure):
    """Once a byte may have left, and for any error that nobody foresaw, the outcome is unknown."""
    error = transport_error(failure)
    assert type(error) is OutcomeUnknown
    assert error.outcome_unknown
    assert error.status is None
    assert error.__cause__ is failure


def transport_error(failure):
    """The error of a create whose transport raises the failure."""

    def handler(_request):
        raise failure

    return create_error("https://api.linode.com/v4", transport=httpx.MockTransport(handler))


def test_a_success_over_a_real_socket(socket_server):
    """A create over TCP carries token, agent and body, and returns the instance."""
    server = socket_server(lambda conn, _: conn.sendall(response(BODY)))
    assert create(server.url).value.id == 7
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v4/linode/instances HTTP/1.1\r\n")
    assert f"authorization: bearer {TOKEN}".encode() in head.lower()
    assert b"user-agent: nodewright/" in head.lower()
    assert body == b'{"type":"g6-nanode-1","region":"us-east"}'


def test_a_refused_connection_is_not_sent():
    """Nobody listens, so nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert type(create_error(f"http://127.0.0.1:{port}/v4")) is NotSent


def test_a_tls_failure_is_not_sent(socket_server):
    """A server that speaks no TLS never gets to see the request."""
    server = socket_server(lambda conn, _: conn.sendall(response(BODY)))
    error = create_error(server.url.replace("http:", "https:"), timeouts=Timeouts(connect=0.2))
    assert type(error) is NotSent


@pytest.mark.parametrize("end", [reset, lambda conn: conn.close()], ids=["reset", "closed"])
def test_a_connection_lost_after_the_request_is_unknown(socket_server, end):
    """The request was read and the connection ended without a reply; it is not sent again."""
    server = socket_server(lambda conn, _: end(conn))
    error = create_error(server.url)
    assert type(error) is OutcomeUnknown
    assert len(server.requests) == 1


def test_a_silent_server_is_unknown(socket_server):
    """The read timeout ends a call that is not answered."""
    server = socket_server(lambda _conn, server: server.done.wait(5))
    assert type(create_error(server.url, timeouts=Timeouts(read=0.05))) is OutcomeUnknown
    assert len(server.requests) == 1


def test_when_it_was_written(socket_server):
    """A reply, a refusal and a lost call tell when the request was written; what never left tells nothing."""
    server = socket_server(lambda conn, _: threading.Event().wait(0.1) or conn.sendall(response(BODY)))
    reply = create(server.url)
    assert 0 < reply.written < 0.09 < reply.elapsed
    refusing = socket_server(lambda conn, _: conn.sendall(response(b"", status="429 Too Many Requests")))
    assert create_error(refusing.url).detail.written > 0
    assert create_error(socket_server(lambda conn, _: conn.close()).url).detail.written > 0
    assert create_error("http://127.0.0.1:1/v4").detail.written is None


def test_a_success_cut_short_is_unknown(socket_server):
    """A 200 whose body ends early may have made an instance; its status is kept."""
    server = socket_server(lambda conn, _: conn.sendall(response(BODY[:9], length=len(BODY))))
    error = create_error(server.url)
    assert type(error) is OutcomeUnknown
    assert error.status == 200
    assert isinstance(error.__cause__, httpx.RemoteProtocolError)


def test_headers_cut_short_are_unknown(socket_server):
    """A reply that ends inside its headers tells nothing."""
    server = socket_server(lambda conn, _: conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"))
    assert type(create_error(server.url)) is OutcomeUnknown


def test_what_is_not_http_is_unknown(socket_server):
    """Bytes that are no HTTP reply tell nothing."""
    server = socket_server(lambda conn, _: conn.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
    assert type(create_error(server.url)) is OutcomeUnknown


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("429 Too Many Requests", Throttled),
        ("502 Bad Gateway", ServerFault),
        ("400 Bad Request", OutcomeUnknown),
    ],
)
def test_an_error_cut_short_is_judged_by_its_status(socket_server, status, kind):
    """A status line is enough for 429 and 5xx; a 400 without its words is not trusted."""
    cut = response(b"<html>", status=status, length=500, kind="text/html", more="X-RateLimit-Limit: 20\r\n")
    error = create_error(socket_server(lambda conn, _: conn.sendall(cut)).url)
    assert type(error) is kind
    assert error.rate.limit == 20


def test_a_body_that_does_not_unpack_is_unknown(socket_server):
    """A reply that claims gzip and is none can't be read."""
    bad = response(BODY, more="Content-Encoding: gzip\r\n")
    assert type(create_error(socket_server(lambda conn, _: conn.sendall(bad)).url)) is OutcomeUnknown


def test_a_refusal_before_the_body_is_read_is_heard(socket_server):
    """A server may answer and close at once; its definite no counts."""
    no = response(b'{"errors": [{"reason": "no"}]}', status="400 Bad Request", more="Connection: close\r\n")
    assert type(create_error(socket_server(lambda conn, _: conn.sendall(no)).url)) is BadRequest


class Drip(httpx.SyncByteStream):
    """A body that comes byte by byte and never ends; counts what was taken."""

    def __init__(self):
        self.taken = 0
        self.closed = False

    def __iter__(self):
        for _ in count():
            self.taken += 1
            yield b" "

    def close(self):
        self.closed = True


def test_a_body_that_drips_is_given_up_at_the_deadline():
    """However slowly a body comes, the call ends; the clock here moves ten seconds at each look."""
    drip, clock = Drip(), Clock(monotonic=count(0, 10).__next__)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=drip))
    error = create_error("https://api.linode.com/v4", transport=transport, clock=clock)
    assert type(error) is OutcomeUnknown
    assert "took more than 50 s" in str(error)
    assert drip.taken == 6
    assert drip.closed


def test_a_body_without_end_is_given_up_at_the_limit():
    """A reply may be only so large."""
    drip = Drip()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=drip))
    error = create_error("https://api.linode.com/v4", transport=transport, limits=Limits(body=1000))
    assert type(error) is OutcomeUnknown
    assert "larger than 1000 bytes" in str(error)
    assert drip.taken == 1001


def test_a_call_whose_connection_came_too_late_is_not_sent(socket_server):
    """When connecting took longer than its timeouts allow (DNS has none), not one byte is written."""
    server = socket_server(lambda conn, _: conn.sendall(response(BODY)))
    clock = Clock(monotonic=iter([0, 11]).__next__)
    error = create_error(server.url, clock=clock)
    assert type(error) is NotSent
    assert "no connection within 10 s" in str(error)
    assert server.requests == []


def test_a_kept_connection_that_the_server_closed_is_not_used(socket_server):
    """A connection that was closed while idle is noticed, so the next call takes a new one and succeeds."""
    closed = threading.Event()

    def script(conn, _server):
        conn.sendall(response(BODY))
        conn.close()
        closed.set()

    server = socket_server(script)
    with LinodeClient(TOKEN, base_url=server.url) as client:
        client.instances.create(REQUEST)
        assert closed.wait(5)
        assert client.instances.create(REQUEST).value.id == 7
    assert len(server.requests) == 2


def test_a_kept_connection_is_used_again(socket_server):
    """Two calls in turn share one connection."""
    connections = []

    def script(conn, server):
        connections.append(conn)
        conn.sendall(response(BODY))
        server.requests.append(conn.recv(65536))
        conn.sendall(response(BODY))

    server = socket_server(script)
    with LinodeClient(TOKEN, base_url=server.url) as client:
        assert client.instances.create(REQUEST).value.id == client.instances.create(REQUEST).value.id
    assert (len(connections), len(server.requests)) == (1, 2)


def test_64_calls_are_under_way_at_once():
    """The pool and the client stand 64 threads that all wait for their replies together."""
    together = threading.Barrier(64, timeout=20)

    def handler(_request):
        together.wait()
        return httpx.Response(200, content=BODY)

    with (
        LinodeClient(TOKEN, transport=httpx.MockTransport(handler)) as client,
        ThreadPoolExecutor(64) as threads,
    ):
        replies = list(threads.map(client.instances.create, [REQUEST] * 64))
    assert {reply.value.id for reply in replies} == {7}
    assert Limits().connections >= 64


def test_a_full_pool_is_not_sent(socket_server):
    """When every connection is busy for the pool timeout, the call is given up unsent."""
    busy = threading.Event()

    def script(conn, server):
        busy.set()
        server.done.wait(5)
        conn.sendall(response(BODY))

    server = socket_server(script)
    options = {"limits": Limits(connections=1), "timeouts": Timeouts(pool=0.05)}
    with LinodeClient(TOKEN, base_url=server.url, **options) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.instances.create, REQUEST)
        assert busy.wait(5)
        with pytest.raises(NotSent, match="PoolTimeout"):
            client.instances.create(REQUEST)
        server.done.set()
        assert first.result(5).value.id == 7


def test_cookies_are_not_kept(api, client):
    """A load balancer's cookie is not sent back, so no call depends on another."""
    api.on("GET", "/v4/profile", {"username": "me"}, headers={"Set-Cookie": "sticky=1; Path=/"})
    client.profile()
    client.profile()
    assert "cookie" not in api.last.headers


def test_the_timeouts_reach_the_transport(api):
    """The four timeouts are set on each request."""
    api.on("GET", "/v4/profile", {})
    timeouts = Timeouts(connect=1, read=2, write=3, pool=4)
    with LinodeClient(TOKEN, transport=httpx.MockTransport(api), timeouts=timeouts) as client:
        client.profile()
        assert client.timeouts == timeouts
    assert api.last.extensions["timeout"] == {"connect": 1, "read": 2, "write": 3, "pool": 4}


def test_the_bounds_of_a_call():
    """Nothing is sent after pool and connect; the body adds write and read, its last silence one read."""
    timeouts = Timeouts()
    assert (timeouts.before_send, timeouts.body, timeouts.total) == (10.0, 50.0, 80.0)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_must_be_positive(seconds):
    """A timeout of nothing is a mistake, and named."""
    with pytest.raises(ValueError, match="read timeout"):
        Timeouts(read=seconds)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:8080/v4/", "http://127.0.0.1:8080/v4"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://api.linode.com/v4beta", "https://api.linode.com/v4beta"),
    ],
)
def test_the_base_url_is_kept_as_given(api, given, kept):
    """Only a trailing slash is dropped; the version is the caller's to name."""
    with LinodeClient(TOKEN, base_url=given, transport=httpx.MockTransport(api)) as client:
        with pytest.raises(LinodeError):
            client.profile()
        assert client.base_url == kept
    assert str(api.last.url) == f"{kept}/profile"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "api.linode.com/v4",
        "ftp://x/v4",
        "http://",
        "https://x/v4?a=1",
        "https://x/#a",
        "http://[::1",
        "http://a..b/v4",
        f"http://{'a' * 64}.example/v4",
        None,
    ],
)
def test_what_is_no_base_url_is_refused(given):
    """A base URL must be http or https with a host, and without query or fragment."""
    with pytest.raises(ValueError, match="the base URL"):
        LinodeClient(TOKEN, base_url=given)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/v4", True),
        ("http://127.9.9.9/v4", True),
        ("http://[::1]:80/v4", True),
        ("http://localhost/v4", True),
        ("http://sim.localhost/v4", True),
        ("http://10.0.0.1/v4", False),
        ("https://api.linode.com/v4", False),
        ("https://localhost.example.com/v4", False),
    ],
)
def test_loopback_is_recognised(url, expected):
    """Loopback is told by address, or by a name that is reserved for it."""
    assert is_loopback(url) is expected


def test_a_proxy_is_not_used_for_loopback(socket_server, monkeypatch):
    """A proxy of the environment is passed by for a simulator on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = socket_server(lambda conn, _: conn.sendall(response(BODY)))
    assert create(server.url).value.id == 7


def test_a_proxy_of_the_environment_is_used_elsewhere(socket_server, monkeypatch):
    """Any other host is reached through the proxy that the environment names."""
    server = socket_server(lambda conn, _: conn.sendall(response(BODY)))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v4"))
    assert create("http://api.example.test/v4").value.id == 7
    assert server.requests[0].startswith(b"POST http://api.example.test/v4/linode/instances ")


def test_a_refused_tunnel_is_not_sent(socket_server, monkeypatch):
    """A proxy that opens no tunnel never passed the request on."""
    server = socket_server(lambda conn, _: conn.sendall(response(b"", status="403 Forbidden")))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", server.url.removesuffix("/v4"))
    assert type(create_error("https://api.example.test/v4")) is NotSent
    assert TOKEN.encode() not in server.requests[0]


@pytest.mark.parametrize("suffix", ["line\nbreak", "ünïcode", "two  spaces"])
def test_a_user_agent_no_header_can_carry_is_refused(suffix):
    """The suffix of the user agent must be printable ASCII."""
    with pytest.raises(ValueError, match="user agent"):
        LinodeClient(TOKEN, user_agent=suffix)

"""A fake API behind httpx's transport seam, and a real socket server for what happens below HTTP."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from api_client import LinodeClient

TOKEN = "tok-3141592653589793"


@dataclass
class FakeApi:
    """Answers from a table of (method, path); keeps the requests it saw."""

    answers: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def on(self, method, path, answer, *, status=200, headers=None):
        """Answer with JSON, with text, or with what a function of the request returns."""
        if callable(answer):
            self.answers[method, path] = answer
        else:
            body = answer if isinstance(answer, str | bytes) else json.dumps(answer)
            self.answers[method, path] = lambda _: httpx.Response(status, content=body, headers=headers)

    def __call__(self, request):
        self.requests.append(request)
        path = request.url.raw_path.decode().partition("?")[0]
        answer = self.answers.get((request.method, path))
        return answer(request) if answer else httpx.Response(404, json={"errors": [{"reason": "Not found"}]})

    @property
    def last(self):
        return self.requests[-1]


@pytest.fixture
def api():
    """The fake API that the client of the same test talks to."""
    return FakeApi()


@pytest.fixture
def client(api) -> Iterator[LinodeClient]:
    """A client whose transport is the fake API."""
    with LinodeClient(TOKEN, transport=httpx.MockTransport(api)) as client:
        yield client


def read_request(conn: socket.socket) -> bytes:
    """One whole HTTP request; empty when the peer closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = conn.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    while lengths and len(body) < int(lengths[0]):
        body += conn.recv(65536)
    return head + b"\r\n\r\n" + body


class SocketServer:
    """Accepts connections one after another, and hands each one that sends a request to the script."""

    def __init__(self, script):
        self.requests: list[bytes] = []
        self.done = threading.Event()
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v4"

    def close(self):
        self.done.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self):
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            with closing(conn), suppress(OSError):
                self._answer(conn)

    def _answer(self, conn):
        request = read_request(conn)
        if request:
            self.requests.append(request)
            self._script(conn, self)


@pytest.fixture
def socket_server():
    """A function that starts a server which answers by the given script (connection, server)."""
    servers = []

    def start(script):
        servers.append(SocketServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()

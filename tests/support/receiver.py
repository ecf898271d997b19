"""A receiver of webhooks on loopback, on real sockets, that behaves as badly as it is told."""

import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Self

OK: Final = 204
HANG: Final = "hang"
RESET: Final = "reset"
DRIP: Final = "drip"
GARBAGE: Final = "garbage"
HUGE: Final = "huge"
_TICK: Final = 0.02


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """Answers each request as the next entry of ``script`` says: a status, a status with headers, or how to fail.

    Without an entry it answers ``usual``. ``got`` is everything that came, ``connections`` how often somebody came.
    """

    script: deque[Any] = field(default_factory=deque)
    usual: Any = OK
    tls: ssl.SSLContext | None = None
    got: list[Got] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(_TICK)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?from=test"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._listening.close()

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listening.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError), connection:
            stream = connection if self.tls is None else self.tls.wrap_socket(connection, server_side=True)
            with stream:
                got = _request(stream)
                with self._lock:
                    self.got.append(got)
                    how = self.script.popleft() if self.script else self.usual
                self._answer(stream, how)

    def _answer(self, stream: socket.socket, how: Any) -> None:
        if how == HANG:
            self._over.wait(30)
        elif how == RESET:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == DRIP:
            self._drip(stream)
        elif how == GARBAGE:
            stream.sendall(b"220 mail.example ESMTP\r\n")
        elif how == HUGE:
            stream.sendall(b"HTTP/1.1 500 X\r\nContent-Length: 9000000\r\n\r\n" + b"no! " * 2_250_000)
        else:
            status, headers, body = how if isinstance(how, tuple) else (how, {}, "")
            stream.sendall(_response(status, headers, body))

    def _drip(self, stream: socket.socket) -> None:
        for one in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 3000:
            stream.sendall(bytes([one]))
            if self._over.wait(_TICK):
                return


def _request(stream: socket.socket) -> Got:
    found = b""
    while b"\r\n\r\n" not in found:
        found += _more(stream)
    head, _, body = found.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _more(stream)
    return Got(line, headers, body.decode())


def _more(stream: socket.socket) -> bytes:
    chunk = stream.recv(65536)
    if not chunk:
        raise ConnectionError("the sender went away")
    return chunk


def _response(status: int, headers: dict[str, str], body: str) -> bytes:
    content = body.encode()
    given = {**headers, "Content-Length": str(len(content)), "Connection": "close"}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content

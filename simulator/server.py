"""The edge: an ASGI app over a world, and a uvicorn that can also break a connection on purpose."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.api import handle
from simulator.clock import Clock
from simulator.control import PREFIX, Adjustable, control
from simulator.options import SimulatorOptions, build_world
from simulator.wire import SimReply, SimRequest
from simulator.world import World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

END = "simulator.end"
"""The ASGI extension that ends the connection, by a reset or, gently, by a plain close.

A plain server has no such thing, so ours adds it.
"""


def build_app(world: World, clock: Adjustable) -> App:
    """An ASGI app that answers for a world."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope, await _body(receive))
        levers = request.path.startswith(PREFIX)
        reply = control(world, clock, request) if levers else handle(world, request, clock())
        await _deliver(reply, scope, receive, send)

    return app


def _request(scope: Scope, body: bytes) -> SimRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope["client"][0] if scope["client"] else "127.0.0.1"
    path = scope["raw_path"].decode("latin-1")
    return SimRequest(scope["method"], path, scope["query_string"].decode("latin-1"), headers, body, client)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _deliver(reply: SimReply, scope: Scope, receive: Receive, send: Send) -> None:
    if reply.delay:
        await asyncio.sleep(reply.delay)
    if reply.outcome == "hang":
        while (await receive())["type"] != "http.disconnect":
            pass
    elif reply.outcome in ("reset", "refuse"):
        await _end(scope, receive, gently=False)
    else:
        await _send(reply, send)
        if reply.outcome == "cut":
            await _end(scope, receive, gently=True)


async def _send(reply: SimReply, send: Send) -> None:
    cut = reply.outcome == "cut"
    body = reply.body[: len(reply.body) // 2] if cut else reply.body
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": cut})


async def _end(scope: Scope, receive: Receive, *, gently: bool) -> None:
    scope["extensions"][END](gently)
    while (await receive())["type"] != "http.disconnect":
        pass


class BreakableProtocol(H11Protocol):
    """uvicorn's own HTTP/1.1, with ``END`` put in every request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own type
        """Begin a connection whose transport the app may break."""
        super().connection_made(transport)
        app = self.app

        async def breakable(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {END: lambda gently: transport.close() if gently else _reset(transport)}
            await app(scope, receive, send)

        self.app = breakable


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    transport.abort()


class SimulatorServer:
    """A simulator on a loopback port: ``run`` it here, or ``start`` and ``stop`` it in a thread."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self.clock = Clock()
        self.world = build_world(self.options, now=self.clock())
        self.token = self.options.parsed_tokens()[0].value
        self._socket = _listen(self.options.host, self.options.port)
        self.port: int = self._socket.getsockname()[1]
        self.root = f"http://{self.options.host}:{self.port}"
        self.url = f"{self.root}/v4"
        self._uvicorn = uvicorn.Server(_config(build_app(self.world, self.clock)))
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def start(self) -> None:
        """Serve in a thread. Connections are taken from now on: the socket already listens."""
        self._thread = threading.Thread(target=self.run, name="simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; open connections are dropped."""
        self._uvicorn.should_exit = True
        self._uvicorn.force_exit = True
        if self._thread is not None:
            self._thread.join()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port now. TCP is named, or asyncio leaves Nagle on and replies wait 40 ms for an ACK."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(2048)
    return listening


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


def serve(options: SimulatorOptions) -> None:
    """Serve in the foreground; prints one line with URL and token when connections are taken."""
    server = SimulatorServer(options)
    print(f"Linode API v4 simulator at {server.url} token {server.token}", flush=True)  # noqa: T201  # for people
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


@contextlib.contextmanager
def background(options: SimulatorOptions | None = None) -> Iterator[SimulatorServer]:
    """A simulator in a thread for the length of a ``with`` block."""
    server = SimulatorServer(options)
    server.start()
    try:
        yield server
    finally:
        server.stop()

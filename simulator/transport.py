"""An httpx transport that feeds a world in-process: no socket, no thread, no clock but the caller's."""

from collections.abc import Callable

import httpx

from simulator.api import handle
from simulator.wire import SimReply, SimRequest
from simulator.world import World


class WorldTransport(httpx.BaseTransport):
    """Calls reach ``world`` at ``clock()``; what breaks is raised as httpx would raise it.

    reset → ReadError (the client cannot know whether the call was applied); refuse → ConnectError; hang, and
    a delay beyond the client's read timeout → ReadTimeout; cut → the status with half of the body, or with
    ``strict_bodies`` RemoteProtocolError, as over a socket. Delays take no time unless ``on_delay`` moves the
    clock.
    """

    def __init__(
        self,
        world: World,
        clock: Callable[[], float],
        *,
        strict_bodies: bool = False,
        on_delay: Callable[[float], None] | None = None,
    ) -> None:
        self.world = world
        self.clock = clock
        self.strict_bodies = strict_bodies
        self.on_delay = on_delay

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to the world."""
        reply = handle(self.world, _sim_request(request), self.clock())
        self._wait(reply, request)
        if reply.outcome == "reset":
            raise httpx.ReadError("Connection reset by peer", request=request)
        if reply.outcome == "refuse":
            raise httpx.ConnectError("Connection refused", request=request)
        if reply.outcome == "hang":
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        return self._response(reply, request)

    def _wait(self, reply: SimReply, request: httpx.Request) -> None:
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and reply.delay > timeout:
            self._pass(timeout)
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        self._pass(reply.delay)

    def _pass(self, seconds: float) -> None:
        if self.on_delay is not None and seconds:
            self.on_delay(seconds)

    def _response(self, reply: SimReply, request: httpx.Request) -> httpx.Response:
        if reply.outcome != "cut":
            return httpx.Response(
                reply.status, headers=list(reply.headers), content=reply.body, request=request
            )
        if self.strict_bodies:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body", request=request
            )
        half = reply.body[: len(reply.body) // 2]
        return httpx.Response(reply.status, headers=list(reply.headers), content=half, request=request)


def _sim_request(request: httpx.Request) -> SimRequest:
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return SimRequest(request.method, path, query, dict(request.headers), request.read())

"""kombu's Redis transport, but for one thing: its channels keep their client.

kombu 5.7 makes a new ``redis.Redis`` for each command (``Channel._create_client``), and making one costs more than the
command: a tenth of a busy worker's time. A client is safe between threads, and its connections come from the pool.
"""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel with one client for each of its pools."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - kombu's own signature
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # Its pool is another one after a lost connection.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept


class Transport(redis.Transport):
    """The transport with these channels."""

    Channel = Channel

"""kombu's Redis transport, but for two things that cost a busy worker more than its own work.

kombu 5.7 makes a new ``redis.Redis`` for each command (``Channel._create_client``), which costs more than the command;
these channels keep theirs. A client is safe between threads, and its connections come from the pool. And kombu reads
the messages of a queue with ``no_ack`` without keeping a copy, yet acknowledges each to the broker; these do not.
"""

from collections.abc import Callable
from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel with one client for each of its pools."""

    _kept: Any = None
    no_ack_consumers: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - kombu's own signature
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # Its pool is another one after a lost connection.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,  # noqa: FBT001 - kombu's own signature
        callback: Callable[[Any], Any],
        consumer_tag: str,
        **rest: Any,  # noqa: ANN401
    ) -> None:
        """Consume from ``queue``; with ``no_ack`` what is read is gone."""

        def tagged(message: Any) -> Any:  # noqa: ANN401
            message.delivery_info["consumer_tag"] = consumer_tag
            return callback(message)

        if no_ack:
            # By this set and that tag a message knows that there is nothing to acknowledge.
            self.no_ack_consumers = {*(self.no_ack_consumers or ()), consumer_tag}
        super().basic_consume(queue, no_ack, tagged if no_ack else callback, consumer_tag, **rest)


class Transport(redis.Transport):
    """The transport with these channels."""

    Channel = Channel

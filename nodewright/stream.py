"""Reading server-sent events: from lines to messages. Pure."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    event: str
    data: dict[str, Any]


class Messages:
    """Puts messages together from the lines of a stream, one line at a time."""

    def __init__(self) -> None:
        self._event = ""
        self._data: list[str] = []

    def add(self, line: str) -> Message | None:
        """Take one line without its end; return the message that it completes, if it does."""
        if line:
            self._keep(line)
            return None
        event, data = self._event or "message", "\n".join(self._data)
        self._event, self._data = "", []
        return Message(event, json.loads(data)) if data else None

    def _keep(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)

"""A receiver of webhooks in nothing but the standard library: verify, drop what is there already, put in order.

WEBHOOK_SECRET is what `nodewright webhooks add` printed; two of them, separated by a space, during a rotation. It
prints one line for each message that it takes, and what each fleet came to, in the order of its numbers.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import defaultdict
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

TOLERANCE = 5 * 60


def verified(headers: Message, body: bytes, secrets: list[str], now: float) -> bool:
    """Whether a message is Nodewright's, whole, and no older than five minutes."""
    message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(now - int(sent_at)) > TOLERANCE:
        return False
    signed = f"{message_id}.{sent_at}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    return any(
        hmac.compare_digest(one, f"v1,{_signature(secret, signed)}") for secret in secrets for one in given
    )


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Inbox:
    """What has come. A real one is a table with the message's id as its key, and outlives the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: set[str] = set()
        self._fleets: dict[str, dict[int, dict]] = defaultdict(dict)

    def take(self, message: dict) -> bool:
        """Keep a message; False: it was there already."""
        with self._lock:
            if message["id"] in self._seen:
                return False
            self._seen.add(message["id"])
            data = message["data"]
            if data["sequence"] is not None:
                self._fleets[data["fleet"]["id"]][data["sequence"]] = message
            return True

    def story(self, fleet_id: str) -> list[str]:
        """Return what a fleet came to so far, in order, whatever the order in which it came."""
        with self._lock:
            return [message["type"] for _, message in sorted(self._fleets[fleet_id].items())]


def make_handler(inbox: Inbox, secrets: list[str]) -> type[BaseHTTPRequestHandler]:
    """Return what answers requests: 204 for what is taken or was there, 401 for what does not verify."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if not verified(self.headers, body, secrets, time.time()):
                self.answer(401)
                return
            message = json.loads(body)
            new = inbox.take(message)  # before the answer: what is answered 2xx never comes again
            self.answer(204)
            print("new" if new else "again", message["type"], message["id"], flush=True)
            if message["type"] == "fleet.settled":
                print("fleet", " ".join(inbox.story(message["data"]["fleet"]["id"])), flush=True)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: what counts is printed above."""

    return Handler


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000)
    handler = make_handler(Inbox(), os.environ["WEBHOOK_SECRET"].split())
    ThreadingHTTPServer(address, handler).serve_forever()

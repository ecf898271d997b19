"""A second implementation of the API, written from the API's description alone: small, sloppy, and not ours.

It shares nothing with the simulator. It keeps to what callers may rely on and leaves out what they may not: no rate
headers but a bare limit, few fields, no availability, made-up statuses of its own, a window that begins when it likes.
"""

import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TYPES = [{"id": "g6-nanode-1", "disk": 25600, "price": {"hourly": 0.0075}, "class": "nanode"}]
REGIONS = [{"id": "us-east", "capabilities": ["Linodes", "Metadata"]}, {"id": "us-west"}]
IMAGES = [{"id": "linode/debian12", "size": 1500}, {"id": "linode/arch"}]
LISTS = {
    "/linode/types": TYPES,
    "/regions": REGIONS,
    "/images": IMAGES,
    "/regions/availability": [],
    "/linode/kernels": [],
}
FAULTS = ("reset", "timeout", "gateway", "late", "cut")


class OtherApi(ThreadingHTTPServer):
    """The server; use it as a context manager. Everything that was asked of it is counted in ``seen``."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *, token, limit=20, window=15.0, boot=5.0, faults=0.0, late=(2.0, 5.0), seed=1):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.limit, self.window, self.boot = token, limit, window, boot
        self.faults, self.late, self.dice = faults, late, random.Random(seed)
        self.lock = threading.Lock()
        self.linodes, self.numbers, self.seen, self.spoiled = {}, 5000, Counter(), Counter()
        self.bought = Counter()
        self.since, self.spent = None, 0
        self.times = deque()

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v4"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Callers that are killed break their connections; nobody needs to read that."""

    def admits(self):
        """Count a create, in fixed windows that begin with their first call."""
        now = time.monotonic()
        if self.since is None or now >= self.since + self.window:
            self.since, self.spent = now, 0
        self.spent += 1
        return self.spent <= self.limit

    def make(self, body):
        """Make a machine; return it, or the errors."""
        wrong = []
        if not any(one["id"] == body.get("type") for one in TYPES):
            wrong.append({"reason": "A valid plan type by that ID was not found", "field": "type"})
        if not any(one["id"] == body.get("region") for one in REGIONS):
            wrong.append({"reason": "region is not valid", "field": "region"})
        if body.get("image") and not body.get("root_pass") and not body.get("authorized_keys"):
            wrong.append({"reason": "Must provide valid root_pass, authorized_keys, or authorized_users"})
        with self.lock:
            if any(one["label"] == body.get("label") for one in self.linodes.values()):
                wrong.append({"reason": "Label must be unique among your linodes", "field": "label"})
            if wrong:
                return None, wrong
            self.numbers += self.dice.randrange(1, 9)
            made = {"id": self.numbers, "label": body.get("label") or f"linode{self.numbers}"}
            made |= {"tags": body.get("tags") or [], "region": body["region"], "type": body["type"]}
            self.linodes[self.numbers] = made | {"born": time.monotonic(), "on": body.get("booted", True)}
            self.bought[made["label"]] += 1
            return self.shown(self.linodes[self.numbers]), None

    def shown(self, one):
        """Return a machine as replies show it: few fields, and an address only once it is up."""
        age = time.monotonic() - one["born"]
        up = age > self.boot
        status = "running" if up else "booting" if age > self.boot / 2 else "waiting_for_a_hypervisor"
        if up and not one["on"]:
            status = "offline"
        shown = {name: one[name] for name in ("id", "label", "tags", "region", "type")}
        octets = f"{one['id'] >> 8 & 255}.{one['id'] & 255}"
        return shown | {"status": status} | ({"ipv4": [f"198.18.{octets}"]} if up else {})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Say nothing."""

    def send(self, status, body, *, html=False, cut=False, extra=()):
        """Answer; ``cut``: break off in the middle of the body."""
        data = body.encode() if html else json.dumps(body).encode()
        self.server.seen[f"{self.command} {self.kind} {status}"] += 1
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in extra:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        if cut:
            self.reset()

    def reset(self):
        """Break the connection as a crash would."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def refuse(self, status, reason):
        """Answer in the API's words."""
        self.send(status, {"errors": [{"reason": reason}]})

    def begin(self):
        """Read the call; return its path without version, or None where it was refused."""
        path = urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.kind = re.sub(r"/\d+$", "/N", path.removeprefix("/v4"))
        if not path.startswith("/v4/"):
            return self.refuse(404, "Not found")
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.refuse(401, "Invalid Token")
        return unquote(path.removeprefix("/v4"))

    def do_GET(self):
        """Lists, and one machine."""
        path = self.begin()
        if path is None:
            return
        server = self.server
        if path in LISTS:
            self.page(LISTS[path])
        elif path == "/profile":
            self.send(200, {"username": "somebody"}, extra=[("X-OAuth-Scopes", "*")])
        elif path == "/linode/instances":
            with server.lock:
                rows = [server.shown(one) for one in server.linodes.values()]
            wanted = json.loads(self.headers.get("X-Filter") or "{}")
            self.page([row for row in rows if fits(row, wanted)])
        elif (found := re.fullmatch(r"/linode/instances/(\d+)", path)) and int(found[1]) in server.linodes:
            self.send(200, server.shown(server.linodes[int(found[1])]))
        else:
            self.refuse(404, "Not found")

    def page(self, rows):
        """Answer one page."""
        query = parse_qs(urlsplit(self.path).query)
        number, size = int(query.get("page", ["1"])[0]), int(query.get("page_size", ["100"])[0])
        part = rows[(number - 1) * size : number * size]
        pages = max(-(-len(rows) // size), 1)
        self.send(200, {"data": part, "page": number, "pages": pages, "results": len(rows)})

    def do_DELETE(self):
        """Remove a machine."""
        path = self.begin()
        found = re.fullmatch(r"/linode/instances/(\d+)", path or "")
        if path is not None and found and self.server.linodes.pop(int(found[1]), None):
            self.send(200, {})
        elif path is not None:
            self.refuse(404, "Not found")

    def do_POST(self):
        """Create a machine, or fail at it in one of five ways."""
        path = self.begin()
        if path != "/linode/instances":
            return None if path is None else self.refuse(404, "Not found")
        server = self.server
        with server.lock:
            allowed = server.admits()
            fault = server.dice.choice(FAULTS) if server.dice.random() < server.faults else None
        if not allowed:
            limit = [("X-RateLimit-Limit", str(server.limit))]
            return self.send(429, {"errors": [{"reason": "Too many requests"}]}, extra=limit)
        body = json.loads(self.body)
        if fault is None:
            return self.answer(*server.make(body))
        server.spoiled[fault] += 1
        return self.fail(fault, body)

    def answer(self, made, wrong, *, cut=False):
        """Answer a create."""
        self.send(200, made, cut=cut) if made else self.send(400, {"errors": wrong})

    def fail(self, fault, body):
        """Apply the create now, later or perhaps, and let the caller not know."""
        server = self.server
        if fault == "cut":
            return self.answer(*server.make(body), cut=True)
        if fault == "late":
            delay = server.dice.uniform(*server.late)
            threading.Timer(delay, server.make, [body]).start()
        elif fault == "reset" or server.dice.random() < 0.5:
            server.make(body)
        if fault == "reset":
            return self.reset()
        if fault == "timeout":
            return self.refuse(408, "Please try again")
        return self.send(504, "<html><h1>504 Gateway Time-out</h1></html>", html=True)


def fits(row, wanted):
    """Whether a machine fits a filter: equality, tags, ``+gte`` and ``+and`` are all that it knows."""
    for name, value in wanted.items():
        if name == "+and":
            if not all(fits(row, one) for one in value):
                return False
        elif isinstance(value, dict):
            if row.get(name, 0) < value.get("+gte", 0):
                return False
        elif value not in row["tags"] if name == "tags" else row.get(name) != value:
            return False
    return True

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator import SimReply, SimRequest, World, handle

NANODE = {
    "type": "g6-nanode-1",
    "region": "us-east",
    "image": "linode/debian12",
    "root_pass": "aComplexP@ssw0rd",
}


@dataclass
class Api:
    """A world with a clock in hand."""

    world: World = field(default_factory=World)
    now: float = 1_800_000_000.0
    token: str | None = "simulated-token"

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: str = "",
        x_filter: object = None,
        token: str | None = "",
        raw: bytes | None = None,
    ) -> SimReply:
        headers = {}
        token = self.token if token == "" else token
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if x_filter is not None:
            headers["x-filter"] = x_filter if isinstance(x_filter, str) else json.dumps(x_filter)
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return handle(self.world, SimRequest(method, f"/v4{path}", query, headers, data), self.now)

    def call(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        reply = self.send(method, path, body, **options)
        return reply.status, json.loads(reply.body)

    def create(self, **body: object) -> dict[str, Any]:
        status, made = self.call("POST", "/linode/instances", {**NANODE, **body})
        assert status == 200, made
        return made

    def refused(self, **body: object) -> list[dict[str, str]]:
        wanted = {name: value for name, value in {**NANODE, **body}.items() if value is not None}
        status, answer = self.call("POST", "/linode/instances", wanted)
        assert status == 400, answer
        return answer["errors"]

    def status(self, ident: int) -> str:
        return self.call("GET", f"/linode/instances/{ident}")[1]["status"]

    def labels(self, x_filter: object = None) -> list[str]:
        answer = self.call("GET", "/linode/instances", x_filter=x_filter)[1]
        return [row["label"] for row in answer["data"]]


@pytest.fixture
def api() -> Api:
    """A fresh world with a clock in hand."""
    return Api()


@pytest.fixture
def nanode() -> Mapping[str, str]:
    """The body of a valid create, without a label."""
    return NANODE

"""The whole OpenAPI document against the real service on a real database, by schemathesis."""

import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import Random

import httpx
import uvicorn

from jobs import admission, house, keys, schema
from jobs.admission import CREATE, Limit
from jobs.database import Database
from jobs.fleets import Guards
from jobs.hooks import Hooks
from jobs.reach import Reach
from jobs.service import Service
from jobs.sessions import Sessions
from jobs.vault import Vault, new_key
from nodewright.service.app import create_app
from nodewright.service.deps import ServiceDeps
from tests.nodewright.conftest import CATALOG, SPEC

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
FLEETS = 3
# A list beyond its bound may be beyond the body's too: 413 is a refusal that the document names, and the tool's own
# list of refusals lacks it.
_CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""


@dataclass
class Tally:
    """What the service itself saw: its answers by status, whatever the tool says."""

    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def cases(self):
        """How many requests were answered."""
        return self.statuses.total()

    @property
    def server_errors(self):
        """How many answers were 500 (503 is an answer that the document names)."""
        return self.statuses[HTTPStatus.INTERNAL_SERVER_ERROR]


class _Counted:
    def __init__(self, app, tally):
        self._app, self._tally = app, tally

    async def __call__(self, scope, receive, send):
        async def counting(message):
            if message["type"] == "http.response.start":
                self._tally.statuses[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counting)


def furnish(database):
    """Fill a migrated database: a catalog, a key that may do everything, and fleets that have ended."""
    with database.write() as tx:
        admission.register(tx, account_id="default", token_id="t1", limits={CREATE: [Limit(20, 15.0)]})
        house.store_catalogs(tx, "default", CATALOG)
    return keys.create_key(database, tenant="default", name="fuzz", dice=Random(3))


def deps_for(database):
    """Return a service over the database; its event streams are cut short."""
    with database.read() as tx:
        catalog = house.load_catalog(tx, "default")
    vault = Vault([new_key()])
    service = Service(
        database,
        vault=vault,
        guards=Guards(max_instances=100_000, max_hourly_microusd=10**12),
        catalogs=lambda _: catalog,
        notify=lambda: None,
        dice=Random(4),
    )
    return ServiceDeps(
        service,
        authenticate=lambda key: keys.check(database, key),
        sessions=Sessions(database, dice=Random(6)),
        hooks=Hooks(database, vault=vault, reach=Reach.PUBLIC, dice=Random(5)),
        ready=lambda: None,
        local=True,
        stream_seconds=0.2,
    )


@contextmanager
def fuzzable(url):
    """Serve a fresh installation in the database at ``url``; yield its address, its key and its tally."""
    database, tally = Database(url), Tally()
    schema.upgrade(database, dice=Random(1))
    key = furnish(database)
    app = _Counted(create_app(deps_for(database)), tally)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as bound:
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{bound.getsockname()[1]}"
            _submit_some(address, key)
            tally.statuses.clear()
            yield address, key, tally
        finally:
            server.should_exit = True
            thread.join()
            database.close()


def _submit_some(address, key):
    with httpx.Client(
        base_url=address, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    ) as http:
        for number in range(FLEETS):
            document = {"name": f"web{number}", "count": 2, **SPEC}
            assert http.post("/v1/fleets", json=document).status_code == HTTPStatus.ACCEPTED
            http.post(f"/v1/fleets/web{number}/cancel")


# Python 3.11 meets its limit within Hypothesis, which shows a strategy as large as a fleet's.
_START = (
    "import sys; sys.setrecursionlimit(20_000); from schemathesis.cli import schemathesis; schemathesis()"
)


def fuzz(address, key, folder, *, phases, examples, seed, seconds):
    """Run schemathesis over the document; return its exit code and what it said."""
    config = Path(folder) / "schemathesis.toml"
    config.write_text(_CONFIG, encoding="utf-8")
    command = [
        *(sys.executable, "-c", _START, "--config-file", str(config)),
        *("run", f"{address}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--checks", ",".join(CHECKS)),
        *("--mode", "all", "--phases", phases, "--warnings", "off"),
        *("--max-examples", str(examples), "--seed", str(seed)),
        *("--request-timeout", "30", "--continue-on-failure", "--no-color", "--no-shrink"),
        # One worker: in CPython 3.11.7 threads that parse source at the same moment disturb each other (gh-106905).
        *("--workers", "1"),
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds, env=_plain()
    )
    return done.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stdout + done.stderr)


def _plain():
    import os  # noqa: PLC0415 - only here

    hidden = ("NODEWRIGHT_", "LINODE_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(hidden)}, "COLUMNS": "120"}

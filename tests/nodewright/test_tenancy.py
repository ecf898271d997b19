"""No tenant sees another's rows, by whichever route. The routes are those of the service's own OpenAPI document."""

import json
import re
from random import Random

import httpx
import pytest
from sqlalchemy import select

from jobs import admission, house, keys, transitions
from jobs import tenants as tenant_rows
from jobs.records import fleets, job_events, jobs, webhook_deliveries, webhooks
from jobs.requests import parse_request
from jobs.webhooks import EndpointRequest
from nodewright.service.app import create_app
from tests.nodewright.conftest import CATALOG

METHODS = ("get", "post", "put", "patch", "delete")
OPEN = {"/livez", "/readyz"}
"""What answers without a key."""
OF_ALL = {
    *("/metrics", "/v1/pause", "/v1/resume"),
    *("/v1/accounts/{account_id}/pause", "/v1/accounts/{account_id}/resume"),
}
"""What tells or decides of all tenants together, to keys with the scope `admin` only."""
PLACES = {
    "ref": ("fleet", "name"),
    "fleet_id": ("fleet",),
    "job_id": ("job",),
    "account_id": ("account",),
    "webhook_id": ("webhook",),
    "delivery_id": ("delivery",),
}
"""Which of the owner's things a name in a path stands for. A new name has to be added here."""
ASKED = {"fleet": "name", "label": "label", "job": "job", "since": "job", "after": "job", "tag": "tag"}
"""What a query parameter is asked with; others are left out."""
OWN = {"name": "intruder", "count": 1, "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
BODIES = {
    "/v1/jobs/{job_id}/resolve": {"absent": True},
    "/v1/fleets/{ref}/destroy": {"dry_run": True},
    "/v1/fleets/{ref}/ttl": {"extend": 60},
    "/v1/fleets/{ref}/cancel": {},
    "/v1/fleets/{ref}/retry": {},
    "/v1/fleets/{ref}/scale": {"to": 2},
    "/v1/jobs/{job_id}/cancel": {},
    "/v1/jobs/{job_id}/retry": {},
    "/v1/webhooks": {"url": "https://intruder.example/hook"},
}
"""Bodies that would be good for the owner; a document of the intruder's own where nothing is said."""
PRIVATE = "private/1002"
"""An image of the owner's account."""
NO_STREAM = httpx.Timeout(10)


class Owner:
    """A tenant with a fleet in several states, and a key that may do everything."""

    def __init__(self, site):
        self.key = site.key
        request = {**OWN, "name": "victims-fleet", "count": 3, "tags": ["victims-tag"], "ttl": "2h"}
        made = site.deps.service.submit(parse_request(request), tenant="default", actor="test").fleet
        found = site.deps.service.jobs("default", fleet=made.id)
        self.things = {"fleet": made.id, "name": "victims-fleet", "job": found[0].id, "tag": "victims-tag"}
        self.things |= {"label": found[0].label, "account": "default"}
        self.park(site, found[0].id)
        endpoint = EndpointRequest("https://victims-hook.example/")
        webhook = site.deps.hooks.add(endpoint, "default").webhook.id
        self.things |= {"webhook": webhook, "delivery": site.deps.hooks.test(webhook, "default").id}
        self.marks = {"victims-", PRIVATE, made.id, *(job.id for job in found), keys.key_id(site.key)}

    def park(self, site, job_id):
        """Let a job of the owner be parked: an alarm names it."""
        with site.database.write() as tx:
            columns = {"state": "uncertain", "last_unknown_at": tx.now}
            tx.execute(jobs.update().where(jobs.c.id == job_id).values(**columns))
            transitions.parked(tx, transitions.load(tx, job_id), actor="test")


@pytest.fixture
def owner(served):
    """The tenant that owns everything there is."""
    return Owner(served)


@pytest.fixture
def intruder(served):
    """Another tenant's key, with every scope but `admin`; its account has no private image."""
    public = [image for image in CATALOG["images"] if image["id"] != PRIVATE]
    with served.database.write() as tx:
        tenant_rows.add(tx, "intruder")
        admission.register(tx, account_id="theirs", token_id="t2", limits={})
        house.store_catalogs(tx, "theirs", {**CATALOG, "images": public})
        tenant_rows.map_accounts(tx, "intruder", ("theirs",))
    scopes = tuple(scope for scope in keys.SCOPES if scope != "admin")
    return keys.create_key(served.database, tenant="intruder", name="i", dice=Random(9), scopes=scopes)


def operations(site):
    """Return every operation of the service: method, path and description."""
    paths = create_app(site.deps).openapi()["paths"]
    return [
        (method, path, operation)
        for path, described in paths.items()
        for method, operation in described.items()
        if method in METHODS
    ]


def filled(path, owner):
    """Return the path with the owner's things in it, each way, and what was put in."""
    names = re.findall(r"\{(\w+)\}", path)
    assert set(names) <= set(PLACES), f"{path}: say in PLACES what of the owner's its names stand for"
    ways = PLACES[names[0]] if names else ("",)
    for way in ways:
        put = {name: owner.things[way if way in PLACES[name] else PLACES[name][0]] for name in names}
        yield path.format(**put), set(put.values())


def queries(operation, owner):
    """Return the queries to ask with: none, and each parameter that may name something of the owner's."""
    asked = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    return [{}, *({name: owner.things[ASKED[name]]} for name in asked if name in ASKED)]


def call(site, key, method, path, **more):
    """Call a route; return its status and the beginning of its answer, of a stream its head only."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    options = {"headers": headers, "trust_env": False, "timeout": NO_STREAM, **more}
    with httpx.stream(method.upper(), f"{site.url}{path}", **options) as answer:
        endless = answer.headers.get("content-type", "").startswith("text/event-stream")
        return answer.status_code, "" if endless else answer.read().decode()


def rows(site, tenant="default"):
    """Return everything that the owner has."""
    mine = select(jobs.c.id).where(jobs.c.tenant_id == tenant)
    with site.database.read() as tx:
        return [
            tx.execute(select(fleets).where(fleets.c.tenant_id == tenant)).all(),
            tx.execute(select(jobs).where(jobs.c.tenant_id == tenant).order_by(jobs.c.id)).all(),
            tx.execute(select(job_events).where(job_events.c.job_id.in_(mine))).all(),
            tx.execute(select(webhooks).where(webhooks.c.tenant_id == tenant)).all(),
            tx.execute(select(webhook_deliveries)).all(),
        ]


def body_for(method, path):
    """Return a body that the route would take."""
    return {"json": BODIES.get(path, OWN)} if method in {"post", "put", "patch"} else {}


def test_every_route_with_another_tenants_key(served, owner, intruder):
    """With another's key a route that names something answers 404, any other shows nothing of the owner's; and nothing
    of the owner's is changed.
    """
    before, named = rows(served), 0
    for method, path, operation in operations(served):
        for url, put in filled(path, owner):
            named += bool(put)
            for query in queries(operation, owner):
                status, said = call(served, intruder, method, url, params=query, **body_for(method, path))
                where = (method, path, query, status, said[:500])
                assert status < 500, where
                assert status == 404 or not put or path in OF_ALL, where
                assert status in {403, 404} or path not in OF_ALL, where
                typed = {*put, *query.values()}
                shown = [mark for mark in owner.marks if mark in without(said, typed)]
                assert shown == [], where
    assert named >= 4
    assert rows(served) == before


def without(said, typed):
    """Return an answer without what was typed into its request: errors repeat that."""
    for word in sorted(typed, key=len, reverse=True):
        said = said.replace(word, "")
    return said


def test_every_route_with_the_owners_key(served, owner):
    """With the owner's key the very same calls find what they name, so that a 404 above is worth something."""
    for method, path, _ in sorted(operations(served), key=lambda one: one[0] == "delete"):
        for url, _put in filled(path, owner):
            status, said = call(served, owner.key, method, url, **body_for(method, path))
            assert status < 300 or status == 409, (method, path, status, said[:500])


def test_lists_show_the_owner_what_they_hide_from_others(served, owner):
    """The owner's key is shown the marks that the other's key was not, by every kind of list."""
    listed = [
        call(served, owner.key, "get", path)[1]
        for path in ("/v1/fleets", "/v1/jobs", "/v1/status", "/v1/webhooks", "/")
    ]
    assert all("victims-" in said for said in listed)


def test_every_route_needs_a_key(served, owner):
    """Without a key, with a wrong or a revoked one, every route under /v1 answers 401."""
    gone = keys.create_key(served.database, tenant="default", name="gone", dice=Random(11))
    keys.revoke(served.database, keys.key_id(gone))
    for method, path, _ in operations(served):
        if path in OPEN | {"/metrics"}:
            continue
        for url, _put in filled(path, owner):
            for key in ("", gone, f"{owner.key}x"):
                status, said = call(served, key, method, url, **body_for(method, path))
                assert (status, json.loads(said)["code"]) == (401, "unauthenticated"), (method, path)


def test_every_route_needs_a_scope(served, owner):
    """A key without scopes may do nothing: every route that asks for a key answers 403."""
    bare = keys.create_key(served.database, tenant="default", name="bare", dice=Random(12), scopes=())
    for method, path, _ in operations(served):
        if path in OPEN:
            continue
        for url, _put in filled(path, owner):
            status, said = call(served, bare, method, url, **body_for(method, path))
            assert (status, json.loads(said)["code"]) == (403, "missing_key_scope"), (method, path, said)


def test_the_page_shows_a_tenant_its_own(served, owner, intruder):
    """A person's page, which is no part of the document, shows the key's tenant and nobody else."""
    for key, sees in ((owner.key, True), (intruder, False)):
        page = httpx.get(f"{served.url}/", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        assert page.status_code == 200
        assert ("victims-" in page.text) is sees


def test_one_idempotency_key_of_two_tenants(served, owner, intruder):
    """Two tenants may use the same idempotency key: each has a fleet of its own."""
    answers = []
    for number, key in enumerate((owner.key, intruder)):
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "same"}
        document = {**OWN, "name": f"same-{number}"}
        answers.append(
            httpx.post(f"{served.url}/v1/fleets", headers=headers, json=document, trust_env=False).json()
        )
    assert not any(answer["replayed"] for answer in answers)
    assert answers[0]["fleet"]["id"] != answers[1]["fleet"]["id"]

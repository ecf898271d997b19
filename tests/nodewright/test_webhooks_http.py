"""Webhooks by HTTP, by both clients and by the command line: the same endpoints, whoever asks."""

import asyncio
import json
from random import Random

import pytest
from sqlalchemy import update

from jobs import deliveries, keys
from jobs.deliveries import Message, Result
from jobs.records import webhook_deliveries, webhooks
from nodewright import AsyncClient, Client
from nodewright.client import NotAllowed, NotFound, Refused

URL = "https://example.com/hook"


@pytest.fixture
def client(served):
    """A client of the service."""
    with Client(served.url, served.key) as found:
        yield found


def enqueue(site, webhook_id, count):
    """Enqueue deliveries; return their ids, oldest first."""
    made = []
    for number in range(count):
        with site.database.write() as tx:
            message = Message("job.running", f"s{number}", tx.now, {"job": {"label": f"web-{number}"}})
            made += deliveries.enqueue(tx, [webhook_id], message, Random(f"{webhook_id}{number}"))
    return sorted(made)


def let_die(site, webhook_id):
    """Let everything that waits for an endpoint be given up."""
    with site.database.write() as tx:
        dead = {"state": "dead", "tries": 12, "due_at": None, "ended_at": tx.now, "error": "answered 500: oh"}
        mine = webhook_deliveries.c.webhook_id == webhook_id
        tx.execute(update(webhook_deliveries).where(mine).values(**dead))


def answer(site, status):
    """Let the endpoints answer what is due with a status."""
    with site.database.write() as tx:
        for turn in deliveries.claim(tx, most=8):
            batch = deliveries.load(tx, turn, limit=20)
            error = None if status < 300 else f"answered {status}"
            results = [Result(letter, status=status, error=error) for letter in batch.letters]
            deliveries.record(tx, turn, results, Random(1))
            deliveries.give_back(tx, turn)


# HTTP ----------------------------------------------------------------------------------------------------------------


def test_an_endpoint_from_its_beginning_to_its_end(http):
    """An endpoint is added, seen, given a new secret and removed; its secrets are in two answers only."""
    made = http.post("/v1/webhooks", json={"url": URL, "kinds": ["fleet.settled", "job.failed"]})
    assert made.status_code == 201
    webhook, secret = made.json()["webhook"], made.json()["secret"]
    assert (webhook["url"], webhook["kinds"]) == (URL, ["job.failed", "fleet.settled"])
    assert (webhook["state"], webhook["pending"], webhook["dead"]) == ("enabled", 0, 0)
    path = f"/v1/webhooks/{webhook['id']}"
    rotated = http.post(f"{path}/rotate").json()
    assert secret.startswith("whsec_")
    assert rotated["secret"] not in {secret, ""}
    assert rotated["webhook"]["previous_until"]
    for seen in (http.get("/v1/webhooks"), http.get(path), http.get(f"{path}/deliveries")):
        assert seen.status_code == 200
        assert "whsec_" not in seen.text
    gone = http.delete(path)
    assert (gone.status_code, gone.json()["dropped"]) == (200, 0)
    assert (http.get(path).status_code, http.get("/v1/webhooks").json()) == (404, {"webhooks": []})


def test_a_wrong_endpoint_is_refused_with_everything(http):
    """Each fault has field, value, what is wrong and what would be right; nothing is stored."""
    body = {"url": "http://me:pw@10.0.0.1:22/", "kinds": ["job.faild"], "secrets": 1}
    refused = http.post("/v1/webhooks", json=body)
    assert refused.status_code == 422
    faults = refused.json()["errors"]
    assert {fault["field"] for fault in faults} == {"url", "kinds", "secrets"}
    assert all(fault["message"] and fault["remedy"] for fault in faults)
    assert "pw" not in refused.text
    assert [fault["nearest"] for fault in faults if fault["field"] == "kinds"] == ["job.failed"]
    assert http.get("/v1/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "https://127.0.0.1/", "https://localhost/"])
def test_loopback_is_for_local_stacks(http, served, url):
    """Where loopback is not allowed an endpoint on it is refused, and the words name the setting or https."""
    refused = http.post("/v1/webhooks", json={"url": url})
    said = json.dumps(refused.json())
    assert refused.status_code == 422
    assert "NODEWRIGHT_WEBHOOK_ALLOW_PRIVATE" in said or "use https" in said


@pytest.mark.parametrize(
    ("what", "code"), [("{", "malformed_request"), ("[]", "invalid_request"), ("null", "invalid_request")]
)
def test_what_is_no_request(http, what, code):
    """A body that is no document is refused as everywhere."""
    headers = {"Content-Type": "application/json"}
    refused = http.post("/v1/webhooks", content=what, headers=headers)
    assert refused.json()["code"] == code


def test_too_many_endpoints(http):
    """The twenty-first endpoint is refused with what to do."""
    for _ in range(20):
        assert http.post("/v1/webhooks", json={"url": URL}).status_code == 201
    refused = http.post("/v1/webhooks", json={"url": URL})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


def test_the_log_pages(http, served):
    """The log is read newest first, page by page, by state; a cursor is for its own list only."""
    webhook = http.post("/v1/webhooks", json={"url": URL}).json()["webhook"]["id"]
    other = http.post("/v1/webhooks", json={"url": URL}).json()["webhook"]["id"]
    ids = enqueue(served, webhook, 5)
    path = f"/v1/webhooks/{webhook}/deliveries"
    first = http.get(path, params={"limit": 2}).json()
    second = http.get(path, params={"limit": 5, "after": first["next"]}).json()
    assert [one["id"] for one in (*first["deliveries"], *second["deliveries"])] == ids[::-1]
    assert second["next"] is None
    assert first["deliveries"][0]["payload"]["type"] == "job.running"
    for wrong in (
        {"after": first["next"], "state": "dead"},
        {"after": "nonsense"},
        {"state": "lost"},
        {"limit": 0},
    ):
        assert http.get(path, params=wrong).status_code == 422
    strange = http.get(f"/v1/webhooks/{other}/deliveries", params={"after": first["next"]})
    assert strange.json()["code"] == "invalid_cursor"


def test_a_disabled_endpoint_takes_tests_only(http, served):
    """After a 410 a resend is refused with what to do; a test is taken, and enables the endpoint when it arrives."""
    webhook = http.post("/v1/webhooks", json={"url": URL}).json()["webhook"]["id"]
    path = f"/v1/webhooks/{webhook}"
    (delivery,) = enqueue(served, webhook, 1)
    answer(served, 410)
    shown = http.get(path).json()["webhook"]
    assert (shown["state"], shown["dead"], shown["disabled_reason"]) == (
        "disabled",
        1,
        "it answered 410 Gone",
    )
    for resend in ("/deliveries/resend", f"/deliveries/{delivery}/resend"):
        refused = http.post(path + resend)
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    assert http.post(f"{path}/test").status_code == 202
    answer(served, 200)
    assert http.get(path).json()["webhook"]["state"] == "enabled"
    assert http.post(f"{path}/deliveries/resend").json() == {"resent": 1}


def test_scopes(served):
    """Looking takes `read`; everything that changes an endpoint or sends takes `operate`."""
    made = {
        scope: keys.create_key(
            served.database, tenant="default", name=scope, dice=Random(scope), scopes=(scope,)
        )
        for scope in ("read", "operate")
    }
    with Client(served.url, made["operate"]) as operator, Client(served.url, made["read"]) as reader:
        webhook = operator.add_webhook(URL).webhook.id
        operator.test_webhook(webhook)
        (delivery,) = reader.deliveries(webhook)
        assert [one.id for one in reader.webhooks()] == [webhook]
        for refused in (
            lambda: reader.add_webhook(URL),
            lambda: reader.rotate_webhook(webhook),
            lambda: reader.test_webhook(webhook),
            lambda: reader.resend(webhook, delivery.id),
            lambda: reader.resend_dead(webhook),
            lambda: reader.remove_webhook(webhook),
            operator.webhooks,
            lambda: operator.webhook(webhook),
            lambda: next(operator.deliveries(webhook)),
        ):
            with pytest.raises(NotAllowed):
                refused()


# Clients -------------------------------------------------------------------------------------------------------------


def test_the_client(client, served):
    """Whatever HTTP can, the client can; unknown ones are NotFound, a wrong URL is Refused with its faults."""
    made = client.add_webhook(URL, ["job.failed"])
    assert made.secret not in repr(made)
    enqueue(served, made.webhook.id, 3)
    let_die(served, made.webhook.id)
    found = list(client.deliveries(made.webhook.id, state="dead"))
    assert [one.error for one in found] == ["answered 500: oh"] * 3
    assert client.resend(made.webhook.id, found[0].id).state == "pending"
    assert client.resend_dead(made.webhook.id) == 2
    assert client.test_webhook(made.webhook.id).kind == "webhook.test"
    assert client.rotate_webhook(made.webhook.id).secret != made.secret
    assert client.webhook(made.webhook.id).pending == 4
    assert client.remove_webhook(made.webhook.id).dropped == 4
    with pytest.raises(NotFound):
        client.webhook(made.webhook.id)
    with pytest.raises(Refused) as refused:
        client.add_webhook("http://example.com/")
    assert refused.value.problem.faults[0].field == "url"


def test_the_client_for_asyncio(served):
    """The same with `await`."""

    async def use():
        async with AsyncClient(served.url, served.key) as client:
            made = await client.add_webhook(URL)
            enqueue(served, made.webhook.id, 2)
            assert len([one async for one in client.deliveries(made.webhook.id)]) == 2
            let_die(served, made.webhook.id)
            assert await client.resend_dead(made.webhook.id) == 2
            (seen,) = await client.webhooks()
            rotated = await client.rotate_webhook(seen.id)
            assert rotated.webhook == await client.webhook(seen.id)
            test = await client.test_webhook(seen.id)
            assert (await client.resend(seen.id, test.id)).id == test.id
            return (await client.remove_webhook(seen.id)).dropped

    assert asyncio.run(use()) == 3


# Commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(served, run):
    """Runs `nodewright webhooks …`; checks its exit code; returns its JSON, or its words."""

    def invoke(*arguments, code=0, stdin=""):
        done = run("webhooks", *arguments, env=served.env, stdin=stdin)
        assert done.exit_code == code, (done.stdout, done.stderr)
        if code:
            return done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done

    return invoke


def test_the_commands(command, served):
    """An endpoint is added, listed, tested, looked at, resent to and removed by commands; the secret stands alone."""
    added = command("add", URL, "--kind", "job.failed", "--kind", "fleet.settled")
    assert added.stdout.startswith("whsec_")
    assert len(added.stdout.split()) == 1
    assert "not shown again" in added.stderr
    (shown,) = command("list", "--json")["webhooks"]
    assert shown["kinds"] == ["job.failed", "fleet.settled"]
    webhook = shown["id"]
    assert webhook in command("list").stdout
    assert "within seconds" in command("test", webhook).stdout
    enqueue(served, webhook, 2)
    let_die(served, webhook)
    dead = command("deliveries", webhook, "--state", "dead", "--json")["deliveries"]
    assert len(dead) == 3
    assert "answered 500: oh" in command("deliveries", webhook).stdout
    assert "1 delivery is sent again" in command("resend", webhook, dead[0]["id"]).stdout
    assert command("resend", webhook, "--dead", "--json") == {"resent": 2}
    assert command("rotate", webhook).stdout.startswith("whsec_")
    removed = command("remove", webhook, "--yes")
    assert "3 deliveries had not arrived" in removed.stdout
    assert "No webhooks yet" in command("list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "http://example.com/"), "url: is without TLS"),
        (("add", URL, "--kind", "job.faild"), "did you mean `job.failed`?"),
        (("rotate", "nonsense"), "there is no webhook 'nonsense'"),
        (("deliveries", "nonsense"), "there is no webhook 'nonsense'"),
        (("test", "nonsense"), "there is no webhook 'nonsense'"),
        (("remove", "nonsense", "--yes"), "there is no webhook 'nonsense'"),
        (("resend", "nonsense"), "DELIVERY or --dead"),
        (("resend", "nonsense", "nonsense", "--dead"), "DELIVERY or --dead"),
        (("resend", "nonsense", "--dead"), "there is no webhook 'nonsense'"),
    ],
)
def test_wrong_commands(command, arguments, words):
    """What is wrong is said in a sentence, with exit code 2."""
    assert words in command(*arguments, code=2)


def test_removing_asks_first(command, served):
    """Where nobody can be asked an endpoint is not removed without --yes."""
    webhook = command("add", URL, "--json")["webhook"]["id"]
    assert "--yes" in command("remove", webhook, code=2)
    assert len(command("list", "--json")["webhooks"]) == 1


def test_no_secret_stands_in_a_table(command, served):
    """No column of the database holds a signing secret."""
    secret = command("add", URL, "--json")["secret"]
    with served.database.read() as tx:
        rows = tx.execute(webhooks.select()).all()
    assert secret.removeprefix("whsec_") not in str(rows)

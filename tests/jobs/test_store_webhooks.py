"""Endpoints and deliveries as rows."""

from datetime import timedelta
from random import Random

import pytest
from sqlalchemy import select, update

from jobs import deliveries, webhooks
from jobs.deliveries import Message, Result
from jobs.hooks import Hooks, TooManyWebhooks, WebhookDisabled
from jobs.reach import Reach
from jobs.records import webhook_deliveries as table
from jobs.records import webhooks as endpoints
from jobs.requests import InvalidRequest
from jobs.rotation import rotate as rotate_keys
from jobs.service import NotFound, SecretsRefused
from jobs.vault import Vault, new_key
from jobs.webhooks import KINDS, EndpointRequest, parse_endpoint
from tests.support.clock import START
from tests.support.fleets import TENANT, add_tenant

URL = "https://example.com/hook"


@pytest.fixture
def vault():
    """Keys."""
    return Vault([new_key()])


@pytest.fixture
def hooks(database, vault):
    """The faces' way to webhooks."""
    return Hooks(database, vault=vault, reach=Reach.PUBLIC, dice=Random(1))


@pytest.fixture
def webhook(hooks):
    """The id of an endpoint."""
    return hooks.add(EndpointRequest(URL), TENANT).webhook.id


def enqueue(database, webhook_id, *subjects, kind="job.running"):
    """Enqueue messages; return the ids of the deliveries."""
    with database.write() as tx:
        messages = [Message(kind, subject, tx.now, {"job": {"id": "x"}}) for subject in subjects]
        return [
            deliveries.enqueue(tx, [webhook_id], one, Random(webhook_id + one.subject))[0] for one in messages
        ]


def claim(database, most=8):
    """Claim turns."""
    with database.write() as tx:
        return deliveries.claim(tx, most=most)


def load(database, turn, limit=20):
    """Load what is due."""
    with database.read() as tx:
        return deliveries.load(tx, turn, limit=limit)


def attempt(database, **outcome):
    """Let the one endpoint with something due answer so to its first letter; return the letter."""
    (turn,) = claim(database)
    letter = load(database, turn).letters[0]
    with database.write() as tx:
        deliveries.record(tx, turn, [Result(letter, **outcome)], Random(9))
        deliveries.give_back(tx, turn)
    return letter


def row(database, delivery_id):
    """Return a delivery's row."""
    with database.read() as tx:
        return tx.execute(select(table).where(table.c.id == delivery_id)).one()


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_shown_without_its_secret(hooks, database, vault):
    """A new endpoint is told of everything; its secret is returned once, and stands nowhere in the clear."""
    made = hooks.add(EndpointRequest(URL), TENANT)
    (shown,) = hooks.endpoints(TENANT)
    assert (shown, shown.kinds, shown.state) == (made.webhook, KINDS, "enabled")
    assert made.secret not in str(shown.to_json())
    with database.read() as tx:
        sealed = tx.execute(select(endpoints.c.sealed)).scalar_one()
    assert made.secret.encode() not in sealed
    assert vault.open(sealed) == {"secret": made.secret}


def test_a_secret_is_replaced_while_the_old_one_still_signs(hooks, webhook, database, vault, clock):
    """After a rotation both secrets sign for a day, then only the new one; a second rotation ends the first at once."""
    first = hooks.rotate(webhook, TENANT)
    second = hooks.rotate(webhook, TENANT)
    with database.read() as tx:
        row_ = tx.execute(select(endpoints)).one()
    now, later = START, START + timedelta(hours=24)
    assert webhooks.secrets_of(vault, row_.sealed, row_.previous_until, now) == [second.secret, first.secret]
    assert webhooks.secrets_of(vault, row_.sealed, row_.previous_until, later) == [second.secret]
    assert second.webhook.previous_until == later
    clock.advance(86_400)
    assert hooks.show(webhook, TENANT).previous_until is None


def test_encryption_keys_can_go(hooks, webhook, database, vault):
    """Rotating the encryption keys seals endpoints' secrets anew too."""
    new = new_key()
    with database.write() as tx:
        sealed = tx.execute(select(endpoints.c.sealed)).scalar_one()
        old = new_key()
        tx.execute(update(endpoints).values(sealed=Vault([old]).seal(vault.open(sealed))))
    assert rotate_keys(database, Vault([new, old])).webhooks == 1
    with database.read() as tx:
        assert Vault([new]).open(tx.execute(select(endpoints.c.sealed)).scalar_one())["secret"]


def test_without_keys_nothing_is_made(database, webhook):
    """Without an encryption key there is no endpoint and no rotation, and it is said why."""
    bare = Hooks(database, vault=None, reach=Reach.PUBLIC, dice=Random(1))
    other = Hooks(database, vault=Vault([new_key()]), reach=Reach.PUBLIC, dice=Random(1))
    for act in (
        lambda: bare.add(EndpointRequest(URL), TENANT),
        lambda: bare.rotate(webhook, TENANT),
        lambda: other.rotate(webhook, TENANT),
    ):
        with pytest.raises(SecretsRefused, match="NODEWRIGHT_ENCRYPTION_KEYS"):
            act()


def test_how_many_endpoints_a_tenant_may_have(hooks):
    """A tenant may have twenty endpoints and no more; another tenant's do not count."""
    add_tenant(hooks._database, "other")
    for _ in range(webhooks.MOST):
        hooks.add(EndpointRequest(URL), TENANT)
    with pytest.raises(TooManyWebhooks, match="20"):
        hooks.add(EndpointRequest(URL), TENANT)
    hooks.add(EndpointRequest(URL), "other")


def test_endpoints_are_their_tenants(hooks, webhook):
    """Whatever is asked of another tenant's endpoint, it is not there; nothing of it is changed."""
    delivery = hooks.test(webhook, TENANT)
    before = hooks.show(webhook, TENANT)
    for act in (
        lambda: hooks.show(webhook, "other"),
        lambda: hooks.rotate(webhook, "other"),
        lambda: hooks.test(webhook, "other"),
        lambda: hooks.deliveries(webhook, "other"),
        lambda: hooks.resend(webhook, delivery.id, "other"),
        lambda: hooks.resend_dead(webhook, "other"),
        lambda: hooks.remove(webhook, "other"),
        lambda: hooks.show("nonsense", TENANT),
        lambda: hooks.resend(webhook, webhook, TENANT),
        lambda: hooks.resend(webhook, "nonsense", TENANT),
    ):
        with pytest.raises(NotFound):
            act()
    assert (hooks.endpoints("other"), hooks.show(webhook, TENANT)) == ([], before)


def test_an_endpoint_goes_with_its_log(hooks, webhook, database):
    """A removed endpoint takes its deliveries along, and says how many had not arrived; a turn under way ends well."""
    enqueue(database, webhook, "a", "b")
    (turn,) = claim(database)
    letter = load(database, turn).letters[0]
    with database.write() as tx:
        deliveries.record(tx, turn, [Result(letter, status=200)], Random(1))
    assert hooks.remove(webhook, TENANT)[1] == 1
    with database.write() as tx:
        deliveries.record(tx, turn, [Result(letter, status=200)], Random(1))
        assert tx.execute(select(table)).all() == []


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({}, ["url"]),
        ({"url": "http://x.example/"}, ["url"]),
        ({"url": URL, "kinds": []}, ["kinds"]),
        ({"url": URL, "kinds": "job.running"}, ["kinds"]),
        ({"url": URL, "kinds": ["job.runing"]}, ["kinds"]),
        ({"url": URL, "kinds": [7, "x"]}, ["kinds", "kinds"]),
        ({"url": URL, "kinds": None}, ["kinds"]),
        ({"ulr": URL}, ["ulr", "url"]),
        ({"url": URL, "secret": "whsec_x"}, ["secret"]),
        ({"kind": "x", "url": 7, "kinds": ["?"]}, ["kind", "url", "kinds"]),
        ([], [""]),
        (None, [""]),
    ],
)
def test_wrong_endpoints_are_refused(document, fields):
    """A wrong request for an endpoint is refused with all that is wrong: field, message and remedy."""
    with pytest.raises(InvalidRequest) as refused:
        parse_endpoint(document, Reach.PUBLIC)
    faults = refused.value.faults
    assert [fault.field for fault in faults] == fields
    assert all(fault.message and fault.remedy for fault in faults)


def test_a_misspelt_kind_is_told_its_neighbour():
    """A kind that is nearly one of ours is answered with that, and where it stands."""
    with pytest.raises(InvalidRequest) as refused:
        parse_endpoint({"url": URL, "kinds": ["job.running", "job.faild"]}, Reach.PUBLIC)
    (fault,) = refused.value.faults
    assert (fault.pointer, fault.value, fault.nearest) == ("/kinds/1", "job.faild", "job.failed")


# Deliveries ----------------------------------------------------------------------------------------------------------


def test_one_thing_is_told_once(hooks, webhook, database):
    """However often a subject is enqueued for an endpoint, it is one delivery; another endpoint has its own."""
    other = hooks.add(EndpointRequest(URL), TENANT).webhook.id
    for _ in range(3):
        enqueue(database, webhook, "same")
    enqueue(database, other, "same")
    assert [len(hooks.deliveries(one, TENANT)) for one in (webhook, other)] == [1, 1]


def test_one_worker_at_a_time_sends_to_an_endpoint(webhook, database, clock):
    """Who has the turn has it alone until it gives it back, or until its lease is over: then another takes over."""
    enqueue(database, webhook, "a")
    (first,) = claim(database)
    assert claim(database) == []
    with database.read() as tx:
        assert deliveries.next_due(tx) is None
    clock.advance(deliveries.LEASE.total_seconds())
    (second,) = claim(database)
    assert load(database, first) is None
    assert [letter.tries for letter in load(database, second).letters] == [0]
    with database.write() as tx:
        deliveries.give_back(tx, first)  # it is not its own any more
    assert claim(database) == []


def test_who_waits_longest_comes_first(hooks, database, clock):
    """Of several endpoints those are served first that were not served for longest, a new one before all."""
    ids = [hooks.add(EndpointRequest(URL), TENANT).webhook.id for _ in range(3)]
    for number, one in enumerate(ids):
        enqueue(database, one, "a", "b")
        with database.write() as tx:
            served = None if number == 2 else tx.now - timedelta(seconds=number)
            tx.execute(update(endpoints).where(endpoints.c.id == one).values(served_at=served))
    assert [turn.webhook_id for turn in claim(database, most=2)] == [ids[2], ids[1]]


def test_a_delivery_that_arrives_is_done(webhook, hooks, database):
    """An answer of success ends a delivery, with status and time; nothing is due any more."""
    (delivery,) = enqueue(database, webhook, "a")
    attempt(database, status=204)
    found = row(database, delivery)
    assert (found.state, found.tries, found.status, found.error) == ("delivered", 1, 204, None)
    assert (found.ended_at, found.due_at) == (START, None)
    assert claim(database) == []


def test_a_delivery_that_fails_is_tried_for_a_day_and_then_dead(webhook, hooks, database, clock):
    """Failed tries wait longer and longer; after the twelfth, within about a day, the delivery is dead, and kept."""
    (delivery,) = enqueue(database, webhook, "a")
    for tries in range(1, 13):
        attempt(database, status=500, error=f"answered 500: {tries}")
        found = row(database, delivery)
        assert (found.tries, found.error) == (tries, f"answered 500: {tries}")
        if found.state == "pending":
            assert claim(database) == []
            clock.now = found.due_at
    assert (found.state, found.due_at) == ("dead", None)
    assert timedelta(hours=20) < clock.now - START < timedelta(hours=29)
    assert (hooks.show(webhook, TENANT).dead, claim(database)) == (1, [])


def test_a_receiver_that_asks_for_patience_has_it(webhook, database, clock):
    """Retry-After postpones the next try."""
    (delivery,) = enqueue(database, webhook, "a")
    attempt(database, status=503, error="answered 503", retry_after=timedelta(minutes=30))
    assert row(database, delivery).due_at == START + timedelta(minutes=30)


def test_words_of_a_receiver_are_cut(webhook, database):
    """However much a receiver says, a few hundred characters are kept."""
    (delivery,) = enqueue(database, webhook, "a")
    attempt(database, status=500, error="x" * 10_000)
    assert len(row(database, delivery).error) == 500


def test_a_dead_delivery_is_sent_again(webhook, hooks, database):
    """Resending gives a delivery all its tries again, with the same id and body; all dead ones at once, too."""
    ids = enqueue(database, webhook, "a", "b", "c")
    before = row(database, ids[0])
    with database.write() as tx:
        dead = {"state": "dead", "tries": 12, "due_at": None, "ended_at": tx.now}
        tx.execute(update(table).where(table.c.id != ids[2]).values(**dead))
    again = hooks.resend(webhook, ids[0], TENANT)
    assert (again.state, again.tries, again.id) == ("pending", 0, ids[0])
    assert row(database, ids[0]).payload == before.payload
    assert hooks.resend_dead(webhook, TENANT) == 1
    assert {one.state for one in hooks.deliveries(webhook, TENANT)} == {"pending"}


def test_a_delivered_one_is_sent_again_too(webhook, hooks, database):
    """A receiver that lost what it had taken can have it again."""
    (delivery,) = enqueue(database, webhook, "a")
    attempt(database, status=200)
    hooks.resend(webhook, delivery, TENANT)
    assert attempt(database, status=200).id == delivery


def test_a_resend_is_not_undone_by_a_try_under_way(webhook, hooks, database, clock):
    """Who asks for a resend while a try is under way gets one, whatever that try comes to."""
    (delivery,) = enqueue(database, webhook, "a")
    attempt(database, status=500, error="x")
    clock.now = row(database, delivery).due_at
    (turn,) = claim(database)
    letter = load(database, turn).letters[0]
    hooks.resend(webhook, delivery, TENANT)
    with database.write() as tx:
        deliveries.record(tx, turn, [Result(letter, status=200)], Random(1))
    assert (row(database, delivery).state, row(database, delivery).tries) == ("pending", 0)


def test_gone_disables_an_endpoint(webhook, hooks, database):
    """410 ends an endpoint: what waits for it is dead, nothing can be resent, and it is said why."""
    ids = enqueue(database, webhook, "a", "b")
    attempt(database, status=410, error="answered 410")
    found = hooks.show(webhook, TENANT)
    assert (found.state, found.disabled_reason, found.dead) == ("disabled", "it answered 410 Gone", 2)
    assert {one.error for one in hooks.deliveries(webhook, TENANT)} == {
        "answered 410",
        "the endpoint was disabled",
    }
    for act in (lambda: hooks.resend_dead(webhook, TENANT), lambda: hooks.resend(webhook, ids[0], TENANT)):
        with pytest.raises(WebhookDisabled):
            act()
    assert claim(database) == []


def test_a_test_that_arrives_enables_an_endpoint_again(webhook, hooks, database):
    """A test is sent to a disabled endpoint too: only if it arrives is the endpoint told again, from then on."""
    enqueue(database, webhook, "a")
    attempt(database, status=410, error="answered 410")
    hooks.test(webhook, TENANT)
    attempt(database, status=500, error="answered 500")
    assert hooks.show(webhook, TENANT).state == "disabled"
    hooks.test(webhook, TENANT)
    attempt(database, status=200)
    assert hooks.show(webhook, TENANT).state == "enabled"
    assert hooks.resend_dead(webhook, TENANT) == 1


def test_the_log_is_read_page_by_page(webhook, hooks, database, clock):
    """Deliveries are listed newest first, by state where asked, and a page goes on where the one before ended."""
    ids = []
    for number in range(7):
        ids += enqueue(database, webhook, f"s{number}")
        clock.advance(1)
    attempt(database, status=200)
    first = hooks.deliveries(webhook, TENANT, limit=3)
    rest = hooks.deliveries(webhook, TENANT, limit=10, after=first[-1].id)
    assert [one.id for one in (*first, *rest)] == ids[::-1]
    assert [one.id for one in hooks.deliveries(webhook, TENANT, state="delivered")] == ids[:1]


def test_old_ones_are_forgotten(webhook, database, clock):
    """Delivered ones are kept for thirty days, dead ones for ninety, pending ones as long as they are pending."""
    ids = enqueue(database, webhook, "a", "b", "c")
    with database.write() as tx:
        for delivery, state in zip(ids, ("delivered", "dead"), strict=False):
            ended = {"state": state, "due_at": None, "ended_at": tx.now}
            tx.execute(update(table).where(table.c.id == delivery).values(**ended))
    left = []
    for days in (29, 2, 58, 2):
        clock.advance(days * 86_400)
        with database.write() as tx:
            deliveries.prune(tx)
            left.append(len(tx.execute(select(table)).all()))
    assert left == [3, 2, 2, 1]

"""The chore that tells and sends: real receivers on loopback, one clock that only the test moves."""

import json
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import event, insert, select, update
from standardwebhooks import Webhook

from jobs import chores, deliveries, transitions
from jobs.database import Database
from jobs.hooks import Hooks
from jobs.reach import Reach
from jobs.records import accounts, installation, webhook_deliveries, webhooks
from jobs.states import State
from jobs.vault import Vault, new_key
from jobs.webhooks import KINDS, EndpointRequest
from tests.support.clock import FakeClock
from tests.support.fleets import TENANT, add_fleet, add_job, add_tenant, set_job
from tests.support.receiver import DRIP, GARBAGE, HANG, RESET, Receiver
from tests.worker.conftest import Inline
from worker.deliver import BATCH, TURN_SECONDS, Deliver, wait_of
from worker.egress import TOTAL_SECONDS, Egress


class Post:
    """An installation with a chore that tells and sends, and a clock that begins now: the library asks the real one."""

    def __init__(self, path):
        self.clock = FakeClock(datetime.now(UTC))
        self.database = Database(f"sqlite:///{path}", clock=self.clock)
        self.vault = Vault([new_key()])
        self.hooks = Hooks(self.database, vault=self.vault, reach=Reach.LOOPBACK, dice=Random(3))
        self.deliver = self.worker()
        self.position = 0

    def worker(self, *, executor=None, vault=None, seed=4, **egress):
        """Return another worker's chore."""
        way = Egress(Reach.LOOPBACK, **{"total_seconds": 0.4, **egress})
        return Deliver(
            self.database,
            vault or self.vault,
            way.post,
            executor or Inline(),
            dice=Random(seed),
            monotonic=self.clock.monotonic,
        )

    def endpoint(self, url, *kinds):
        """Add an endpoint; return it with its secret."""
        return self.hooks.add(EndpointRequest(url, kinds or KINDS), TENANT)

    def run(self, deliver=None, times=1):
        """Do the chore as the loop does, a second apart."""
        deliver = deliver or self.deliver
        for _ in range(times):
            with self.database.write() as tx:
                chores.ensure(tx, [deliver.name])
                claim = chores.claim(tx, deliver.name, owner="w", lease=deliver.lease)
            due = deliver.run(claim)
            with self.database.write() as tx:
                assert chores.finish(tx, claim, due_at=due, state=claim.state)
            self.clock.advance(1)

    def happen(self, fleet, count=1):
        """Let jobs of a fleet run."""
        for _ in range(count):
            self.position += 1
            number = 5000 + self.position
            job = add_job(
                self.database,
                State.BOOTING,
                fleet_id=fleet,
                position=self.position,
                linode_id=number,
                label=f"m-{number}",
            )
            with self.database.write() as tx:
                transitions.seen_running(tx, [job], actor="test")

    def log(self, webhook_id=None):
        """Return the rows of deliveries, oldest first."""
        with self.database.read() as tx:
            rows = tx.execute(select(webhook_deliveries).order_by(webhook_deliveries.c.id)).all()
        return [row for row in rows if webhook_id in {None, row.webhook_id}]

    def until_due(self):
        """Move the clock to when the next delivery is due."""
        self.clock.now = max(
            self.clock.now, *(row.due_at for row in self.log() if row.due_at), self.clock.now
        )

    def wanted(self, deliver=None):
        """Return from when a new worker's loop would want the chore done, in seconds from now; None: not at all."""
        with self.database.read() as tx:
            at = (deliver or self.worker()).wanted(tx)
        return None if at is None else (at - self.clock.now).total_seconds()


@pytest.fixture
def post(migrated, tmp_path):
    """An installation, its clock and its chore."""
    made = Post(shutil.copy(migrated, tmp_path / "jobs.db"))
    with made.database.write() as tx:
        tx.execute(update(installation).values(alive_at=tx.now))
        tx.execute(insert(accounts), {"id": "default", "epoch": 0, "faults": 0, "created_at": tx.now})
    yield made
    made.database.close()


@pytest.fixture
def receiver():
    """A receiver on loopback."""
    with Receiver() as found:
        yield found


def signed_well(got, *secrets):
    """Whether the public library makes one of the request's signatures from each secret."""
    at = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    made = {Webhook(secret).sign(got.headers["webhook-id"], at, got.body) for secret in secrets}
    return made == set(got.headers["webhook-signature"].split(" "))


# A delivery's way ----------------------------------------------------------------------------------------------------


def test_news_arrive_signed(post, receiver):
    """What happens arrives within a run of the chore, numbered; the Standard Webhooks library verifies it."""
    made = post.endpoint(receiver.url)
    fleet = add_fleet(post.database, name="web")
    post.happen(fleet, 2)
    post.run()
    found = [Webhook(made.secret).verify(got.body, got.headers) for got in receiver.got]
    assert [(one["data"]["sequence"], one["type"]) for one in found] == [
        (1, "job.running"),
        (2, "job.running"),
        (3, "fleet.settled"),
    ]
    assert [one["id"] for one in found] == [got.headers["webhook-id"] for got in receiver.got]
    assert {got.headers["content-type"] for got in receiver.got} == {"application/json"}
    post.run(times=3)
    assert len(receiver.got) == 3


def test_a_receiver_that_fails_seven_times_then_works(post, receiver):
    """Every try has the same id and body and a signature of its own moment; the eighth arrives; nothing comes after."""
    made = post.endpoint(receiver.url, "job.running")
    receiver.script += [500, 503, 429, RESET, GARBAGE, 404, 500]
    post.happen(add_fleet(post.database))
    for _ in range(8):
        post.run()
        post.until_due()
    (row,) = post.log()
    assert (row.state, row.tries, row.status, row.error) == ("delivered", 8, 204, None)
    assert len({(got.headers["webhook-id"], got.body) for got in receiver.got}) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) == 8
    assert all(signed_well(got, made.secret) for got in receiver.got)
    post.run(times=3)
    assert len(receiver.got) == 8


def test_a_receiver_that_never_works_is_given_up_and_can_be_asked_again(post, receiver):
    """After twelve tries in about a day a delivery is dead; when the receiver is mended a resend delivers it."""
    made = post.endpoint(receiver.url, "job.running")
    receiver.usual = 500
    post.happen(add_fleet(post.database))
    began = post.clock.now
    while post.log() == [] or post.log()[0].state == "pending":
        post.run()
        post.until_due()
    assert (len(receiver.got), post.log()[0].state) == (12, "dead")
    assert timedelta(hours=19) < post.clock.now - began < timedelta(hours=29)
    receiver.usual = 200
    assert post.hooks.resend_dead(made.webhook.id, TENANT) == 1
    post.run()
    assert (len(receiver.got), post.log()[0].state) == (13, "delivered")
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (HANG, "no "),
        (DRIP, "no whole answer within"),
        (RESET, "the connection broke before an answer"),
        ((302, {"Location": "http://127.0.0.1:1/"}, ""), "answered 302; redirects are not followed"),
        ((503, {}, "come back later"), "answered 503: come back later"),
    ],
)
def test_the_log_says_how_a_receiver_failed(post, receiver, how, words):
    """Each way of failing is told in the log, and is made up for by the next try."""
    post.endpoint(receiver.url, "job.running")
    receiver.script.append(how)
    post.happen(add_fleet(post.database))
    post.run()
    (row,) = post.log()
    assert (row.state, row.tries) == ("pending", 1)
    assert row.error.startswith(words)
    post.until_due()
    post.run()
    assert (post.log()[0].state, len(receiver.got)) == ("delivered", 2)


def test_a_name_that_turns_private_is_not_reached(post, receiver):
    """An endpoint whose name leads to a private address gets nothing, says why, and gets it once that is mended."""
    post.endpoint(f"http://localhost:{receiver.port}/", "job.running")
    answers = [["10.0.0.7"], ["127.0.0.1"]]
    deliver = post.worker(resolver=lambda *_: answers.pop(0))
    post.happen(add_fleet(post.database))
    post.run(deliver)
    assert post.log()[0].error == "not sent: 10.0.0.7 is a private address, and localhost leads there"
    assert receiver.connections == 0
    post.until_due()
    post.run(deliver)
    assert (post.log()[0].state, len(receiver.got)) == ("delivered", 1)


def test_patience_that_a_receiver_asks_for(post, receiver):
    """A receiver that answers 429 with Retry-After is left alone for so long."""
    post.endpoint(receiver.url, "job.running")
    receiver.script.append((429, {"Retry-After": "1800"}, ""))
    post.happen(add_fleet(post.database))
    began = post.clock.now
    post.run()
    assert post.log()[0].due_at - began == timedelta(seconds=1800)


def test_gone_ends_an_endpoint_until_a_test_arrives(post, receiver):
    """410 ends it: nothing more is enqueued or sent. After a test that arrives it is told what happens from then on."""
    made = post.endpoint(receiver.url, "job.running")
    fleet = add_fleet(post.database)
    receiver.script.append(410)
    post.happen(fleet, 2)
    post.run()
    post.happen(fleet)
    post.run(times=3)
    assert len(receiver.got) == 1
    assert (len(post.log()), post.hooks.show(made.webhook.id, TENANT).state) == (2, "disabled")
    post.hooks.test(made.webhook.id, TENANT)
    post.run()
    assert json.loads(receiver.got[-1].body)["type"] == "webhook.test"
    post.happen(fleet)
    post.run()
    assert post.hooks.show(made.webhook.id, TENANT).state == "enabled"
    assert json.loads(receiver.got[-1].body)["data"]["job"]["position"] == 4


def test_both_secrets_sign_during_a_rotation(post, receiver):
    """After a rotation receivers with the old and with the new secret verify; a day later only those with the new."""
    made = post.endpoint(receiver.url, "job.running")
    new = post.hooks.rotate(made.webhook.id, TENANT).secret
    fleet = add_fleet(post.database)
    post.happen(fleet)
    post.run()
    for secret in (made.secret, new):
        Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
    post.clock.advance(86_400)
    post.happen(fleet)
    post.run()
    assert signed_well(receiver.got[0], made.secret, new)
    assert signed_well(receiver.got[1], new)


def test_a_secret_that_no_key_opens(post, receiver):
    """Where the encryption keys were mixed up nothing is sent unsigned; it is said, and mended by the right key."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database))
    post.run(post.worker(vault=Vault([new_key()])))
    assert "NODEWRIGHT_ENCRYPTION_KEYS" in post.log()[0].error
    assert receiver.connections == 0
    post.until_due()
    post.run()
    assert post.log()[0].state == "delivered"


# Nobody waits, nothing is lost ---------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_holds_nobody_up(post, receiver, until_true):
    """While one receiver hangs another gets its own, and the chore itself is over at once."""
    with Receiver(usual=HANG) as stuck, ThreadPoolExecutor(4) as pool:
        post.endpoint(stuck.url, "job.running")
        post.endpoint(receiver.url, "job.running")
        deliver = post.worker(executor=pool, total_seconds=30.0)
        post.happen(add_fleet(post.database), 3)
        post.run(deliver)
        until_true(lambda: stuck.got)
        until_true(lambda: Counter(row.state for row in post.log()) == {"pending": 3, "delivered": 3})
        assert len(receiver.got) == 3
        post.run(deliver)
        assert len(stuck.got) == 1
        stuck._over.set()
    deliver.close()


@pytest.fixture
def until_true():
    """Waits for a condition, and fails when it does not come true."""
    tick = threading.Event()

    def wait(condition):
        for _ in range(400):
            if condition():
                return
            tick.wait(0.02)
        raise AssertionError(condition)

    return wait


def test_what_a_dead_worker_had_claimed_is_taken_over(post, receiver):
    """A worker dies with an endpoint in its hands: after its lease another one delivers, and nothing is lost."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database), 5)
    post.run(post.worker(executor=Forgetful()))
    post.run(times=3)
    assert receiver.got == []
    post.clock.advance(deliveries.LEASE.total_seconds())
    post.run()
    assert len(receiver.got) == 5
    assert {row.state for row in post.log()} == {"delivered"}


class Forgetful(Inline):
    """Takes work and never does it."""

    def submit(self, fn, /, *args, **kwargs):
        """Do nothing."""


def test_a_death_between_sending_and_writing_down_repeats(post, receiver):
    """What was sent and not written down is sent again with the same ids: a receiver that knows them drops it."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database), 3)
    dying = post.worker()
    dying._recording = Broken()
    post.run(dying)
    assert (len(receiver.got), {row.state for row in post.log()}) == (3, {"pending"})
    post.clock.advance(deliveries.LEASE.total_seconds())
    post.run()
    ids = [got.headers["webhook-id"] for got in receiver.got]
    assert (len(ids), ids[:3], {row.state for row in post.log()}) == (6, ids[3:], {"delivered"})


class Broken:
    """A lock that nobody gets: the worker's last moment."""

    def __enter__(self):
        raise OSError("the worker is gone")

    def __exit__(self, *exc):
        """Never reached."""


def test_a_crash_before_the_cursor_is_kept_tells_nothing_twice(post, receiver):
    """A worker that dies after it enqueued, before the chore's end: another one reads the same and enqueues nothing."""
    post.endpoint(receiver.url)
    post.happen(add_fleet(post.database), 3)
    with post.database.write() as tx:
        chores.ensure(tx, ["deliver"])
        claim = chores.claim(tx, "deliver", owner="dying", lease=post.deliver.lease)
    post.deliver.run(claim)
    post.clock.advance(post.deliver.lease.total_seconds())
    post.run(post.worker(seed=5))
    assert (len(post.log()), len(receiver.got)) == (4, 4)


def test_many_deliveries_go_in_one_turn(post, receiver):
    """A backlog is sent batch by batch in one turn, written down together."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database), 2 * BATCH + 3)
    post.run()
    assert len(receiver.got) == 2 * BATCH + 3
    assert {row.state for row in post.log()} == {"delivered"}


def test_one_failure_ends_a_turn(post, receiver):
    """After a failed try the others' turn comes; what was not tried lost no try."""
    post.endpoint(receiver.url, "job.running")
    receiver.usual = 500
    post.happen(add_fleet(post.database), 3)
    post.run()
    assert sorted(row.tries for row in post.log()) == [0, 0, 1]
    receiver.usual = 200
    post.run()
    assert sorted(row.state for row in post.log()) == ["delivered", "delivered", "pending"]


def test_nothing_more_is_sent_after_the_end_was_asked_for(post, receiver):
    """A worker that is told to end finishes what it is sending and begins nothing; the rest stays due."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database), 3)
    ending = post.worker()
    ending._closing.set()
    post.run(ending)
    assert len(receiver.got) == 1
    post.run()
    assert len(receiver.got) == 3


# When it is wanted ---------------------------------------------------------------------------------------------------


def statements(post):
    """Return a list that keeps every statement from now on, but for the brackets of transactions."""
    said = []

    def keep(connection, cursor, words, *more):
        if words != "BEGIN":
            said.append(words)

    event.listen(post.database.engine, "before_cursor_execute", keep)
    return said


def test_without_endpoints_it_costs_one_cheap_read(post):
    """Where nobody has an endpoint the chore is never wanted, whatever happens; finding that out is one statement."""
    post.happen(add_fleet(post.database))
    said = statements(post)
    assert post.wanted() is None
    assert [words.split()[0] for words in said] == ["SELECT"]


def test_it_looks_once_a_second(post, receiver):
    """However often the loop turns, the chore looks for work once a second."""
    post.endpoint(receiver.url)
    said = statements(post)
    deliver = post.worker()
    for _ in range(50):
        post.wanted(deliver)
    first = len(said)
    post.clock.advance(1)
    post.wanted(deliver)
    assert (0 < first <= 8, len(said)) == (True, 2 * first)
    assert {words.split()[0] for words in said} == {"SELECT"}


def test_when_it_is_wanted(post, receiver):
    """It is wanted for news, for what is due, for a pause, before a time to live ends; else hourly, to tidy up."""
    post.endpoint(receiver.url)
    receiver.usual = 500
    fleet = add_fleet(post.database)
    post.run()
    assert 3000 < post.wanted() <= 3600
    post.happen(fleet)
    assert post.wanted() == 0
    post.run(times=2)
    assert 0 < post.wanted() < 7
    receiver.usual = 200
    post.until_due()
    post.run()
    with post.database.write() as tx:
        tx.execute(update(accounts).values(held_at=tx.now))
    assert post.wanted() == 0
    post.run()
    assert post.wanted() > 3000
    job = add_job(post.database, State.RUNNING, fleet_id=fleet, position=99, linode_id=99, label="ttl")
    set_job(post.database, job.id, ttl_seconds=6000, expires_at=post.clock.at(600 + 30))
    post.run(times=6)
    assert 0 < post.wanted() <= 30
    post.clock.advance(31)
    assert post.wanted() <= 0
    post.run()
    kinds = Counter(json.loads(got.body)["type"] for got in receiver.got)
    assert (kinds["account.paused"], kinds["instance.ttl_soon"]) == (1, 1)


def test_old_deliveries_are_forgotten_in_passing(post, receiver):
    """Once an hour what was delivered long ago is forgotten."""
    post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database))
    post.run(times=2)
    post.clock.advance(31 * 86_400)
    post.run()
    assert post.log() == []


def test_other_tenants_endpoints_are_told_their_own(post, receiver):
    """Two tenants on one installation: each receiver gets its tenant's news only."""
    add_tenant(post.database, "other")
    with Receiver() as theirs:
        post.endpoint(receiver.url)
        post.hooks.add(EndpointRequest(theirs.url), "other")
        post.happen(add_fleet(post.database))
        post.run()
        assert (len(receiver.got), theirs.got) == (2, [])


def test_a_turn_is_shorter_than_its_lease():
    """A turn, its last send and a slow look-up of a name fit into the lease, and one run of the chore into its own."""
    look_up = 20
    assert timedelta(seconds=TURN_SECONDS + TOTAL_SECONDS + look_up) < deliveries.LEASE
    assert Deliver.lease >= timedelta(seconds=60)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("99999999999", 7 * 86_400),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_what_retry_after_asks_for(text, seconds):
    """Seconds and dates are understood, absurd ones are bounded, and what cannot be read asks for nothing."""
    found = wait_of(text, datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert found == (None if seconds is None else timedelta(seconds=seconds))


def test_an_endpoint_that_is_removed_in_mid_turn(post, receiver):
    """An endpoint that goes while its deliveries are being sent ends the turn quietly."""
    made = post.endpoint(receiver.url, "job.running")
    post.happen(add_fleet(post.database), 2)
    late = post.worker(executor=Kept())
    post.run(late)
    post.hooks.remove(made.webhook.id, TENANT)
    late._executor.work()
    post.run()
    with post.database.read() as tx:
        assert tx.execute(select(webhooks)).all() == []
    assert receiver.got == []


class Kept(Inline):
    """Keeps what is submitted until it is told to do it."""

    def submit(self, fn, /, *args, **kwargs):
        """Keep it."""
        self.work = lambda: fn(*args, **kwargs)

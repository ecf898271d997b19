import pytest
from sqlalchemy import select, update

from jobs import accounts as account_rows
from jobs import house
from jobs import tenants as tenant_rows
from jobs.accounts import fingerprint
from jobs.alarms import alarms
from jobs.records import accounts, installation, jobs, rate_windows
from jobs.states import State
from jobs.vault import Vault, new_key
from simulator import Token
from tests.support.fleets import ACCOUNT
from tests.worker.conftest import TOKEN
from worker.app import Changes
from worker.config import WorkerConfig
from worker.crew import Crew, Own
from worker.lookup import Lookup
from worker.reconcile import Reconcile
from worker.sweep import Intake
from worker.watch import Watch

SECOND = "sec0nd-t0ken"
OTHER = "0ther-acc0unts-t0ken"
LIMITS = WorkerConfig("", "", "", "").limits


class Site:
    """A rig whose world has two accounts, and a crew that serves them."""

    def __init__(self, rig, lines):
        self.rig, self.lines = rig, lines
        rig.world.tokens[SECOND] = Token(SECOND, rig.world.tokens[TOKEN].account)
        rig.world.tokens[OTHER] = Token(OTHER, "acme")
        self.clients = []
        self.crew = self.make_crew()
        self.crew.look()

    def make_crew(self, own=TOKEN, vault=None):
        """Return another worker's crew."""
        return Crew(
            self.rig.database,
            vault or self.rig.vault,
            Own(ACCOUNT, own) if own else None,
            self.make,
            limits=LIMITS,
            log=self.lines,
        )

    def make(self, account, token_id, secret):
        """Make the engine of a token."""
        client = self.rig.make_client(secret)
        self.clients.append(client)
        engine = self.rig.worker("worker-1", account=account, token=secret, client=client)
        assert engine.identity.token_id == token_id
        return engine

    def add(self, account, token):
        """Add a token to the database, and let its account be reconciled."""
        with self.rig.database.write() as tx:
            sealed = account_rows.seal(self.rig.vault, token)
            account_rows.add_token(tx, account, fingerprint(token), sealed)
            epoch = tx.execute(select(installation.c.epoch)).scalar_one()
            house.reconciled(tx, account, epoch)

    def both(self):
        """Give the tenant a second account, and let the crew learn of it."""
        self.add("acme", OTHER)
        with self.rig.database.write() as tx:
            tenant_rows.map_accounts(tx, "default", (ACCOUNT, "acme"))
        assert self.crew.look()
        return self.crew.engines

    def admit(self):
        """Let every engine admit; return the ids that were granted."""
        self.rig.published.clear()
        for engine in self.crew.engines:
            engine.admit()
        return list(self.rig.published)

    def where(self):
        """Return how many jobs each account has in which state."""
        with self.rig.database.read() as tx:
            rows = tx.execute(select(jobs.c.account_id, jobs.c.state)).all()
        return {(row.account_id, row.state): rows.count(row) for row in rows}

    def machines(self):
        """Return how many instances each account of the world holds."""
        names = [one.account for one in self.rig.alive()]
        return {name: names.count(name) for name in names}


@pytest.fixture
def site(rig, lines):
    """A worker that knows its own token only, in a world with two accounts."""
    made = Site(rig, lines)
    yield made
    for client in made.clients:
        client.close()


# Who is in ------------------------------------------------------------------------------------------------------------


def test_tokens_come_and_go(site):
    """A crew has an engine for its own token and for each of the database's, and learns of changes."""
    assert [one.identity.token_id for one in site.crew.engines] == [fingerprint(TOKEN)]
    assert not site.crew.look()
    site.add(ACCOUNT, SECOND)
    site.add("acme", OTHER)
    assert site.crew.look()
    assert {one.identity.token_id for one in site.crew.engines} == {
        fingerprint(one) for one in (TOKEN, SECOND, OTHER)
    }
    assert {one.identity.account_id for one in site.crew.of_accounts} == {ACCOUNT, "acme"}
    assert len(site.crew.of_accounts) == 2
    with site.rig.database.read() as tx:
        windows = set(tx.execute(select(rate_windows.c.token_id)).scalars())
    assert windows == {fingerprint(one) for one in (TOKEN, SECOND, OTHER)}
    kept = site.crew.engines[0]
    with site.rig.database.write() as tx:
        account_rows.remove_token(tx, fingerprint(OTHER))
    assert site.crew.look()
    assert site.crew.engines[0] is kept
    assert {one.identity.account_id for one in site.crew.engines} == {ACCOUNT}


def test_an_own_token_that_is_stored_too_counts_once(site):
    """The token of the settings may be in the database as well: it has one engine all the same."""
    site.add(ACCOUNT, TOKEN)
    assert not site.crew.look()


def test_a_worker_without_a_token_of_its_own(site):
    """Without a setting the tokens of the database are enough."""
    site.add("acme", OTHER)
    crew = site.make_crew(own=None)
    assert crew.look()
    assert [one.identity.account_id for one in crew.engines] == ["acme"]


def test_a_token_that_no_key_opens_is_told_once(site):
    """A token that was sealed with another key is left out, and the log says so, once and without showing it."""
    site.add("acme", OTHER)
    crew = site.make_crew(vault=Vault([new_key()]))
    crew.look()
    crew.look()
    assert [one.identity.account_id for one in crew.engines] == [ACCOUNT]
    told = [(words, facts["account"]) for _, words, facts in site.lines if "cannot be opened" in words]
    assert told == [
        ("a token cannot be opened with NODEWRIGHT_ENCRYPTION_KEYS, so it is not used", "acme"),
    ]
    assert OTHER not in repr(site.lines)


def test_the_loop_takes_changes_in(site):
    """A running loop admits and does chores for accounts that were added since, and stops for removed ones."""
    rig, crew = site.rig, site.crew
    duties = []

    def chores():
        return [kind(engine) for engine in crew.of_accounts for kind in (Watch, Reconcile)]

    look = Changes(crew, chores)
    loop = rig.make_loop(*duties, engine=crew.engines[0], log=site.lines, look=look)
    loop.prepare()
    loop.turn()
    assert rig.chore(f"reconcile:{ACCOUNT}").succeeded_at is not None
    site.add("acme", OTHER)
    with rig.database.write() as tx:
        tenant_rows.map_accounts(tx, "default", ("acme",))
    rig.clock.advance(11)
    rig.submit({"count": 2})
    loop.turn()
    assert site.where() == {("acme", "dispatched"): 2}
    assert rig.chore("reconcile:acme").succeeded_at is not None
    with rig.database.write() as tx:
        account_rows.remove_token(tx, fingerprint(OTHER))
    rig.clock.advance(11)
    loop.turn()
    assert [facts["tokens"] for _, words, facts in site.lines if words == "the worker serves"] == [1, 2, 1]


# What they do --------------------------------------------------------------------------------------------------------


def test_a_fleet_over_two_accounts(site):
    """A fleet goes half and half to two accounts, and each instance is made, owned and watched in its own."""
    site.both()
    site.rig.submit({"count": 10})
    assert all(site.crew.create(job_id) == "booting" for job_id in site.admit())
    assert site.where() == {(ACCOUNT, "booting"): 5, ("acme", "booting"): 5}
    assert site.machines() == {"simulated": 5, "acme": 5}
    site.rig.clock.advance(11)
    for engine in site.crew.of_accounts:
        site.rig.do(Watch(engine))
    assert site.where() == {(ACCOUNT, "running"): 5, ("acme", "running"): 5}


def test_two_windows_are_twice_as_much(site):
    """With one window each, two accounts admit twice as many at once, and a second token as many again."""
    site.both()
    site.rig.submit({"count": 70})
    assert len(site.admit()) == 40
    site.add("acme", SECOND)
    assert site.crew.look()
    assert len(site.admit()) == 15  # what is left of acme's half


def test_an_idle_account_helps_out(site):
    """An account with room and no job of its own takes over what waits for another, and sends it at once."""
    site.both()
    site.rig.submit({"count": 25})
    with site.rig.database.write() as tx:
        tx.execute(update(jobs).values(account_id=ACCOUNT))
    granted = site.admit()
    assert site.where() == {(ACCOUNT, "dispatched"): 20, (ACCOUNT, "queued"): 5}
    site.rig.clock.advance(1)
    granted += site.admit()
    assert site.where() == {(ACCOUNT, "dispatched"): 20, ("acme", "dispatched"): 5}
    assert all(site.crew.create(job_id) == "booting" for job_id in granted)
    assert site.machines() == {"simulated": 20, "acme": 5}


def test_a_paused_accounts_jobs_go_on_elsewhere(site):
    """When a token is no longer accepted, what was not sent by it yet is sent by the other account."""
    own, _ = site.both()
    site.rig.submit({"count": 4})
    site.rig.world.tokens.pop(TOKEN)
    for job_id in site.admit():
        site.crew.create(job_id)
    assert site.where() == {(ACCOUNT, "queued"): 2, ("acme", "booting"): 2}
    site.rig.submit({"count": 4}, name="more")
    assert site.where()["acme", "queued"] == 4
    assert own.identity.account_id == ACCOUNT


def test_a_grant_is_for_one_token(site):
    """An engine sends nothing for another token's grant, whatever wake-up reaches it."""
    own, other = site.both()
    site.rig.submit({"count": 2})
    by_token = {}
    for job_id in site.admit():
        by_token[site.rig.row(job_id).token_id] = job_id
    mine, theirs = by_token[own.identity.token_id], by_token[other.identity.token_id]
    assert own.create(theirs) == "not mine"
    assert other.create(mine) == "not mine"
    assert site.machines() == {}
    assert site.crew.create(mine) == site.crew.create(theirs) == "booting"


def test_a_wake_up_tells_of_a_new_token(site):
    """A worker that is sent a grant for a token that it never heard of looks for it, and sends."""
    site.add(ACCOUNT, SECOND)
    site.crew.look()
    late = site.make_crew()
    late.look()
    site.both()
    site.rig.submit({"count": 2})
    assert [late.create(job_id) for job_id in site.admit()] == ["booting", "booting"]
    assert len(late.engines) == 3


def test_a_wake_up_for_a_token_that_is_gone(site):
    """A grant for a token that was removed is nobody's: it goes back when its lease ends."""
    site.both()
    site.rig.submit({"count": 2})
    granted = site.admit()
    with site.rig.database.write() as tx:
        account_rows.remove_token(tx, fingerprint(OTHER))
    site.add(ACCOUNT, SECOND)
    site.crew.look()
    assert sorted(site.crew.create(job_id) for job_id in granted) == ["booting", "not mine"]
    assert site.crew.create("00000000-0000-7000-8000-000000000000") == "not mine"


def test_a_removed_token_ends_nothing_under_way(site):
    """A create that is under way when its token is removed is finished, and what it bought is owned."""
    _, other = site.both()
    site.rig.submit({"count": 2})
    (job_id,) = [one for one in site.admit() if site.rig.row(one).account_id == "acme"]
    claimed = other._claim(job_id, None)
    answer = other._send(claimed.request, claimed.since)
    with site.rig.database.write() as tx:
        account_rows.remove_token(tx, fingerprint(OTHER))
    assert other._settle(claimed, answer) == "booting"


# A token that is refused ---------------------------------------------------------------------------------------------


@pytest.fixture
def spare(site):
    """The account of the settings' token, with a second token whose windows were never used."""
    site.add(ACCOUNT, SECOND)
    assert site.crew.look()
    return site


def paused(site):
    """Return why the account is paused, and which alarms ring."""
    with site.rig.database.read() as tx:
        return house.paused(tx, ACCOUNT)[0], [alarm.code for alarm in alarms(tx, ACCOUNT)]


def send(site):
    """Admit and send once by every engine; return how many were sent, and how many instances there are then."""
    done = [site.crew.create(job_id) for job_id in site.admit()]
    return len(done), len(site.rig.alive())


def test_one_bad_token_of_two_does_not_stop_the_account(spare):
    """When one of an account's tokens is refused it rests, an alarm names it, and the other goes on at full rate."""
    site = spare
    site.rig.world.tokens.pop(SECOND)
    site.rig.submit({"count": 100})
    assert send(site) == (40, 20)
    assert paused(site) == (None, ["token_refused"])
    site.rig.clock.advance(15.2)
    assert send(site) == (20, 40)
    site.rig.clock.advance(15.2)
    assert send(site) == (20, 60)


def test_a_bad_token_is_probed_and_comes_back(spare):
    """A resting token is tried with one create a minute; once that is accepted it is sound, and does its full share."""
    site = spare
    secret = site.rig.world.tokens.pop(SECOND)
    site.rig.submit({"count": 200})
    send(site)
    for _ in range(2):
        site.rig.clock.advance(61)
        assert send(site)[0] == 21
    site.rig.world.tokens[SECOND] = secret
    site.rig.clock.advance(61)
    assert send(site)[0] == 21
    site.crew.look()
    assert "token_refused" not in paused(site)[1]
    site.rig.clock.advance(15.2)
    assert send(site)[0] == 40


def test_chores_leave_a_bad_token_alone(spare):
    """An account's chores are done with a token that is not refused."""
    site = spare
    assert [one.identity.token_id for one in site.crew.of_accounts] == [fingerprint(TOKEN)]
    site.rig.world.tokens.pop(TOKEN)
    look = Changes(site.crew, list)
    assert look() is not None
    site.rig.submit({"count": 40})
    send(site)
    assert look() is not None
    assert [one.identity.token_id for one in site.crew.of_accounts] == [fingerprint(SECOND)]


def test_the_last_good_token_pauses_the_account(spare):
    """When no token of the account is accepted any more, the account pauses as it does with a single one."""
    site = spare
    site.rig.world.tokens.pop(TOKEN)
    site.rig.world.tokens.pop(SECOND)
    site.rig.submit({"count": 40})
    assert send(site) == (40, 0)
    assert paused(site)[0] == "unauthorized"


# Each account by itself ----------------------------------------------------------------------------------------------


def test_an_unknown_create_is_looked_up_in_its_account(site):
    """What is uncertain in one account is not looked for in another: there it would seem absent and be bought again."""
    own, other = site.both()
    site.rig.submit({"count": 2})
    granted = site.admit()
    site.rig.spoil("reset_after")
    assert {site.crew.create(job_id) for job_id in granted} == {"uncertain"}
    site.rig.mend()
    site.rig.clock.advance(90)
    site.rig.do(Lookup(own))
    assert site.where() == {(ACCOUNT, "booting"): 1, ("acme", "uncertain"): 1}
    site.rig.do(Lookup(other))
    assert site.where() == {(ACCOUNT, "booting"): 1, ("acme", "booting"): 1}
    assert site.machines() == {"simulated": 1, "acme": 1}


def test_intake_serves_every_account(site):
    """Jobs that waited for a catalog are validated whichever account they are for."""
    site.both()
    site.rig.submit({"count": 4})
    with site.rig.database.write() as tx:
        tx.execute(update(jobs).values(state="submitted"))
    site.rig.do(Intake(site.crew.engines[0]))
    assert site.where() == {(ACCOUNT, "queued"): 2, ("acme", "queued"): 2}


def sent_by_acme(site):
    """Let the second account create the only job; return its id."""
    site.rig.submit({"count": 1})
    with site.rig.database.write() as tx:
        tx.execute(update(jobs).values(account_id="acme"))
    site.rig.published.clear()
    site.crew.engines[1].admit()
    (job_id,) = site.rig.published
    assert site.crew.create(job_id) == "booting"
    assert site.machines() == {"acme": 1}
    return job_id


def test_a_forgotten_take_over_is_found(site):
    """A database restored to before a take-over finds the instance in the other account, and buys no second one."""
    own, other = site.both()
    job_id = sent_by_acme(site)
    restored(site, job_id)
    site.rig.do(Reconcile(other))
    found = site.rig.row(job_id)
    assert (found.state, found.account_id) == (State.UNCERTAIN, "acme")
    site.rig.do(Reconcile(own))
    site.rig.do(Lookup(other))
    assert site.rig.state(job_id) is State.BOOTING
    assert site.machines() == {"acme": 1}


def test_a_forgotten_take_over_that_was_sent_again(site):
    """Should the account before send it first, the other one's instance is an orphan, and goes after the grace."""
    own, other = site.both()
    job_id = sent_by_acme(site)
    restored(site, job_id)
    own.admit()
    site.rig.spoil("reset_before", nth=1)
    assert own.create(job_id) == "uncertain"
    site.rig.do(Reconcile(other))
    assert site.rig.row(job_id).account_id == ACCOUNT
    assert site.rig.state(job_id) is State.UNCERTAIN
    site.rig.clock.advance(61)
    site.rig.do(Lookup(own))
    own.admit()
    assert own.create(job_id) == "booting"
    for _ in range(3):
        site.rig.do(Reconcile(other))
        site.rig.clock.advance(61)
    assert site.machines() == {"simulated": 1}


def restored(site, job_id):
    """Put the job's row back to what it was before another account had taken it over."""
    blank = (
        "linode_id",
        "created_at",
        "sent_at",
        "token_id",
        "last_unknown_at",
        "lease_until",
        "send_before",
    )
    values = {"state": "queued", "account_id": ACCOUNT, "sends": 0, "version": 1, **dict.fromkeys(blank)}
    values |= {"run_after": None, "dispatched_at": None}
    with site.rig.database.write() as tx:
        tx.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
        tx.execute(update(accounts).values(unknown_at=None))

from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from jobs import accounts as account_rows
from jobs import admission, house, places, transitions
from jobs import tenants as tenant_rows
from jobs.admission import CREATE, Limit
from jobs.records import accounts, installation, jobs, rate_windows, tokens
from jobs.requests import InvalidRequest
from jobs.service import AccountPaused, CatalogUnavailable
from jobs.states import State
from jobs.vault import Vault, new_key
from tests.support.fleets import (
    ACTOR,
    PARTS,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    admit,
    catalog,
    fleet_request,
    make_service,
    move_in,
    read_job,
    timeline,
)

OURS = {"id": "private/7", "size": 1500, "capabilities": ["cloud-init"]}
CATALOGS = {"east": catalog("e"), "west": catalog("w", images=[*PARTS["images"], OURS])}


@pytest.fixture
def service(database):
    """A service whose tenant has two accounts, alike but for a private image of the second."""
    for account in ("east", "west"):
        move_in(database, account=account, token=f"{account}-token")
    with database.write() as tx:
        tenant_rows.map_accounts(tx, TENANT, ("east", "west"))
    return make_service(database, catalogs=CATALOGS.get)


def send(service, *groups, tenant=TENANT, **fleet):
    """Submit a fleet."""
    return service.submit(fleet_request(*groups, **fleet), tenant=tenant, actor=ACTOR)


def homes(database):
    """Return the account of each job, by its label, and whether it is pinned."""
    with database.read() as tx:
        rows = tx.execute(select(jobs.c.label, jobs.c.account_id, jobs.c.pinned).order_by(jobs.c.id)).all()
    return {row.label: (row.account_id, row.pinned) for row in rows}


def count(database, account):
    """Return how many jobs an account has."""
    return sum(home == account for home, _ in homes(database).values())


# At submit -----------------------------------------------------------------------------------------------------------


def test_a_fleet_is_spread_over_the_tenants_accounts(database, service):
    """Two accounts with equal windows get half of a fleet each, every job free to move."""
    send(service, {"count": 10})
    assert (count(database, "east"), count(database, "west")) == (5, 5)
    assert not any(pinned for _, pinned in homes(database).values())


def test_the_spread_follows_windows_and_queues(database, service):
    """An account with twice the limit gets twice as much, less what waits for it already."""
    with database.write() as tx:
        which = rate_windows.c.token_id == "west-token"
        tx.execute(update(rate_windows).where(which).values(allowed=40))
    send(service, {"count": 30})
    assert (count(database, "east"), count(database, "west")) == (10, 20)
    with database.write() as tx:
        tx.execute(update(jobs).where(jobs.c.account_id == "west").values(account_id="east"))
    send(service, {"count": 30}, name="more")
    assert (count(database, "east"), count(database, "west")) == (30, 30)


def test_tokens_of_one_account_add_up(database, service):
    """A second token doubles what its account gets."""
    with database.write() as tx:
        limits = {CREATE: (Limit(20, 15.0),)}
        admission.register(tx, account_id="west", token_id="west-2", limits=limits)
    send(service, {"count": 9})
    assert (count(database, "east"), count(database, "west")) == (3, 6)


def test_a_paused_account_gets_nothing(database, service):
    """New jobs go to accounts that take creates, as long as there is one."""
    with database.write() as tx:
        admission.pause(tx, "east", code="unauthorized", reason="Invalid Token")
    send(service, {"count": 4})
    assert count(database, "west") == 4
    with database.write() as tx:
        admission.pause(tx, "west", code="unauthorized", reason="Invalid Token")
    with pytest.raises(AccountPaused):
        send(service, {"count": 4}, name="more")


def test_an_account_without_a_token_gets_nothing(database, service):
    """Nobody sends for an account that has no token."""
    with database.write() as tx:
        assert account_rows.remove_token(tx, "east-token")
        assert tx.execute(select(tokens.c.id)).scalars().all() == ["west-token"]
    send(service, {"count": 4})
    assert count(database, "west") == 4


def test_a_tenant_without_accounts_uses_the_default(database):
    """A tenant that was given no account uses the default one."""
    add_tenant(database, "plain")
    send(make_service(database), {"count": 2}, tenant="plain")
    assert set(homes(database).values()) == {("default", False)}


def test_a_private_image_decides(database, service):
    """A group goes to the account that has its image, and stays there; one that nobody has is unknown."""
    send(service, {"count": 3, "image": "private/7"}, {"count": 3, "name": "b"})
    found = list(homes(database).values())
    assert found[:3] == [("west", True)] * 3
    assert [home for home, _ in found[3:]] == ["east"] * 3
    with pytest.raises(InvalidRequest) as caught:
        send(service, {"image": "private/8"}, name="more")
    assert [fault.code for fault in caught.value.faults] == ["unknown_image"]


def test_what_belongs_to_one_account_needs_its_name(database, service):
    """A group that names things of one account is refused, unless the request says which account."""
    with pytest.raises(InvalidRequest) as caught:
        send(service, {"firewall_id": 4}, {"name": "b"})
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.group) == ("/groups/0/firewall_id", 0)
    assert "east, west" in fault.message
    assert "`account`" in fault.remedy
    done = send(service, {"firewall_id": 4}, {"name": "b"}, on_invalid="skip")
    assert done.fleet.states == {"rejected": 1, "queued": 1}
    send(service, {"firewall_id": 4, "count": 3}, account="west", name="more")
    assert [home for label, home in homes(database).items() if label.startswith("more")] == [
        ("west", True)
    ] * 3


def test_another_tenants_account_is_none_of_yours(database, service):
    """A request may name its tenant's accounts only, and is told which these are."""
    add_tenant(database, "other")
    for account, tenant in (("west", "other"), ("wets", TENANT)):
        with pytest.raises(InvalidRequest, match=f"you have no account '{account}'") as caught:
            send(service, account=account, tenant=tenant)
    assert (caught.value.faults[0].pointer, caught.value.faults[0].nearest) == ("/account", "west")


def test_a_label_must_be_free_everywhere(database, service):
    """A label that is in use in either account is taken: the job may come to be sent by each of them."""
    send(service, {"count": 1, "label_pattern": "solo"}, account="west")
    with pytest.raises(InvalidRequest, match="label 'solo' is in use"):
        send(service, {"count": 1, "label_pattern": "solo"}, name="more")


def test_an_account_without_a_catalog_waits(database, service):
    """An account whose catalog was not read yet gets nothing while another has one; none at all is a 503."""
    young = make_service(database, catalogs={"west": CATALOGS["west"]}.get)
    send(young, {"count": 2})
    assert count(database, "west") == 2
    with pytest.raises(CatalogUnavailable):
        send(make_service(database, catalogs=lambda _account: None), name="more")


def test_accepted_jobs_are_validated_by_their_own_accounts_catalog(database, service):
    """What came by Celery before any catalog is spread too, and each account's catalog settles its part."""
    blind = make_service(database, catalogs=lambda _account: None)
    blind.accept(fleet_request({"count": 4}), fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    assert (count(database, "east"), count(database, "west")) == (2, 2)


# Taking over ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def reach(database, clock):
    """Lets an account take over what it can, a moment later; returns the labels that moved."""

    def act(account="west", most=20):
        clock.advance(1)
        return moved_by(database, account, most)

    return act


def movable(database):
    """Return what the second account could take over, by now."""
    with database.read() as tx:
        return places.movable(tx, "west", places.helped_by(tx, "west"), 20)


def moved_by(database, account, most):
    """Let an account take over what it can; return the labels that moved."""
    before = homes(database)
    with database.read() as tx:
        found = places.movable(tx, account, places.helped_by(tx, account), most)
    with database.write() as tx:
        places.take_over(tx, account, found, actor="w")
    return sorted(label for label, home in homes(database).items() if home != before[label])


def test_an_idle_account_takes_over_what_waits(database, service, reach):
    """Unsent jobs of another account move to one that has room, the most urgent first, and say so."""
    send(service, {"count": 3}, account="east", name="stay")
    with database.write() as tx:
        tx.execute(update(jobs).values(pinned=False))
    send(service, {"count": 2}, account="east", name="first", priority=5)
    with database.write() as tx:
        tx.execute(update(jobs).values(pinned=False))
    assert reach(most=3) == ["first-0001", "first-0002", "stay-0001"]
    moved = next(job for job in service.jobs(TENANT, fleet="first") if job.position == 1)
    assert read_job(database, moved.id).version == 2
    assert [(line["event"], line["state"]) for line in timeline(database, moved.id)][1:] == [
        ("taken_over", "queued")
    ]
    assert reach("east") == ["first-0001", "first-0002", "stay-0001"]


@pytest.mark.parametrize(
    "columns",
    [
        {"sends": 1},
        {"pinned": True},
        {"last_unknown_at": "now"},
        {"run_after": "now"},
        {"state": "dispatched", "lease_until": "now"},
        {"tenant_id": "other"},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_what_is_never_taken_over(database, service, clock, reach, columns):
    """A job that was ever sent, is bound, snoozed, granted, or of a tenant without this account stays where it is."""
    add_tenant(database, "other")
    fleet = add_fleet(database)
    values = {key: clock.now if value == "now" else value for key, value in columns.items()}
    values["state"] = State(values.get("state", "queued"))
    add_job(database, fleet_id=fleet, account_id="east", label="kept", **values)
    add_job(database, State.QUEUED, fleet_id=fleet, position=2, account_id="east", label="moved")
    assert reach() == ["moved"]


def test_a_job_that_was_granted_meanwhile_stays(database, service, clock):
    """Between the look and the move a job may be granted, or even sent: then it stays."""
    send(service, {"count": 2}, account="east")
    with database.write() as tx:
        tx.execute(update(jobs).values(pinned=False))
    assert movable(database) == []
    clock.advance(1)
    found = movable(database)
    assert len(found) == 2
    assert len(admit(database, account="east", token="east-token", most=1).granted) == 1
    with database.write() as tx:
        assert places.take_over(tx, "west", found, actor="w") == 1


def test_a_taken_label_stays(database, service, clock):
    """A job whose label is in use in the other account cannot move there, and does not stand in the others' way."""
    fleet = add_fleet(database)
    add_job(database, State.RUNNING, fleet_id=fleet, account_id="west", label="web", linode_id=1)
    add_job(database, State.QUEUED, fleet_id=fleet, position=2, account_id="east", label="web")
    add_job(database, State.QUEUED, fleet_id=fleet, position=3, account_id="east", label="free")
    clock.advance(1)
    assert [read_job(database, one).label for one in movable(database)] == ["free"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tx: admission.pause(tx, "west", code="account_limit", reason="full"),
        lambda tx: tx.execute(update(accounts).where(accounts.c.id == "west").values(probe_at=tx.now)),
        lambda tx: tx.execute(update(accounts).where(accounts.c.id == "west").values(epoch=0)),
        lambda tx: tx.execute(update(installation).values(epoch=9)),
        lambda tx: tx.execute(update(accounts).where(accounts.c.id == "east").values(epoch=0)),
        lambda tx: tenant_rows.map_accounts(tx, TENANT, ("east",)),
    ],
    ids=["paused", "probing", "new", "epoch", "other's epoch", "unmapped"],
)
def test_who_takes_nothing_over(database, service, reach, spoil):
    """An account that is paused, probes or waits for reconcile takes nothing, and from one that waits nobody takes."""
    add_job(database, State.QUEUED, account_id="east")
    with database.write() as tx:
        spoil(tx)
    assert reach() == []


def test_found_in_another_account(database, service):
    """A job whose instance turns up in an account that had taken it over moves there, and is looked up there."""
    job = add_job(database, State.QUEUED, account_id="east")
    with database.write() as tx:
        moved = transitions.found(tx, job, actor="w", account_id="west")
    assert (moved.state, moved.account_id) == (State.UNCERTAIN, "west")


# Accounts and tokens -------------------------------------------------------------------------------------------------


def test_tokens_are_stored_sealed(database):
    """A token is known by its fingerprint and kept sealed; adding it again seals it anew."""
    vault, secret = Vault([new_key()]), "s3cret-t0ken"
    name = account_rows.fingerprint(secret)
    for _ in range(2):
        with database.write() as tx:
            account_rows.add_token(tx, "acme", name, account_rows.seal(vault, secret))
    with database.read() as tx:
        (stored,) = account_rows.stored_tokens(tx)
        (shown,) = [one for one in account_rows.list_accounts(tx) if one.id == "acme"]
        assert account_rows.stored_tokens(tx, "other") == []
        assert account_rows.owner_of(tx, name) == "acme"
    assert account_rows.unseal(vault, stored.sealed) == secret
    assert secret.encode() not in stored.sealed
    assert [(one.id, one.sealed) for one in shown.tokens] == [(name, True)]


def test_an_accounts_own_id_is_learnt_once(database):
    """What Linode calls the account is kept from the first answer on."""
    move_in(database, account="acme", token="t")
    with database.write() as tx:
        account_rows.learn_euuid(tx, "acme", None)
        assert account_rows.known_as(tx, "E1") is None
        account_rows.learn_euuid(tx, "acme", "E1")
        account_rows.learn_euuid(tx, "acme", "E2")
        assert account_rows.known_as(tx, "E1") == "acme"


def test_a_removed_token_stays_away(database):
    """Windows are opened for a token that is there, and not for one that was removed in between."""
    limits = {CREATE: (Limit(20, 15.0),)}
    with database.write() as tx:
        account_rows.add_token(tx, "acme", "t", b"x")
        (stored,) = account_rows.stored_tokens(tx)
        account_rows.open_windows(tx, stored, limits)
        assert len(tx.execute(select(rate_windows)).all()) == 1
        account_rows.remove_token(tx, "t")
        account_rows.open_windows(tx, stored, limits)
        assert tx.execute(select(rate_windows)).all() == []
        assert tx.execute(select(tokens)).all() == []
        assert not account_rows.remove_token(tx, "t")


def test_status_over_several_accounts(database, service):
    """The status shows each account's windows and alarms, and is as fresh as the catalogs that can be used."""
    with database.write() as tx:
        house.store_catalogs(tx, "west", PARTS)
        admission.pause(tx, "east", code="unauthorized", reason="Invalid Token")
    everything = make_service(database, dice=Random(3)).status()
    assert {window.account for window in everything.windows} == {"east", "west"}
    assert {window.token for window in everything.windows} == {"east-token", "west-token"}
    assert [alarm.code for alarm in everything.alarms] == ["unauthorized"]
    assert everything.catalog == "fresh"
    add_tenant(database, "other")
    with database.write() as tx:
        tenant_rows.map_accounts(tx, "other", ("west",))
    part = service.status("other")
    assert ({window.account for window in part.windows}, part.alarms) == ({"west"}, ())

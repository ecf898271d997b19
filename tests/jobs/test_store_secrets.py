import re
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update

from jobs import accounts as account_rows
from jobs import fleets as fleet_rows
from jobs import keys
from jobs.database import Database
from jobs.records import fleets, jobs
from jobs.rotation import rotate
from jobs.service import SecretsRefused
from jobs.tables import metadata
from jobs.vault import Vault, new_key
from tests.support.fleets import ACTOR, TENANT, fleet_request, make_service

TOKEN = "0123456789abcdef" * 4
GIVEN = {
    "root_pass": "Gl4di0lus+Kn1fe/7",
    "user_data": "#cloud-config\nchpasswd: {list: 'root:0rchid-Tr0wel'}\n",
    "stackscript_id": 7,
    "stackscript_data": {"db_password": "Wh1te-Wh4le"},
}
WORDS = ("Gl4di0lus", "0rchid-Tr0wel", "Wh1te-Wh4le", TOKEN[:24])


def send(service, request, **options):
    """Submit a request as the default tenant."""
    return service.submit(request, **{"tenant": TENANT, "actor": ACTOR, **options})


def fill(database, key):
    """Store everything secret that an installation may be given; return what its people were shown."""
    vault = Vault([key])
    service = make_service(database, vault=vault, dice=Random(5))
    done = send(service, fleet_request(GIVEN, {"reveal_root_pass": True, "name": "b"}), idempotency_key="k")
    with database.write() as tx:
        account_rows.add_token(tx, "acme", account_rows.fingerprint(TOKEN), account_rows.seal(vault, TOKEN))
    made = keys.create_key(database, tenant=TENANT, name="ci", dice=Random(6))
    return [done.root_passwords[0].root_pass, made.rpartition("_")[2]]


def stolen(database):
    """Return everything that a thief of the database has, as text."""
    with database.read() as tx:
        return "\n".join(
            repr(tx.execute(text(f'SELECT * FROM "{table.name}"')).all()) for table in metadata.sorted_tables
        )


def test_a_stolen_database_shows_no_secret(database):
    """Without the key no row of any table shows a token, a password, user data, StackScript data or an API key."""
    shown = fill(database, new_key())
    everything = stolen(database)
    assert "acme" in everything
    assert [word for word in (*WORDS, *shown) if word in everything] == []


def test_a_stolen_database_confirms_no_guess(sqlite_url, tmp_path, clock):
    """Nothing in the rows can be computed from a right guess: the same secrets with another key leave other traces."""
    traces = []
    for _ in range(2):
        path = tmp_path / f"{len(traces)}.db"
        path.write_bytes((tmp_path / "jobs.db").read_bytes())
        database = Database(f"sqlite:///{path}", clock=clock)
        fill(database, new_key())
        with database.read() as tx:
            rows = tx.execute(select(fleets.c.sealed, fleets.c.request_hash)).all()
        database.close()
        traces.append(set(re.findall(r"[0-9a-zA-Z+/_-]{32,}", repr(rows))))
    assert all(traces)
    assert traces[0] & traces[1] == set()


# Root passwords ------------------------------------------------------------------------------------------------------


def test_a_made_password_is_shown_to_the_submitter(database):
    """A password that is made to be revealed comes with the answer, is what the create will use, and has no repr."""
    vault = Vault([new_key()])
    service = make_service(database, vault=vault)
    request = fleet_request({"count": 2, "reveal_root_pass": True, "name": "a"}, {"name": "b"}, name="web")
    done = send(service, request)
    (shown,) = done.root_passwords
    assert (shown.group, shown.name, len(shown.root_pass)) == (0, "a", 32)
    with database.read() as tx:
        _, sealed, _ = fleet_rows.load_group(tx, done.fleet.id, 0)
    assert vault.open(sealed) == {"0": {"root_pass": shown.root_pass}}
    assert shown.root_pass not in repr(done)


def test_a_lost_answer_costs_no_password(database):
    """The same request sent again shows the same password, until the creates are over and it is erased."""
    service = make_service(database, vault=Vault([new_key()]))
    request = fleet_request({"reveal_root_pass": True})
    first = send(service, request, idempotency_key="k")
    again = send(service, request, idempotency_key="k")
    assert again.replayed
    assert again.root_passwords == first.root_passwords != ()
    with database.write() as tx:
        tx.execute(update(jobs).values(state="running", linode_id=jobs.c.position))
        fleet_rows.erase_secrets(tx)
    assert send(service, request, idempotency_key="k").root_passwords == ()


def test_nobody_is_shown_a_password_that_was_given(database):
    """A given password, and one that is made for nobody's eyes, are in no answer."""
    service = make_service(database, vault=Vault([new_key()]))
    given = send(service, fleet_request({"root_pass": "Str0ng-enough-password!"}), idempotency_key="k")
    assert given.root_passwords == ()
    assert send(service, fleet_request(name="plain")).root_passwords == ()


def test_a_password_to_be_shown_needs_a_key_and_an_answer(database):
    """Without an encryption key, and by Celery where nobody could be shown it, such a request is refused."""
    request = fleet_request({"reveal_root_pass": True})
    with pytest.raises(SecretsRefused, match="NODEWRIGHT_ENCRYPTION_KEYS"):
        send(make_service(database), request)
    service = make_service(database, vault=Vault([new_key()]))
    with pytest.raises(SecretsRefused):
        service.accept(request, fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)


# Rotation ------------------------------------------------------------------------------------------------------------


def test_a_request_is_known_again_after_a_rotation(database):
    """A request with secrets is the same one after its key was rotated, as long as the old key is still there."""
    old, new = new_key(), new_key()
    request = fleet_request({"root_pass": "Str0ng-enough-password!"})
    first = send(make_service(database, vault=Vault([old])), request, idempotency_key="k")
    both = Vault([new, old])
    done = rotate(database, both)
    assert (done.tokens, done.fleets, done.unreadable) == (0, 1, 0)
    again = send(make_service(database, vault=both, dice=Random(8)), request, idempotency_key="k")
    assert (again.replayed, again.fleet.id) == (True, first.fleet.id)


def test_rotation_takes_many_fleets(database):
    """However many secrets there are, each is sealed anew once."""
    old, new = new_key(), new_key()
    request = fleet_request({"root_pass": "Str0ng-enough-password!", "count": 1})
    service = make_service(database, vault=Vault([old]))
    send(service, request)
    with database.write() as tx:
        row = dict(tx.execute(select(fleets)).one()._mapping)
        rows = [{**row, "id": f"00000000-0000-7000-8000-{n:012x}", "name": f"f{n}"} for n in range(450)]
        tx.execute(fleets.insert(), rows)
    assert rotate(database, Vault([new, old])).fleets == 451
    with database.read() as tx:
        sealed = tx.execute(select(fleets.c.sealed)).scalars().all()
    assert all(Vault([new]).open(one) for one in sealed)

import json
from random import Random

import httpx
import pytest
from sqlalchemy import select

from jobs import accounts as account_rows
from jobs import admission, keys
from jobs.accounts import fingerprint
from jobs.records import fleets, tokens
from jobs.vault import Vault, new_key
from simulator import SimulatorOptions, background

FIRST = "f1rst-t0ken-0f-acme"
SECOND = "sec0nd-t0ken-0f-acme"
OTHER = "t0ken-0f-an0ther-acc0unt"
NARROW = "narr0w-t0ken-0f-acme"
READER = "t0ken-that-may-n0t-create"
SECRETS = (FIRST, SECOND, OTHER, NARROW, READER)
TOKENS = (
    f"{FIRST}@acme",
    f"{SECOND}@acme",
    f"{OTHER}@other",
    f"{NARROW}@acme:linodes:read_write",
    f"{READER}@acme:linodes:read_only",
)


@pytest.fixture(scope="module")
def api():
    """A simulated API with tokens of two accounts."""
    with background(SimulatorOptions(tokens=TOKENS)) as running:
        yield running


@pytest.fixture
def office(site, run, api):
    """Runs an operator's command on the site's database; checks its exit code; returns its JSON, or its words."""

    def invoke(*arguments, stdin="", code=0, **env):
        done = run(*arguments, env={**site.env, "LINODE_API_URL": api.url, **env}, stdin=stdin)
        assert done.exit_code == code, (done.stdout, done.stderr)
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
        if code:
            return done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return invoke


# Keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_used_and_revoked(served, run, office):
    """A key is printed alone on standard output, opens the service at once, and no longer when it is revoked."""
    done = run("keys", "create", "--name", "ci", "--scopes", "read", env=served.env)
    key = done.stdout.strip()
    assert "not shown again" in done.stderr
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{served.url}/v1/fleets"
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    assert httpx.post(url, headers=headers, json={}, trust_env=False).json()["code"] == "missing_key_scope"
    (shown,) = [one for one in office("keys", "list", "--json")["keys"] if one["name"] == "ci"]
    assert (shown["id"], shown["scopes"], shown["state"]) == (keys.key_id(key), ["read"], "valid")
    assert shown["used_at"]
    assert "was already" not in office("keys", "revoke", key)
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 401
    assert "was already revoked" in office("keys", "revoke", shown["id"])


def test_keys_of_a_tenant(office):
    """A key stands for a tenant, lasts for its days, and lists can be narrowed to one tenant."""
    office("tenants", "add", "acme")
    made = office("keys", "create", "--name", "ci", "--tenant", "acme", "--days", "3", "--json")
    assert made["key"].startswith(made["id"])
    assert made["scopes"] == ["submit", "read", "operate"]
    assert made["expires_at"] > made["created_at"]
    own = office("keys", "list", "--tenant", "acme", "--json")["keys"]
    assert [one["id"] for one in own] == [made["id"]]
    text_ = office("keys", "list")
    assert made["id"] in text_
    assert made["key"] not in text_


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--name", "x", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["create", "--name", "x", "--scopes", "read,fly"], "--scopes: expected some of submit, read"),
        (["create", "--name", "x", "--scopes", ","], "got ','"),
        (["create", "--name", " "], "--name: expected 1 to 64"),
        (["list", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["revoke", "nwk_unknown"], "there is no key 'nwk_unknown'"),
    ],
)
def test_bad_input_about_keys(office, arguments, words):
    """What is wrong is named with its value, exits with 2, and makes no key."""
    before = office("keys", "list", "--json")
    assert words in office("keys", *arguments, code=2)
    assert office("keys", "list", "--json") == before


# Tenants -------------------------------------------------------------------------------------------------------------


def test_tenants_are_added_changed_and_listed(office):
    """A tenant's weight and guards are its own until they are set back to the settings'."""
    office("tenants", "add", "acme", "--weight", "3", "--max-instances", "7", "--max-hourly-usd", "2.50")
    (made,) = [one for one in office("tenants", "list", "--json")["tenants"] if one["id"] == "acme"]
    assert (made["weight"], made["max_instances"], made["max_hourly_microusd"]) == (3, 7, 2_500_000)
    assert made["holds"] == {"max_instances": 7, "max_hourly_microusd": 2_500_000, "max_count": 10_000}
    changed = office("tenants", "set", "acme", "--max-instances", "default", "--max-count", "5", "--json")
    (after,) = changed["tenants"]
    assert (after["max_instances"], after["holds"]["max_instances"], after["max_count"]) == (None, 500, 5)
    shown = office("tenants", "list")
    assert "0 of 500" in shown
    assert "$0.00 of $2.50" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "Acme"], "expected 1 to 63 small letters, digits and hyphens"),
        (["add", "default"], "there is a tenant 'default' already"),
        (["set", "nobody", "--weight", "2"], "there is no tenant 'nobody'"),
        (["set", "default"], "nothing to change"),
        (["set", "default", "--max-count", "x"], "--max-count: expected a whole number"),
        (["set", "default", "--max-instances", "-1"], "--max-instances: expected a whole number"),
        (["set", "default", "--max-hourly-usd", "nan"], "--max-hourly-usd: expected an amount"),
        (["set", "default", "--account", "nope"], "there is no account 'nope'"),
    ],
)
def test_bad_input_about_tenants(office, arguments, words):
    """What is wrong is named with its value, exits with 2, and changes nothing."""
    before = office("tenants", "list", "--json")
    assert words in office("tenants", *arguments, code=2)
    assert office("tenants", "list", "--json") == before


# Accounts ------------------------------------------------------------------------------------------------------------


def stored(site):
    """Return every token's row."""
    with site.database.read() as tx:
        return tx.execute(select(tokens).order_by(tokens.c.created_at)).all()


def test_an_account_is_added_with_its_token(site, office):
    """An account's token is read from standard input, checked, and kept encrypted; tenants can be given it."""
    made = office("accounts", "add", "acme", "--json", stdin=FIRST + "\n")
    (account,) = made["accounts"]
    assert (account["id"], [one["id"] for one in account["tokens"]]) == ("acme", [fingerprint(FIRST)])
    assert account["euuid"]
    assert FIRST.encode() not in stored(site)[-1].sealed
    office("tenants", "set", "default", "--account", "default", "--account", "acme")
    found = office("accounts", "list", "--json")["accounts"]
    assert {one["id"]: one["tenants"] for one in found} == {"acme": ["default"], "default": ["default"]}
    assert fingerprint(FIRST) in office("accounts", "list")


def test_a_second_token_must_be_of_the_same_account(site, office):
    """A token is added, or replaces another, only where the API says that it is the same Linode account."""
    office("accounts", "add", "acme", stdin=FIRST)
    words = office("accounts", "add-token", "acme", stdin=OTHER, code=2)
    assert "belongs to another Linode account than 'acme'" in words
    assert "--unchecked" in office("accounts", "add-token", "acme", stdin=NARROW, code=2)
    assert [row.id for row in stored(site)][1:] == [fingerprint(FIRST)]
    office("accounts", "add-token", "acme", "--unchecked", stdin=NARROW)
    old = ("--replace", fingerprint(FIRST))
    assert "another" in office("accounts", "add-token", "acme", *old, "--unchecked", stdin=OTHER, code=2)
    (shown,) = office("accounts", "add-token", "acme", *old, "--json", stdin=SECOND)["accounts"]
    assert {one["id"] for one in shown["tokens"]} == {fingerprint(SECOND), fingerprint(NARROW)}


def test_the_account_of_the_settings_token(site, office):
    """A token for the account of LINODE_TOKEN is compared with that one's account."""
    with site.database.write() as tx:
        admission.register(tx, account_id="default", token_id=fingerprint(FIRST), limits={})
    office("accounts", "add-token", "default", stdin=OTHER, code=2, LINODE_TOKEN=FIRST)
    (shown,) = office("accounts", "add-token", "default", "--json", stdin=SECOND, LINODE_TOKEN=FIRST)[
        "accounts"
    ]
    sealed = {one["id"]: one["sealed"] for one in shown["tokens"]}
    assert sealed == {"t1": False, fingerprint(FIRST): False, fingerprint(SECOND): True}


def test_one_linode_account_has_one_name(office):
    """The same Linode account, or the same token, is not taken under two names."""
    office("accounts", "add", "acme", stdin=FIRST)
    assert "the same Linode account as 'acme'" in office("accounts", "add", "again", stdin=SECOND, code=2)
    assert "already one of account 'acme'" in office("accounts", "add", "again", stdin=FIRST, code=2)
    assert "there is an account 'acme' already" in office("accounts", "add", "acme", stdin=SECOND, code=2)


def test_a_token_is_removed(site, office):
    """A token can be removed, with its windows, and is then unknown."""
    office("accounts", "add", "acme", stdin=FIRST)
    (shown,) = office("accounts", "remove-token", fingerprint(FIRST), "--json")["accounts"]
    assert shown["tokens"] == []
    assert "there is no token" in office("accounts", "remove-token", fingerprint(FIRST), code=2)


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", "expected a token on standard input"),
        ("two words", "expected a token on standard input"),
        ("unknown-t0ken", "the API"),
        (READER, "lacks the scope linodes:read_write"),
    ],
)
def test_a_bad_token_is_not_taken(office, stdin, words):
    """A token that the API refuses, or that may not create, is not stored, and not repeated."""
    assert words in office("accounts", "add", "acme", stdin=stdin, code=2)
    assert [one["id"] for one in office("accounts", "list", "--json")["accounts"]] == ["default"]


def test_no_api_no_token(office):
    """Without an answer of the API nothing is stored, and the exit code says that it was not reached."""
    office("accounts", "add", "acme", stdin=FIRST, code=3, LINODE_API_URL="http://127.0.0.1:9/v4")
    assert "there is no account 'nope'" in office("accounts", "add-token", "nope", stdin=FIRST, code=2)


def test_the_doctor_knows_of_stored_tokens(site, run, api, office):
    """Without LINODE_TOKEN the doctor is content where the database keeps a token, and not before."""
    env = {**site.env, "LINODE_API_URL": api.url}

    def token_finding():
        found = json.loads(run("doctor", "--json", env=env).stdout)["findings"]
        return next(one for one in found if one["what"] == "token")

    assert not token_finding()["ok"]
    office("accounts", "add", "acme", stdin=FIRST)
    assert token_finding()["ok"]


# Encryption keys -----------------------------------------------------------------------------------------------------


def test_rotation_seals_everything_anew(site, office, document):
    """After a rotation the newest key alone opens tokens and requests; what no key opens is told, and stays."""
    old, new, foreign = new_key(), new_key(), new_key()
    office("accounts", "add", "acme", stdin=FIRST, NODEWRIGHT_ENCRYPTION_KEYS=old)
    sealed = Vault([old]).seal({"0": {"root_pass": "Gl4di0lus+Kn1fe/7"}})
    with site.database.write() as tx:
        for name, content in (("a", sealed), ("b", Vault([foreign]).seal({}))):
            add_fleet(tx, name, content)
    keys_ = f"{new},{old}"
    words = office("accounts", "rotate", code=1, NODEWRIGHT_ENCRYPTION_KEYS=keys_)
    assert "1 secrets are opened by none of the keys" in words
    alone = Vault([new])
    assert account_rows.unseal(alone, stored(site)[-1].sealed) == FIRST
    with site.database.read() as tx:
        contents = dict(tx.execute(select(fleets.c.name, fleets.c.sealed)).all())
    assert alone.open(contents["a"])["0"]["root_pass"] == "Gl4di0lus+Kn1fe/7"
    assert Vault([foreign]).open(contents["b"]) == {}


def add_fleet(tx, name, sealed):
    """Add a fleet without jobs that keeps secrets."""
    row = {"id": str(Random(name).getrandbits(40)), "tenant_id": "default", "name": name, "count": 1}
    more = {"priority": 0, "groups": [], "sealed": sealed, "secrets_erased": False, "created_at": tx.now}
    row["id"] = f"00000000-0000-7000-8000-{int(row['id']):012x}"
    tx.execute(fleets.insert(), {**row, **more})

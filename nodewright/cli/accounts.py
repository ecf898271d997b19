"""``nodewright accounts``: Linode accounts, their tokens, and the keys that these are encrypted with."""

import getpass
import sys
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from pydantic import SecretStr

from jobs import accounts
from jobs.accounts import AccountView, fingerprint
from jobs.database import Database
from jobs.rotation import rotate as rotate_all
from jobs.vault import UnreadableSecretError, Vault
from nodewright.cli.offices import checked_name, moment, opened
from nodewright.cli.options import Json
from nodewright.cli.output import console, grid, print_json
from nodewright.credentials import check, linode_account
from nodewright.failures import BadInput, Failure, NotReached
from nodewright.settings import Settings
from nodewright.wiring import Wiring

TOKEN: Final = "the token"  # noqa: S105 - what messages call it

AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name here.")]
TokenId = Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id, as `accounts list` shows it.")]
Replace = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="Remove this token, by its id, in the same moment.")
]
Unchecked = Annotated[
    bool,
    typer.Option(
        "--unchecked",
        help="Believe that the token belongs to this Linode account, where the API does not tell.",
    ),
]


def list_(*, json: Json = False) -> None:
    """List accounts, their tokens by id, and who may use them. No token is ever shown."""
    with opened() as (_, database):
        _show(database, json=json)


def add(account: AccountId, *, json: Json = False) -> None:
    """Add an account with its first token, which is read from standard input, or asked for.

    The token is checked by the API and kept encrypted. Give the account to tenants with `nodewright tenants set`.
    """
    checked_name(account, "ACCOUNT")
    with opened(secrets=True) as (wiring, database):
        with database.read() as tx:
            if accounts.exists(tx, account):
                raise BadInput(
                    f"there is an account {account!r} already; `nodewright accounts add-token` adds to it"
                )
        token = _read_token(wiring.settings)
        euuid = linode_account(token, wiring.settings.api_url)
        _store(wiring, database, account, token, euuid)
        if euuid is None:
            _remark("it lacks the scope account:read_only, so no later token can be compared with it")
        _show(database, json=json, only=account)


def add_token(
    account: AccountId, *, replace: Replace = None, unchecked: Unchecked = False, json: Json = False
) -> None:
    """Add a token to an account: each brings rate limits of its own. It is read from standard input, or asked for.

    The API must say that it belongs to the same Linode account, for which it needs the scope account:read_only.
    """
    with opened(secrets=True) as (wiring, database):
        with database.read() as tx:
            if not accounts.exists(tx, account):
                raise BadInput(f"there is no account {account!r}; `nodewright accounts add` adds it")
            if replace is not None and accounts.owner_of(tx, replace) != account:
                raise BadInput(f"--replace: account {account!r} has no token {replace!r}")
        token = _read_token(wiring.settings)
        euuid = linode_account(token, wiring.settings.api_url)
        _compare(euuid, _known_euuid(wiring, database, account), account, unchecked=unchecked)
        _store(wiring, database, account, token, euuid, replace=replace)
        _show(database, json=json, only=account)


def remove_token(token: TokenId, *, json: Json = False) -> None:
    """Forget a token. Creates under way with it are finished; jobs that wait go on with the account's others."""
    with opened() as (_, database):
        with database.write() as tx:
            account = accounts.owner_of(tx, token)
            if account is None or not accounts.remove_token(tx, token):
                raise BadInput(f"there is no token {token[:20]!r}; `nodewright accounts list` shows them")
        _show(database, json=json, only=account)


def rotate(*, json: Json = False) -> None:
    """Encrypt every secret anew, with the first of NODEWRIGHT_ENCRYPTION_KEYS; then the others can go.

    Exit codes: 0 all of it, 1 something no key opens.
    """
    with opened(secrets=True) as (wiring, database):
        done = rotate_all(database, wiring.vault())
    if json:
        print_json(asdict(done))
    else:
        console().print(
            f"Encrypted anew: {done.tokens} tokens, the secrets of {done.fleets} fleets and "
            f"of {done.webhooks} webhooks."
        )
    if done.unreadable:
        raise Failure(f"{done.unreadable} secrets are opened by none of the keys, and stay as they are")


def _read_token(settings: Settings) -> SecretStr:
    """Return a token that the API accepts, from standard input or a prompt: never from the command line."""
    typed = getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()
    text = typed.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise BadInput("expected a token on standard input: one line, no spaces")
    token = SecretStr(text)
    verdict = check(token, settings.api_url, name=TOKEN)
    if verdict.fault:
        raise BadInput(verdict.fault)
    if verdict.warning:
        raise NotReached(f"{verdict.warning}; nothing was stored")
    return token


def _known_euuid(wiring: Wiring, database: Database, account: str) -> str | None:
    """Return which Linode account this is: as the table says, else as one of its present tokens does."""
    with database.read() as tx:
        known = next((one.euuid for one in accounts.list_accounts(tx) if one.id == account), None)
    if known is not None:
        return known
    for token in _present_tokens(wiring, database, account):
        euuid = linode_account(token, wiring.settings.api_url)
        if euuid is not None:
            return euuid
    return None


def _present_tokens(wiring: Wiring, database: Database, account: str) -> list[SecretStr]:
    given = wiring.settings.token
    with database.read() as tx:
        stored = accounts.stored_tokens(tx, account)
        mine = given is not None and accounts.owner_of(tx, fingerprint(given.get_secret_value())) == account
    found = [given] if given is not None and mine else []
    return [*found, *(token for one in stored if (token := _open(wiring.vault(), one.sealed)) is not None)]


def _open(vault: Vault, sealed: bytes) -> SecretStr | None:
    try:
        return SecretStr(accounts.unseal(vault, sealed))
    except UnreadableSecretError:
        return None


def _compare(new: str | None, known: str | None, account: str, *, unchecked: bool) -> None:
    if new is not None and known is not None and new != known:
        raise BadInput(
            f"{TOKEN} belongs to another Linode account than {account!r}; `accounts add` adds that one"
        )
    if (new is None or known is None) and not unchecked:
        lacking = f"{TOKEN} lacks" if new is None else f"the tokens of {account!r} lack"
        raise BadInput(
            f"{lacking} the scope account:read_only, so nobody can tell whether it is the same Linode account; "
            "give a token with it, or say --unchecked"
        )


def _store(
    wiring: Wiring,
    database: Database,
    account: str,
    token: SecretStr,
    euuid: str | None,
    *,
    replace: str | None = None,
) -> None:
    name = fingerprint(token.get_secret_value())
    with database.write() as tx:
        owner = accounts.owner_of(tx, name)
        if owner not in {None, account}:
            raise BadInput(f"{TOKEN} is already one of account {owner!r}")
        same = None if euuid is None else accounts.known_as(tx, euuid)
        if same not in {None, account}:
            raise BadInput(
                f"it is the same Linode account as {same!r}; `nodewright accounts add-token {same}` adds it"
            )
        accounts.add_token(tx, account, name, accounts.seal(wiring.vault(), token.get_secret_value()))
        accounts.learn_euuid(tx, account, euuid)
        if replace not in {None, name}:
            accounts.remove_token(tx, str(replace))


def _remark(words: str) -> None:
    sys.stderr.write(f"warning: {TOKEN}: {words}\n")


def _show(database: Database, *, json: bool, only: str | None = None) -> None:
    with database.read() as tx:
        found = [one for one in accounts.list_accounts(tx) if only in {None, one.id}]
    if json:
        print_json({"accounts": [_document(one) for one in found]})
        return
    table = grid("ACCOUNT", "TOKENS", "STATE", "TENANTS")
    for one in found:
        tokens = "\n".join(f"{token.id}{'' if token.sealed else ' (LINODE_TOKEN)'}" for token in one.tokens)
        table.add_row(one.id, tokens or "none", one.paused_code or "open", ", ".join(one.tenants))
    console().print(table)


def _document(account: AccountView) -> dict[str, Any]:
    tokens = [{**asdict(token), "created_at": moment(token.created_at)} for token in account.tokens]
    return {
        **asdict(account),
        "tokens": tokens,
        "tenants": list(account.tenants),
        "created_at": moment(account.created_at),
    }

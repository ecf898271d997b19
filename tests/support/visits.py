"""A person at the page of a whole service: a browser without scripts, which keeps cookies and sends forms."""

import asyncio
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from io import StringIO
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from sqlalchemy import select

from jobs import house, keys, schema, tenants
from jobs.database import Database
from jobs.keys import Principal
from jobs.records import accounts, fleets, installation, job_events, jobs
from jobs.sessions import Sessions
from jobs.vault import Vault, new_key
from nodewright.logs import make_logger
from nodewright.service.app import create_app
from nodewright.service.deps import ServiceDeps
from nodewright.service.guards import LOGINS_AT_ONCE, LOGINS_PER_SECOND, RateLimiter
from tests.support.clock import FakeClock
from tests.support.fleets import ACCOUNT, PARTS, TENANT, make_service, move_in

PLAIN: Final = "http://nodewright.example:8420"
TLS: Final = "https://nodewright.example"
OWN_MACHINE: Final = "http://127.0.0.1:8420"
PATIENCE: Final = 60.0
SETTINGS_KEY: Final = "the-key-that-the-settings-give"
_KEPT: Final = (fleets, jobs, job_events, accounts, installation)


@dataclass
class Form:
    """A form as a browser reads it."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    secret: str = ""
    """The name of its password field."""
    words: str = ""

    @property
    def names(self) -> set[str]:
        """What its fields are called."""
        return {name for name, _ in self.fields}


class Reader(HTMLParser):
    """Reads a page as a browser does: its elements, attributes, forms and words."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.forms: list[Form] = []
        self.text = ""
        self._inside = False
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag == "form":
            self._inside = True
            self.forms.append(Form(given.get("action") or "", given.get("method") or "get"))
        elif self._inside and given.get("name") and tag in {"input", "button"}:
            self._note(self.forms[-1], given)

    def _note(self, form: Form, given: dict[str, str | None]) -> None:
        if given.get("type") == "password":
            form.secret = str(given["name"])
        elif given.get("type") != "checkbox":
            form.fields.append((str(given["name"]), given.get("value") or ""))

    def handle_endtag(self, tag: str) -> None:
        """Note where a form ends."""
        self._inside = self._inside and tag != "form"

    def handle_data(self, data: str) -> None:
        """Note words."""
        self.text += data
        if self._inside:
            self.forms[-1].words += data


class House:
    """An installation on SQLite whose clock stands still, with the whole service before it."""

    def __init__(self, folder: Any, *, local: bool = False) -> None:
        self.clock = FakeClock()
        self.vault = Vault([new_key()])
        self.log = StringIO()
        self.database = Database(f"sqlite:///{folder / 'jobs.db'}", clock=self.clock)
        schema.upgrade(self.database, dice=Random(0))
        move_in(self.database)
        with self.database.write() as tx:
            house.store_catalogs(tx, ACCOUNT, PARTS)
            house.heartbeat(tx, "worker-1@here")
        self.service = make_service(self.database, vault=self.vault)
        self.deps = ServiceDeps(
            self.service,
            authenticate=lambda key: self._given.get(keys.digest_of(key)) or keys.check(self.database, key),
            sessions=Sessions(self.database, dice=Random(9), given=self._given),
            hooks=None,  # type: ignore[arg-type] - the page sends none
            ready=lambda: None,
            log=make_logger("debug", file=self.log),
            local=local,
            logins=RateLimiter(LOGINS_PER_SECOND, burst=LOGINS_AT_ONCE, monotonic=self.clock.monotonic),
        )
        self._dice = Random(5)
        self._runner = asyncio.Runner()
        self.app = create_app(self.deps)

    def close(self) -> None:
        """Close what is open."""
        self._runner.close()
        self.database.close()

    @property
    def _given(self) -> dict[str, Principal]:
        everything = Principal("settings", TENANT, frozenset(keys.SCOPES))
        return {keys.digest_of(SETTINGS_KEY): everything}

    def key(self, *scopes: str, tenant: str = TENANT, name: str = "test", **more: Any) -> str:
        """Make an API key, by default with every scope."""
        wanted = scopes or keys.SCOPES
        return keys.create_key(
            self.database, tenant=tenant, name=name, dice=self._dice, scopes=tuple(wanted), **more
        )

    def tenant(self, name: str) -> None:
        """Make another tenant with an account of its own."""
        with self.database.write() as tx:
            tenants.add(tx, name)
        move_in(self.database, account=f"{name}-account", token=f"{name}-token")
        with self.database.write() as tx:
            house.store_catalogs(tx, f"{name}-account", PARTS)
            tenants.map_accounts(tx, name, (f"{name}-account",))

    def rows(self) -> list[Any]:
        """Return all that an action could change."""
        with self.database.read() as tx:
            return [tx.execute(select(table).order_by(*table.primary_key)).all() for table in _KEPT]

    def person(self, url: str = PLAIN, *, deps: Any = None, address: str = "192.0.2.1") -> "Person":
        """Return somebody who is about to look, in a browser without cookies."""
        app = self.app if deps is None else create_app(deps)
        way = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
        head = {"accept": "text/html,application/xhtml+xml"}
        return Person(httpx.AsyncClient(transport=way, base_url=url, headers=head), url, self._runner)

    def entrant(self, *scopes: str, tenant: str = TENANT, url: str = PLAIN) -> "Person":
        """Return somebody who is logged in by a key of their own."""
        person = self.person(url)
        answer = person.log_in(self.key(*scopes, tenant=tenant))
        assert answer.status_code == 303, answer.text
        return person

    def restarted(self, given: dict[str, Principal]) -> ServiceDeps:
        """Return the service as it is after a restart with another key in its settings."""
        return replace(self.deps, sessions=Sessions(self.database, dice=Random(8), given=given))


@dataclass
class Person:
    """Somebody with a browser."""

    client: httpx.AsyncClient
    url: str
    runner: asyncio.Runner

    def look(self, path: str, **headers: str) -> Any:
        """Open a page; redirects are not followed."""
        return self.ask("GET", path, headers=_head(headers))

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """Send any request. An answer that goes on for ever, as a stream's, fails."""
        asked = self.client.request(method, path, **more)
        return self.runner.run(asyncio.wait_for(asked, PATIENCE))

    def forms(self, path: str) -> list[Form]:
        """Return the forms that change something on a page."""
        return [form for form in Reader(self.look(path).text).forms if form.method == "post"]

    def log_in(self, key: str, path: str = "/login", **headers: str) -> Any:
        """Send the login form of a page, with a key."""
        form = next(one for one in self.forms(path) if one.secret)
        return self.post(form.action, [*form.fields, (form.secret, key)], **headers)

    def log_out(self) -> Any:
        """Send the form that logs out."""
        form = next(one for one in self.forms("/") if one.action == "/logout")
        return self.post(form.action, form.fields)

    def token(self) -> str:
        """Return what this person's forms carry."""
        return next(value for form in self.forms("/") for name, value in form.fields if name == "csrf")

    def post(self, path: str, fields: Any, *, origin: str | None = "", **headers: str) -> Any:
        """Send a form as a browser does; ``origin``: from elsewhere than our own page; None: it does not say."""
        said = {} if origin is None else {"origin": origin or self.url}
        pairs = fields.items() if isinstance(fields, dict) else fields
        head = {"content-type": "application/x-www-form-urlencoded", **said, **_head(headers)}
        return self.ask("POST", path, content=urlencode(list(pairs)), headers=head)

    def act(self, path: str, fields: Any = (), **options: Any) -> Any:
        """Send an action as the page's form would, confirmed."""
        pairs = list(fields.items()) if isinstance(fields, dict) else list(fields)
        return self.post(path, [("csrf", self.token()), ("confirmed", "1"), *pairs], **options)

    @property
    def cookies(self) -> dict[str, str]:
        """What the browser keeps."""
        return {one.name: str(one.value) for one in self.client.cookies.jar}


def _head(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}

"""From settings to live objects: the database, the vault, the jobs service. Each command opens what it needs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random, SystemRandom
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from jobs import house, keys, schema
from jobs.catalog import Catalog
from jobs.database import Database
from jobs.fleets import Guards
from jobs.hooks import Hooks
from jobs.reach import Reach
from jobs.service import Service
from jobs.vault import Vault, new_key
from nodewright.failures import BadInput, NotReached
from nodewright.home import Home
from nodewright.settings import Settings, SettingsError

TENANT: Final = "default"
"""The only tenant of a local stack."""


@dataclass(frozen=True)
class Wiring:
    """What the settings lead to, opened when asked for."""

    settings: Settings

    @property
    def home(self) -> Home:
        """The local stack's folder."""
        return Home(self.settings.home_folder)

    @property
    def database_url(self) -> str:
        """The database that the settings name, else the one in the home folder."""
        given = self.settings.database_url
        return given.get_secret_value() if given else self.home.database_url

    def encryption_keys(self) -> tuple[str, ...]:
        """Return the keys, newest first; a home folder gets one of its own when first needed."""
        given = self.settings.encryption_keys
        if given is None:
            self.home.make()
        text = given.get_secret_value() if given else self.home.encryption_key(new_key)
        return tuple(key.strip() for key in text.split(",") if key.strip())

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the database, and close it afterwards.

        Raises:
            NotReached: it does not answer.

        """
        if self.settings.database_url is None:
            self.home.make()
        database = Database(self.database_url)
        try:
            _check(database)
            yield database
        finally:
            database.close()

    @contextmanager
    def current_database(self) -> Iterator[Database]:
        """Open the database for one part of an installation, which must agree with the others about it.

        Raises:
            BadInput: it is not at this version, or is shared while the keys to its secrets are not.
            NotReached: it does not answer.

        """
        if self.settings.database_url is not None and self.settings.encryption_keys is None:
            raise BadInput(
                "NODEWRIGHT_ENCRYPTION_KEYS: not set; service and workers on one database need the same keys, "
                "such as the one that `encryption.key` in NODEWRIGHT_HOME holds after `nodewright up`"
            )
        with self.migrated_database() as database:
            yield database

    @contextmanager
    def migrated_database(self) -> Iterator[Database]:
        """Open the database for a command that reads no secret.

        Raises:
            BadInput: it is not at this version.
            NotReached: it does not answer.

        """
        with self.database() as database:
            if not schema.is_current(database):
                raise BadInput(
                    f"{name_of(database)} is not at this version of Nodewright; run `nodewright migrate`"
                )
            yield database

    @property
    def guards(self) -> Guards:
        """What a tenant may hold at once."""
        settings = self.settings
        return Guards(settings.max_instances, settings.max_hourly_microusd, settings.max_count)

    def service(self, database: Database, *, notify: Callable[[], None]) -> Service:
        """Return the jobs service over ``database``."""
        return Service(
            database,
            vault=self.vault(),
            guards=self.guards,
            catalogs=CatalogReader(database),
            notify=notify,
            dice=SystemRandom(),
        )

    @property
    def reach(self) -> Reach:
        """How far inwards webhooks may be sent."""
        return Reach(self.settings.webhook_allow_private or Reach.PUBLIC)

    def hooks(self, database: Database) -> Hooks:
        """Return the tenants' endpoints over ``database``."""
        return Hooks(database, vault=self.vault(), reach=self.reach, dice=SystemRandom())

    def vault(self) -> Vault:
        """Return what seals and opens secrets.

        Raises:
            SettingsError: the keys are malformed.

        """
        try:
            return Vault(self.encryption_keys())
        except ValueError as error:
            raise SettingsError(f"NODEWRIGHT_ENCRYPTION_KEYS: {error}") from None


def migrate(database: Database) -> None:
    """Bring the database to the newest version.

    Raises:
        NotReached: the database refuses.

    """
    try:
        schema.upgrade(database, dice=SystemRandom())
    except SQLAlchemyError as error:
        raise NotReached(f"{name_of(database)} cannot be migrated: {_first_line(error)}") from error


def local_key(database: Database, home: Home, *, dice: Random) -> str:
    """Return the local client's key, made when there is none yet."""
    return home.local_key(
        valid=lambda key: keys.check(database, key) is not None,
        make=lambda: keys.create_key(database, tenant=TENANT, name="local", dice=dice),
    )


def name_of(database: Database) -> str:
    """Return a database's URL as people know it, without its password."""
    scheme = database.url.get_backend_name()
    return database.url.set(drivername=scheme).render_as_string(hide_password=True)


def _check(database: Database) -> None:
    try:
        with database.read() as tx:
            tx.connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError as error:
        raise NotReached(f"{name_of(database)} cannot be reached: {_first_line(error)}") from error


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0]


class CatalogReader:
    """Reads an account's catalog from the database, and parses it again only when it changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Catalog] = {}
        self._lock = threading.Lock()

    def __call__(self, account_id: str) -> Catalog | None:
        """Return the account's last good catalog, or None while there is none."""
        with self._lock, self._database.read() as tx:
            version = house.catalog_version(tx, account_id)
            known = self._known.get(account_id)
            if known is not None and known.version == version:
                return known
            found = house.load_catalog(tx, account_id)
            if found is not None:
                self._known[account_id] = found
            return found

"""The refresh of the catalogs: page by page, by one worker at a time; the last good copy is kept."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from api_client import Collection, Resource
from jobs import backoff, house
from jobs.catalog import Catalog
from jobs.chores import Claim
from jobs.database import Transaction
from worker.config import LIST_AVAILABILITY, LIST_IMAGES, LIST_REGIONS, LIST_TYPES
from worker.engine import Engine

_RETRY_CEILING_SECONDS = 60.0


class Refresh:
    """Reads types, regions, images and availability, keeps them in the database, and offers them to the cache."""

    lease = timedelta(seconds=60)

    def __init__(
        self, engine: Engine, offer: Callable[[str, Catalog, dict[str, list[dict[str, Any]]]], None]
    ) -> None:
        self._engine = engine
        self._offer = offer
        self.name = f"catalogs:{engine.identity.account_id}"

    def wanted(self, tx: Transaction) -> datetime | None:
        """Say now: its due date is the only condition."""
        return tx.now

    def run(self, claim: Claim) -> datetime:
        """Read all four lists; return when to read them again."""
        engine = self._engine
        claim.state["failures"] = claim.state.get("failures", 0) + 1  # until it is over
        parts = {kind: self._rows(route, source) for kind, route, source in self._sources()}
        account = engine.identity.account_id
        with engine.parts.database.write() as tx:
            house.store_catalogs(tx, account, parts)
            catalog = house.load_catalog(tx, account)
            due = tx.now + engine.pace.catalog
        claim.state["failures"] = 0
        if catalog is not None:
            self._offer(account, catalog, parts)
        return due

    def retry(self, claim: Claim, now: datetime) -> datetime:
        """Return when to try again after a failure."""
        tries = claim.state.get("failures", 1) - 1
        return now + timedelta(seconds=backoff.exponential(tries, first=1.0, ceiling=_RETRY_CEILING_SECONDS))

    def _sources(self) -> Sequence[tuple[str, str, Collection[Any]]]:
        client = self._engine.parts.client
        return (
            ("types", LIST_TYPES, client.types),
            ("regions", LIST_REGIONS, client.regions),
            ("images", LIST_IMAGES, client.images),
            ("availability", LIST_AVAILABILITY, client.regions.availability),
        )

    def _rows(self, route: str, source: Collection[Resource]) -> list[dict[str, Any]]:
        return [_row(item) for item in self._engine.read_all(route, source)]


def _row(item: Resource) -> dict[str, Any]:
    return item.model_dump(mode="json", by_alias=True, exclude_none=True)

"""Nodewright within a caller's own process: fleets that join the caller's transaction, an outbox for free.

It imports the rooms `jobs` and `worker`: it is for callers that have no packages of these names. Others use the client.

>>> with open_service() as service, service.transaction() as connection:
...     connection.execute(insert(orders), {"number": 7})
...     service.submit_in(connection, parse_request(document), tenant="default", actor="shop")
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jobs.service import Service
from nodewright.settings import Settings
from nodewright.wiring import Wiring
from nodewright.working import notifier


@contextmanager
def open_service(settings: Settings | None = None) -> Iterator[Service]:
    """Open the jobs service on the database that the settings name; by default the environment's.

    Raises:
        BadInput: a setting is wrong or missing, or the database is at another version.
        NotReached: the database does not answer.

    """
    wiring = Wiring(settings or Settings.load())
    with wiring.current_database() as database:
        yield wiring.service(database, notify=notifier(wiring.settings))

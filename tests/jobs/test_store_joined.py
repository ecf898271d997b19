import pytest
from sqlalchemy import create_engine, func, select, text

from jobs.fleets import Guards
from jobs.records import fleets, jobs
from jobs.requests import InvalidRequest
from jobs.service import IdempotencyConflict
from tests.support.fleets import TENANT, fleet_request, make_service, submit


class _Ours(Exception):  # noqa: N818 - it is thrown on purpose
    pass


@pytest.fixture
def service(database):
    """A service over the database, which also has a table of the caller's."""
    with database.write() as tx:
        tx.execute(text("DROP TABLE IF EXISTS orders"))
        tx.execute(text("CREATE TABLE orders (number INTEGER)"))
    yield make_service(database)
    with database.write() as tx:
        tx.execute(text("DROP TABLE orders"))


def join(service, connection, *groups, **fleet):
    """Write an order and submit a fleet in one transaction."""
    connection.execute(text("INSERT INTO orders VALUES (1)"))
    request = fleet_request(*groups, **fleet)
    return service.submit_in(connection, request, tenant=TENANT, actor="shop", idempotency_key="order-1")


def there(database):
    """Return how many orders, fleets and jobs there are."""
    with database.read() as tx:
        counts = [tx.execute(select(func.count()).select_from(one)).scalar() for one in (fleets, jobs)]
        return [tx.execute(text("SELECT count(*) FROM orders")).scalar(), *counts]


def test_a_fleet_joins_the_callers_transaction(database, service):
    """Order and fleet are committed together; before the commit nobody sees either."""
    with service.transaction() as connection:
        accepted = join(service, connection, {"count": 2})
        assert there(database) == [0, 0, 0]
    assert there(database) == [1, 1, 2]
    assert service.fleet(accepted.fleet.id, TENANT).states == {"queued": 2}


def test_a_rollback_takes_the_fleet_back(database, service):
    """When the caller's own work fails there is neither order nor fleet, and the guard counts nothing."""

    def fails():
        with service.transaction() as connection:
            join(service, connection)
            raise _Ours

    with pytest.raises(_Ours):
        fails()
    assert there(database) == [0, 0, 0]
    assert service.plan(fleet_request(), tenant=TENANT).instances.used == 0


def test_a_refused_fleet_leaves_the_transaction_usable(database):
    """After a refusal by a guard the caller's transaction goes on as if nothing had been asked."""
    service = make_service(database, guards=Guards(max_instances=1))
    with service.transaction() as connection:
        with pytest.raises(InvalidRequest):
            service.submit_in(connection, fleet_request({"count": 2}), tenant=TENANT, actor="shop")
        service.submit_in(connection, fleet_request({"count": 1}), tenant=TENANT, actor="shop")
    assert [fleet.count for fleet in service.fleets(TENANT)] == [1]


def test_the_same_key_is_one_fleet(database, service):
    """Sent again after the commit the earlier fleet is found; within one transaction it is a conflict."""
    with service.transaction() as connection:
        first = join(service, connection)
        with pytest.raises(IdempotencyConflict):
            join(service, connection, name="web")
    with service.transaction() as connection:
        again = join(service, connection)
    assert (again.fleet.id, again.replayed) == (first.fleet.id, True)


@pytest.mark.postgres
def test_a_connection_of_the_callers_own_engine(postgres_database):
    """Any SQLAlchemy connection to the same PostgreSQL will do."""
    service = make_service(postgres_database)
    engine = create_engine(postgres_database.url)
    with engine.begin() as connection:
        service.submit_in(connection, fleet_request(), tenant=TENANT, actor="shop")
    assert [fleet.name for fleet in service.fleets(TENANT)] == ["web"]
    engine.dispose()


def test_a_connection_that_does_not_fit_is_refused(database):
    """Without a transaction, or to another kind of database, nothing is joined."""
    service = make_service(database)
    submit(database)
    with database.engine.connect() as idle, pytest.raises(ValueError, match="in a transaction"):
        service.submit_in(idle, fleet_request(name="x"), tenant=TENANT, actor="shop")
    if not database.on_sqlite:
        other = create_engine("sqlite://")
        with other.begin() as connection, pytest.raises(ValueError, match="got one to sqlite"):
            service.submit_in(connection, fleet_request(name="x"), tenant=TENANT, actor="shop")
        other.dispose()

"""The one door to the database: engines, transactions and the clock that leases are measured by.

Leases, ``run_after`` and windows compare with the database's clock, never with two machines' clocks. SQLite has no
clock of its own, but all its users are on one machine, so there the machine's clock is the database's.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, func, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DisconnectionError

Clock = Callable[[Connection], datetime]

POOL_SIZE: Final = 10
"""Connections of a process that is no worker. PostgreSQL's own limit is 100 for all processes together."""
_BUSY_SECONDS: Final = 30
_IDLE_SECONDS: Final = 2.0
"""A connection that lay idle for longer is asked whether it still lives before it is used."""
_WRITE: Final = "nodewright_write"


def machine_clock(connection: Connection) -> datetime:  # noqa: ARG001 - a Clock asks its connection
    """Return this machine's time, in UTC."""
    return datetime.now(UTC)


def server_clock(connection: Connection) -> datetime:
    """Return PostgreSQL's time (``clock_timestamp``, not the time at which the transaction began)."""
    moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


class Timed:
    """A query that can bring the server's time along, as it is when the query starts: one that waits for no lock."""

    def __init__(self, query: Select[Any]) -> None:
        self.query = query
        self.with_clock = query.add_columns(func.clock_timestamp())


class Transaction:
    """An open transaction and its moment: ``now`` is read once, from the database's clock."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock
        self._now: datetime | None = None

    @property
    def now(self) -> datetime:
        """The database's time, read when first asked for and the same for the rest of the transaction."""
        # Not a cached_property: before Python 3.12 that is one lock for all transactions of the process, and they
        # would ask the server for its time one after the other.
        if self._now is None:
            self._now = self._clock(self.connection)
        return self._now

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.connection.dialect.name == "sqlite"

    def execute(self, statement: Any, parameters: Any = None) -> Any:  # noqa: ANN401 - SQLAlchemy's own shapes
        """Execute one statement; see ``sqlalchemy.Connection.execute``."""
        return self.connection.execute(statement, parameters)

    def rows(self, timed: Timed, parameters: Any = None) -> Sequence[Any]:  # noqa: ANN401 - as above
        """Return a query's rows, with the time as one more column where it came along: a round trip less."""
        if self._now is not None or self._clock is not server_clock:
            return self.connection.execute(timed.query, parameters).all()
        rows = self.connection.execute(timed.with_clock, parameters).all()
        if rows:
            self._now = rows[0][-1].astimezone(UTC)
        return rows

    def insert_missing(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row unless its key is there already; another process may insert the same at the same moment."""
        insert = sqlite.insert if self.on_sqlite else postgresql.insert
        self.connection.execute(insert(table).values(**row).on_conflict_do_nothing())


class Database:
    """Connections to one database, SQLite (WAL) or PostgreSQL, with transactions of two kinds.

    Args:
        url: an SQLAlchemy URL; ``postgres://`` and ``postgresql://`` mean psycopg 3.
        clock: overrides the database's clock, for tests.
        pool_size: connections at most (PostgreSQL); a thread that finds none waits for its turn. A thread must never
            hold two, or all could wait for each other.
        monotonic: the process's clock, for how long a connection lay idle.

    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = POOL_SIZE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = normalise_url(url)
        self.engine = _engine(self.url, pool_size, monotonic)
        self.on_sqlite = self.url.get_backend_name() == "sqlite"
        self._clock = clock or (machine_clock if self.on_sqlite else server_clock)
        # SQLite's own busy handler polls and is unfair; inside one process a lock hands over at once.
        self._writing: Any = threading.Lock() if self.on_sqlite else nullcontext()

    def __repr__(self) -> str:
        """Name the database without its password."""
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction that may write; it commits at the end, or rolls back if an exception leaves it."""
        with self._writing, self.engine.connect() as connection:
            writer = connection.execution_options(**{_WRITE: True})
            with writer.begin():
                yield Transaction(writer, self._clock)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield Transaction(connection, self._clock)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a transaction as :meth:`write` does, and hand out its connection."""
        with self.write() as tx:
            yield tx.connection

    def joined(self, connection: Connection) -> Transaction:
        """Return the transaction that ``connection``, a caller's own to this database, is in.

        Raises:
            ValueError: it is in none, or its database is of another kind.

        """
        if not connection.in_transaction():
            raise ValueError("expected a connection in a transaction: begin one first")
        if connection.dialect.name != self.engine.dialect.name:
            found, ours = connection.dialect.name, self.engine.dialect.name
            raise ValueError(f"expected a connection to Nodewright's own {ours} database, got one to {found}")
        return Transaction(connection, self._clock)

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def normalise_url(url: str) -> URL:
    """Return ``url`` with the driver that this project uses.

    Raises:
        ValueError: the URL is neither SQLite's nor PostgreSQL's; the message holds no password.

    """
    try:
        parsed = make_url(url)
    except Exception as error:
        raise ValueError("the database URL cannot be read; expected sqlite:///… or postgresql://…") from error
    backend = parsed.drivername.partition("+")[0]
    if backend in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    raise ValueError(f"expected a sqlite or postgresql database, got {parsed.drivername!r}")


def _engine(url: URL, pool_size: int, monotonic: Callable[[], float]) -> Engine:
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url, pool_size=pool_size, max_overflow=0, pool_use_lifo=True, hide_parameters=True
        )
        event.listen(engine, "connect", _prepare_postgres)
        _IdleCheck(engine.dialect, monotonic).watch(engine)
        return engine
    arguments = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, connect_args=arguments, hide_parameters=True
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


class _IdleCheck:
    """Finds out that the server was restarted, without a question before each transaction (``pool_pre_ping``).

    A connection in steady use is not asked. Where it breaks, its one transaction fails, SQLAlchemy throws all the
    pool's connections away, and the caller's next try has a new one: the loop, the chores and the tasks try again.
    """

    def __init__(self, dialect: Dialect, monotonic: Callable[[], float]) -> None:
        self._dialect = dialect
        self._monotonic = monotonic

    def watch(self, engine: Engine) -> None:
        event.listen(engine, "checkin", self._given_back)
        event.listen(engine, "checkout", self._taken)

    def _given_back(self, connection: Any, record: Any) -> None:  # noqa: ANN401, ARG002 - SQLAlchemy's own signature
        record.info["idle_since"] = self._monotonic()

    def _taken(self, connection: Any, record: Any, proxy: Any) -> None:  # noqa: ANN401, ARG002 - the same
        since = record.info.get("idle_since")
        if since is None or self._monotonic() - since < _IDLE_SECONDS:
            return
        try:
            self._dialect.do_ping(connection)
        except self._dialect.loaded_dbapi.Error as error:
            raise DisconnectionError("the server went away") from error


def _prepare_postgres(connection: Any, record: Any) -> None:  # noqa: ANN401, ARG001 - SQLAlchemy's own signature
    # The driver prepares what it runs often, and a prepared statement may get a generic plan. That one cannot know that
    # `state = $1` is 'queued', and so cannot use the partial indexes that all hot statements live on. Planning with the
    # values costs nothing that could be measured (0.78 ms for four statements, either way); not preparing costs 15 %.
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION plan_cache_mode = force_custom_plan")
    connection.commit()


def _prepare_sqlite(connection: Any, record: Any) -> None:  # noqa: ANN401, ARG001 - SQLAlchemy's own signature
    # The driver would otherwise begin transactions of its own, deferred ones, which deadlock when they upgrade.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_SECONDS}000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

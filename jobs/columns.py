"""Column types that mean the same on SQLite and on PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, String, Uuid
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always aware and always UTC.

    PostgreSQL keeps ``timestamptz``. SQLite has no moments: it keeps text in UTC, which sorts by time.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's own signature
        """Choose the column type for ``dialect``."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sqlite.DATETIME())  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive moment; hand SQLite UTC without the zone it cannot keep."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an aware datetime, got the naive {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """Return an aware moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


JsonDocument = JSON().with_variant(postgresql.JSONB(), "postgresql")
"""JSON; on PostgreSQL in its binary form, which can be indexed."""

Identifier = Uuid(as_uuid=False)
"""A UUID as text in Python; native on PostgreSQL."""

RowNumber = BigInteger().with_variant(Integer(), "sqlite")
"""An automatic row number: SQLite counts only what it calls INTEGER PRIMARY KEY."""

LabelText = String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")
"""Text that sorts byte by byte, so that an index finds all that begins alike, whatever the database's own collation."""

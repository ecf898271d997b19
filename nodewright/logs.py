"""Log lines as JSON on standard error, one event each. Made and handed over, never configured for everybody."""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

__all__ = ["FilteringBoundLogger", "make_logger", "no_logger"]


def make_logger(level: str, *, file: TextIO | None = None, **bound: Any) -> FilteringBoundLogger:  # noqa: ANN401 - facts
    """Return a logger that writes events of ``level`` and above, each with the ``bound`` facts."""
    numbers = logging.getLevelNamesMapping()
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(file or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numbers[level.upper()]),
    ).bind(**bound)
    return logger


def no_logger() -> FilteringBoundLogger:
    """Return a logger for where nobody reads logs: only what is critical would come through."""
    return make_logger("critical")

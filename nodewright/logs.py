"""Log lines as JSON on standard error, one event each. Ours are made and handed over, not configured for everybody."""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

__all__ = ["FilteringBoundLogger", "make_logger", "no_logger", "quiet_libraries"]


def make_logger(level: str, *, file: TextIO | None = None, **bound: Any) -> FilteringBoundLogger:  # noqa: ANN401 - facts
    """Return a logger that writes events of ``level`` and above, each with the ``bound`` facts."""
    numbers = logging.getLevelNamesMapping()
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(file or sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numbers[level.upper()]),
    ).bind(**bound)
    return logger


def quiet_libraries(file: TextIO | None = None) -> None:
    """Let what libraries log by :mod:`logging` come as the same JSON lines, from warnings on, for the whole process.

    Below that, httpx tells of each call and Celery of each task; our own lines say it with the job's id.
    """
    handler = logging.StreamHandler(file or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def no_logger() -> FilteringBoundLogger:
    """Return a logger for where nobody reads logs: only what is critical would come through."""
    return make_logger("critical")

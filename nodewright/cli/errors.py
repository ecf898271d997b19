"""From an exception to sentences on standard error and an exit code: 2 bad input, 3 not reached, 1 the rest."""

import re
import sys
from collections.abc import Callable
from typing import Any, Final

from nodewright.client import (
    Answered,
    ClientError,
    Fault,
    Refused,
    ServiceNotReached,
    ServiceUnavailable,
    Throttled,
)
from nodewright.failures import Failure, NotReached

OK: Final = 0
OTHERWISE: Final = 1
BAD_INPUT: Final = 2
NOT_REACHED: Final = NotReached.exit_code
_FIRST_SERVER_ERROR: Final = 500

Name = Callable[[str], str]
EXPECTED: Final = (Failure, ClientError)


def report(error: Exception) -> int:
    """Print what ``error`` says to standard error; return the exit code."""
    for sentence in sentences(error):
        sys.stderr.write(f"error: {sentence}\n")
    return exit_code(error)


def exit_code(error: Exception) -> int:
    """Return the exit code that ``error`` ends a command with."""
    if isinstance(error, Failure):
        return error.exit_code
    if isinstance(error, ServiceNotReached | ServiceUnavailable | Throttled):
        return NOT_REACHED
    if isinstance(error, Answered) and error.problem.status >= _FIRST_SERVER_ERROR:
        return NOT_REACHED
    return BAD_INPUT


def sentences(error: Exception) -> tuple[str, ...]:
    """Return what to show, one fault each."""
    if isinstance(error, Failure):
        return error.sentences
    if isinstance(error, Refused) and error.problem.faults:
        return tuple(fault_sentence(fault) for fault in error.problem.faults)
    if isinstance(error, ServiceUnavailable):
        return (f"{error} ({error.problem.code or 'unavailable'})",)
    if isinstance(error, Answered) and error.problem.code:
        return (f"{error} ({error.problem.code})",)
    return (str(error),)


def fault_sentence(fault: Fault, *, place: str = "", name: Name = str) -> str:
    """Return one fault: where, what, the value as typed, what to do, and the nearest valid value."""
    where = name(fault.field or "document")
    got = f", got {fault.value!r}" if _unsaid(fault.value, fault.message) else ""
    remedy = f"; {fault.remedy}" if fault.remedy else ""
    said = f"{fault.message} {fault.remedy}"
    close = f" (nearest: {fault.nearest})" if _unsaid(fault.nearest, said) else ""
    code = f" [{fault.code}]" if fault.code and fault.code != "invalid_request" else ""
    return f"{place}{where}: {fault.message}{got}{remedy}{close}{code}"


def _unsaid(value: Any, said: str) -> bool:  # noqa: ANN401 - a value as typed
    if isinstance(value, str):
        return f"'{value}" not in said and f"`{value}" not in said
    return value is not None and re.search(rf"\b{re.escape(str(value))}\b", said, re.IGNORECASE) is None

"""Nodewright provisions fleets of Linodes, each instance exactly once.

For callers: ``from nodewright import Client`` (or ``AsyncClient``). Importing the package, or its client, imports none
of the other rooms (``jobs``, ``worker``, …): a caller may well have packages of these names.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodewright.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    """Load the client when it is first asked for, so that the command line stays quick."""
    if name in __all__:
        from nodewright import client  # noqa: PLC0415 - the point of this function

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

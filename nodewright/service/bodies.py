"""Reading a JSON body: bounded in size and time, strict, and refused with words that help."""

import asyncio
import json
from http import HTTPStatus
from typing import Annotated, Any, Final, NoReturn

from fastapi import Depends, Request

from nodewright.service.problems import Problem, malformed

MAX_BYTES: Final = 8 * 1024 * 1024
MOST_DISCARDED: Final = 64 * 1024 * 1024
"""So much of a body that is too large is read and thrown away: who is cut off in the middle may never see why."""
BODY_SECONDS: Final = 60.0


async def read_json(request: Request) -> Any:  # noqa: ANN401 - JSON is any of its types
    """Return the decoded body of ``request``."""
    check_type(request, "application/json")
    return parse_json(await read_bytes(request))


async def read_bytes(request: Request, most: int = MAX_BYTES) -> bytes:
    """Return the body of ``request``, of ``most`` bytes at most."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request, most)
    except TimeoutError:
        detail = f"the body did not come within {BODY_SECONDS:g} s"
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "body_too_slow", detail) from None


async def read_optional_json(request: Request) -> Any:  # noqa: ANN401 - JSON is any of its types
    """Return the decoded body of ``request``; an empty object where there is none."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    return await read_json(request)


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is any of its types
    """Decode strict JSON: UTF-8, no NaN, no key twice.

    Raises:
        Problem: it is not that.

    """
    try:
        return json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise malformed(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise malformed("the body nests too deeply") from None
    except ValueError as error:
        raise malformed(f"the body is not JSON: {error}") from None


async def _read(request: Request, most: int) -> bytes:
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            body += chunk
        if size > MOST_DISCARDED:
            break
    if size > most:
        detail = f"the body is larger than {most // 1024**2} MiB"
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail)
    return bytes(body)


def check_type(request: Request, wanted: str) -> None:
    """Refuse a body of another media type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != wanted:
        detail = f"expected the media type {wanted}, got {media_type or 'none'!r}"
        raise malformed(detail, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} stands twice")
    return found


JsonBody = Annotated[Any, Depends(read_json)]
OptionalJson = Annotated[Any, Depends(read_optional_json)]

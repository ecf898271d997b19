"""The style sheet and the script: read once, named by their content, so that browsers may keep them for ever."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import Final

from fastapi import Request
from starlette.responses import Response

from nodewright.service.problems import Problem

_TYPES: Final = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_EACH_TIME: Final = "no-cache"


@dataclass(frozen=True)
class Asset:
    """One file: its content, plain and compressed, and the hash that stands for it."""

    name: str
    content: bytes
    compressed: bytes
    version: str

    @property
    def url(self) -> str:
        """Where a page finds it; another content has another URL."""
        return f"/static/{self.name}?v={self.version}"


@cache
def assets() -> Mapping[str, Asset]:
    """Return all there are, by their names."""
    folder = resources.files("nodewright.page") / "static"
    return {name: _read(name, (folder / name).read_bytes()) for name in _TYPES}


def _read(name: str, content: bytes) -> Asset:
    return Asset(name, content, gzip.compress(content, mtime=0), hashlib.sha256(content).hexdigest()[:16])


def send_asset(request: Request, name: str) -> Response:
    """Send one of the files."""
    asset = assets().get(name)
    if asset is None:
        raise Problem(HTTPStatus.NOT_FOUND, "not_found", "there is no such file")
    current = request.query_params.get("v") == asset.version
    headers = {
        "Cache-Control": _FOR_EVER if current else _EACH_TIME,
        "ETag": f'"{asset.version}"',
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content = asset.content
    if takes_gzip(request):
        content, headers["Content-Encoding"] = asset.compressed, "gzip"
    return Response(content, headers=headers, media_type=_TYPES[name])


def takes_gzip(request: Request) -> bool:
    """Whether the browser reads what is compressed."""
    return "gzip" in request.headers.get("accept-encoding", "")

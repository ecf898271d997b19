"""``python -m simulator.measure URL``: how many creates per second a simulator answers, without limit and latency."""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from simulator.accounts import DEFAULT_TOKEN

_BODY = {
    "type": "g6-nanode-1",
    "region": "us-east",
    "image": "linode/debian12",
    "root_pass": "aComplexP@ssw0rd",
}


def creates_per_second(url: str, *, token: str, requests: int, connections: int, prefix: str) -> float:
    """Send creates of labels ``prefix-N`` over so many kept connections; any answer but 200 is an error."""
    begin = time.perf_counter()
    asyncio.run(_all(url, token, iter(range(requests)), connections, prefix))
    return requests / (time.perf_counter() - begin)


async def _all(url: str, token: str, numbers: Iterator[int], connections: int, prefix: str) -> None:
    lanes = [asyncio.create_task(_lane(url, token, numbers, prefix)) for _ in range(connections)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


async def _lane(url: str, token: str, numbers: Iterator[int], prefix: str) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for number in numbers:
            writer.write(_request(parts.path, token, f"{prefix}-{number}"))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"expected 200, got {head[:40]!r}")
            await reader.readexactly(_length(head))
    finally:
        writer.close()


def _request(path: str, token: str, label: str) -> bytes:
    body = json.dumps({**_BODY, "label": label, "tags": ["measured", f"nw:{label}"]}).encode()
    head = (
        f"POST {path}/linode/instances HTTP/1.1\r\nHost: simulator\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def main() -> None:
    """Measure once and print the rate."""
    parser = argparse.ArgumentParser("simulator.measure", description=__doc__)
    parser.add_argument("url", help="such as http://127.0.0.1:4100/v4")
    parser.add_argument("--token", default=DEFAULT_TOKEN)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--prefix", default="measured", help="labels begin so; another one for another run")
    values = vars(parser.parse_args())
    print(f"{creates_per_second(**values):.0f} creates per second")  # noqa: T201  # its purpose


if __name__ == "__main__":
    main()

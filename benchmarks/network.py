"""A network between a client and the simulator: it delays what is sent, each way, by so many milliseconds.

The simulator's own jitter delays replies only. What makes a window's opening hard is that *requests* arrive late by
different times, so this one delays both.

    python -m benchmarks.network LISTEN_PORT TARGET_PORT MEAN±SPREAD
"""

import asyncio
import random
import sys
from collections.abc import Callable

from simulator.options import parse_jitter

_CHUNK = 65536


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Callable[[], float]
) -> None:
    try:
        while data := await reader.read(_CHUNK):
            await asyncio.sleep(delay())
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(listen: int, target: int, delay: Callable[[], float]) -> None:
    """Carry connections until the process ends."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_pump(reader, far_writer, delay), _pump(far_reader, writer, delay))

    server = await asyncio.start_server(carry, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


def main() -> None:
    listen, target, jitter = sys.argv[1:]
    mean, spread = parse_jitter(jitter)
    dice = random.Random(0)
    asyncio.run(
        serve(int(listen), int(target), lambda: max(0.0, dice.uniform(mean - spread, mean + spread)) / 1000)
    )


if __name__ == "__main__":
    main()

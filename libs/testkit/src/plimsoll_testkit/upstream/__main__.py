"""The scripted upstream as a process, for benchmarks: prints its address, and serves until it is told to stop.

python -m plimsoll_testkit.upstream [PORT [HOST]]
"""

import asyncio
import signal
import sys

import uvloop

from plimsoll_testkit.upstream.server import serving


async def _serve(port: int, host: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(port=port, keeps=False, host=host) as upstream:
        sys.stdout.write(f"{upstream.url}\n")
        sys.stdout.flush()
        await stopping.wait()


def main() -> None:
    """Serve on the port that is named, or on a free one; on this machine alone, or on the host that is named."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    uvloop.run(_serve(port, sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"))


if __name__ == "__main__":
    main()

"""The process that owns the test servers of one pytest run and ends with it, however it ends.

python -m plimsoll_testkit.host DIRECTORY CONTROLLER_PID CONTROLLER_STARTED_AT
"""

import asyncio
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import asyncpg
import orjson
from plimsoll_devstack.files import write_private
from plimsoll_devstack.processes import ProcessId, find
from plimsoll_devstack.servers import Servers, configure, running
from plimsoll_devstack.servers.postgres import SUPERUSER
from plimsoll_devstack.servers.provision import equip

from plimsoll_testkit.ready import GUESTS, READY, TEMPLATE, Ready

_POLL_S = 0.2


async def _template(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.postgres.dsn(SUPERUSER, database="postgres"), timeout=10)
    await connection.execute(f"create database {TEMPLATE}")
    await connection.close()
    connection = await asyncpg.connect(servers.postgres.dsn(SUPERUSER, database=TEMPLATE), timeout=10)
    await equip(connection)
    await connection.execute(f"alter database {TEMPLATE} with is_template true")
    await connection.close()


def _describe(servers: Servers) -> Ready:
    return Ready(
        postgres=servers.postgres.dsn(SUPERUSER, database="postgres"),
        guests_postgres=tuple(servers.postgres.dsn(guest, database="postgres") for guest in GUESTS),
        guests_nats=tuple(servers.nats.url(guest) for guest in GUESTS),
        guests_redis=tuple(servers.redis.url(guest, database=number) for number, guest in enumerate(GUESTS)),
    )


async def _serve(directory: Path, controller: ProcessId) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    servers = configure(directory / "servers", durable=False, guests=GUESTS)
    async with running(servers):
        await _template(servers)
        write_private(directory / READY, orjson.dumps(asdict(_describe(servers))).decode())
        while not stopping.is_set() and find(controller) is not None:
            try:
                async with asyncio.timeout(_POLL_S):
                    await stopping.wait()
            except TimeoutError:
                continue


def main() -> None:
    """Serve until told to stop or until the pytest controller is gone; then leave nothing."""
    directory, controller = Path(sys.argv[1]), ProcessId(pid=int(sys.argv[2]), started_at=float(sys.argv[3]))
    try:
        asyncio.run(_serve(directory, controller))
    finally:
        (directory / READY).unlink(missing_ok=True)
        shutil.rmtree(directory / "servers" if find(controller) else directory, ignore_errors=True)  # a killed controller cannot


if __name__ == "__main__":
    main()

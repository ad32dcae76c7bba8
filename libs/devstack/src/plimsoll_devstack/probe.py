"""Asks a service over HTTP whether it is ready, without a client library: the supervisor stays small."""

import asyncio

from plimsoll_devstack.names import LOOPBACK

_ANSWER_WITHIN_S = 5.0


async def probe_ready(admin_port: int) -> None:
    """Raise OSError unless the service on `admin_port` says that it is ready."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, admin_port)
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise ConnectionError(f"no answer from /readyz within {_ANSWER_WITHIN_S:g} s") from error
    if b" 200 " not in status:
        raise ConnectionError(f"/readyz answered {status.decode(errors='replace').strip()!r}")

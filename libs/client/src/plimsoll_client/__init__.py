"""The Python client for Plimsoll: `async with connect() as mesh: run = await mesh.runs.submit(…)`."""

from plimsoll_client.connecting import connect

__all__ = ["connect"]

"""The one function that programs begin with; grpc is loaded when it is called, not when it is imported."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from plimsoll_client.location import KEY_VARIABLE, Endpoint, endpoint, find_endpoint

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh


@asynccontextmanager
async def connect(*, address: str = "", api_key: str = "", ca: Path | None = None, data: Path | None = None) -> "AsyncIterator[Mesh]":
    """A mesh by its `address`, or by the `data` directory of `plimsoll up`, or wherever the environment says.

    Raises NoMesh when there is none to be found and Unreachable at the first call when nothing answers.
    """
    if address:
        found = endpoint(address, api_key or os.environ.get(KEY_VARIABLE, ""), ca=ca)
    else:
        found = find_endpoint(data, os.environ, cwd=Path.cwd(), home=Path.home())
    async with connected(found) as mesh:
        yield mesh


@asynccontextmanager
async def connected(found: Endpoint) -> "AsyncIterator[Mesh]":
    """The mesh at a known endpoint."""
    from plimsoll_client.mesh import open_mesh  # noqa: PLC0415 - grpc and the contracts take 0.15 s, which no --help should wait for

    async with open_mesh(found) as mesh:
        yield mesh

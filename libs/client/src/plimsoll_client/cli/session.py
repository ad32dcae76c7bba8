"""One command's visit to a mesh."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from plimsoll_client.connecting import connect

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

Result = TypeVar("Result")


def on_mesh(data: Path | None, verb: "Callable[[Mesh], Awaitable[Result]]") -> Result:
    """Connect to the mesh of `data`, or wherever it is, and do one thing there."""

    async def visit() -> Result:
        async with connect(data=data) as mesh:
            return await verb(mesh)

    return asyncio.run(visit())

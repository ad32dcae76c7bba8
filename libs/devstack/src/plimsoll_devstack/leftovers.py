"""Ending what a killed supervisor left running: by recorded id and start time, never by name."""

import asyncio
import signal

from plimsoll_devstack.processes import ProcessId, end_leftover
from plimsoll_devstack.state import MeshState, PartState

_SERVICE_WITHIN_S = 3.0
_SERVER_WITHIN_S = 30.0


async def end_leftovers(state: MeshState) -> tuple[str, ...]:
    """End every process of `state` that still runs, services before servers; returns their names."""
    ended: list[str] = []
    for wave in ([part for part in state.parts if part.rank > 0], [part for part in state.parts if part.rank == 0]):
        async with asyncio.TaskGroup() as group:
            for part in wave:
                if part.process is not None:
                    group.create_task(_end(part, part.process, ended))
    return tuple(sorted(ended))


async def _end(part: PartState, process: ProcessId, ended: list[str]) -> None:
    patience = _SERVICE_WITHIN_S if part.rank > 0 else _SERVER_WITHIN_S  # a service survives a kill; a server ends more safely by itself
    if await end_leftover(process, signal.Signals(part.stop_signal), within_s=patience):
        ended.append(part.name)

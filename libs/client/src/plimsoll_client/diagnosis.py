"""Diagnosis: what is wrong with a mesh, as far as a client can see, and what to do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from plimsoll_runtime.errors import ErrorKind, PlimsollError

from plimsoll_client.models import RunStatus
from plimsoll_client.monitors import AlertStatus
from plimsoll_client.webhooks import DeliveryStatus

if TYPE_CHECKING:
    from plimsoll_client.mesh import Mesh

_EXPIRES_SOON: Final = timedelta(days=7)
_SLOW_S: Final = 1.0
_MOST: Final = 100  # counted of what lies about; beyond it the number does not matter


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "good"
    WORTH_A_LOOK = "worth a look"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found; `remedy` says what to do, unless it is good."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""
    reason: str = ""


_Check: TypeAlias = "Callable[[Mesh], Awaitable[Finding]]"


async def diagnose(mesh: Mesh) -> list[Finding]:
    """The gateway first; when it does not answer, nothing else can be asked. Never raises for what is wrong with the mesh."""
    gateway = await _checked("gateway", _gateway, mesh)
    if gateway.verdict is Verdict.BROKEN:
        return [gateway]
    async with asyncio.TaskGroup() as group:
        rest = [group.create_task(_checked(subject, check, mesh)) for subject, check in _CHECKS.items()]
    return [gateway, *(task.result() for task in rest)]


async def _checked(subject: str, check: _Check, mesh: Mesh) -> Finding:
    try:
        return await check(mesh)
    except PlimsollError as error:
        if error.kind is ErrorKind.DENIED:
            return Finding(
                subject=subject,
                verdict=Verdict.WORTH_A_LOOK,
                found="not looked at: your key may not",
                remedy=error.remedy,
                reason=error.reason,
            )
        remedy = error.remedy or "look at its log, and at what it depends on"
        return Finding(subject=subject, verdict=Verdict.BROKEN, found=error.message, remedy=remedy, reason=error.reason)


async def _gateway(mesh: Mesh) -> Finding:
    began = time.monotonic()
    caller = await mesh.keys.caller()
    took = time.monotonic() - began
    found = f"answers in {took * 1e3:.0f} ms; you are {caller.name} of {caller.tenant}"
    if took > _SLOW_S:
        return _doubtful("gateway", found, "see whether its machine is busy, or the way to it is long")
    return _good("gateway", found)


async def _key(mesh: Mesh) -> Finding:
    caller = await mesh.keys.caller()
    expires_at = next((key.expires_at for key in await mesh.keys.list() if key.key_id == caller.key_id), None)
    if expires_at is None:
        return _good("key", "does not expire")
    found = f"expires {expires_at:%Y-%m-%d %H:%M} UTC"
    if expires_at - datetime.now(UTC) < _EXPIRES_SOON:
        return _doubtful("key", found, f"make its successor: `plimsoll keys rotate {caller.key_id}`")
    return _good("key", found)


async def _orchestrator(mesh: Mesh) -> Finding:
    agents, aside = await mesh.agents.list(), await mesh.runs.list(status=RunStatus.QUARANTINED, limit=_MOST)
    if aside:
        remedy = f"see why: `plimsoll runs explain {aside[0].id}`, then `plimsoll runs resume` or `cancel`"
        return _doubtful("orchestrator", f"{_counted(aside)} set aside because workers died of them, or they cannot be read", remedy)
    return _good("orchestrator", f"{len(agents)} agents; no run is set aside")


async def _tools(mesh: Mesh) -> Finding:
    return _good("tool-dispatcher", f"{len(await mesh.tools.list())} tools")


async def _models(mesh: Mesh) -> Finding:
    models = await mesh.models.list()
    real = [model for model in models if not model.rehearsal]
    if not real:
        remedy = "configure one, for example by ANTHROPIC_API_KEY or OPENAI_API_KEY where the mesh starts"
        return _doubtful("model-router", "no provider: all answers come from the rehearsal model", remedy)
    unpriced = [f"{model.provider}/{model.name}" for model in real if not model.priced]
    if unpriced:
        return _doubtful(
            "model-router", f"without a price, so that no budget in money counts them: {', '.join(unpriced)}", "register their prices"
        )
    return _good("model-router", f"{len(real)} models of providers")


async def _memory(mesh: Mesh) -> Finding:
    return _good("memory", f"{len(await mesh.memory.collections())} collections")


async def _feedback(mesh: Mesh) -> Finding:
    await mesh.traces.list(limit=1)
    alerts = await mesh.alerts.list(status=AlertStatus.OPEN, limit=_MOST)
    if alerts:
        return _doubtful("feedback", f"{_counted(alerts)} open alerts, the newest: {alerts[0].summary}", "see `plimsoll alerts list`")
    return _good("feedback", "no open alert")


async def _webhooks(mesh: Mesh) -> Finding:
    dead = await mesh.webhooks.deliveries(status=DeliveryStatus.DEAD, limit=_MOST)
    if dead:
        return _doubtful(
            "webhooks", f"{_counted(dead)} messages that nobody took", "see `plimsoll webhooks deliveries --status dead`, mend, replay"
        )
    return _good("webhooks", "no dead letter")


_CHECKS: Final[dict[str, _Check]] = {
    "key": _key,
    "orchestrator": _orchestrator,
    "tool-dispatcher": _tools,
    "model-router": _models,
    "memory": _memory,
    "feedback": _feedback,
    "webhooks": _webhooks,
}


def _good(subject: str, found: str) -> Finding:
    return Finding(subject=subject, verdict=Verdict.GOOD, found=found)


def _doubtful(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject=subject, verdict=Verdict.WORTH_A_LOOK, found=found, remedy=remedy)


def _counted(found: Sequence[object]) -> str:
    return f"{len(found)}{' or more' if len(found) >= _MOST else ''}"

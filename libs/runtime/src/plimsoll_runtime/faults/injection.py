"""Where faults are done: the plan in force, and the passage through an edge."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from prometheus_client import Counter

from plimsoll_runtime import logs, names
from plimsoll_runtime.context import present_tenant
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.errors import DeadlineExpired, Internal, PlimsollError
from plimsoll_runtime.faults.plan import Dice, Edge, Fault, FaultKind, InvalidPlan, parse_plan
from plimsoll_runtime.metrics import Metrics

T = TypeVar("T")
_LOOK_S = 0.2
_PLAN_BYTES = 256 * 1024


class Faults:
    """Follows the plan in a file: it holds from the moment the file is there until it is gone or says something else."""

    def __init__(self, service: str, path: Path, log: logs.Log) -> None:
        self._service = service
        self._path = path
        self._log = log
        self._injected = Counter(names.FAULTS_TOTAL, "Faults done on demand", ("edge", "kind"), registry=None)
        self._text = b""
        self._dice: Dice | None = None
        self._since = 0.0

    def count_in(self, metrics: Metrics) -> None:
        """Show the number of faults among a service's metrics."""
        metrics.registry.register(self._injected)

    def look(self) -> None:
        """Take over what the file says now."""
        text = b""
        with suppress(OSError):
            text = self._path.read_bytes()[:_PLAN_BYTES]
        if text == self._text:
            return
        self._text, self._dice = text, None
        if not text.strip():
            self._log.warning("faults.ended")
            return
        try:
            plan = parse_plan(text)
        except InvalidPlan as error:
            self._log.error("faults.refused", {"reason": error.reason, "message": error.message})
            return
        self._dice, self._since = Dice(plan, self._service), time.monotonic()
        self._log.warning("faults.began", {"plan": plan.name, "seed": plan.seed, "rules": len(plan.rules)})

    async def run(self) -> None:
        """Look at the file for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def meet(self, edge: Edge, operation: str) -> Fault | None:
        if self._dice is None:
            return None
        fault = self._dice.throw(edge, operation, present_tenant(), time.monotonic() - self._since)
        if fault is not None:
            self._injected.labels(edge.value, fault.kind.value).inc()
            fields: dict[str, logs.Field] = {"edge": edge.value, "kind": fault.kind.value, "operation": operation, "rule": fault.rule}
            self._log.warning("fault.injected", fields)
        return fault


_faults: ContextVar[Faults | None] = ContextVar("plimsoll_faults", default=None)


@contextmanager
def injecting(faults: Faults | None) -> Iterator[None]:
    """Let what is started inside the block meet the faults of the plan."""
    token = _faults.set(faults)
    try:
        yield
    finally:
        _faults.reset(token)


@asynccontextmanager
async def open_faults(service: str, path: str, log: logs.Log) -> AsyncIterator[Faults | None]:
    """Follow the plan in the file inside the block; without a path there are no faults, and no cost."""
    if not path:
        yield None
        return
    faults = Faults(service, Path(path), log)
    log.warning("faults.enabled", {"file": path})
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(faults.run())
        try:
            with injecting(faults):
                yield faults
        finally:
            looking.cancel()


def fault_at(edge: Edge, operation: str) -> Fault | None:
    """The fault that this passage meets, for edges that do it themselves; None when there is none, and whenever faults are off."""
    faults = _faults.get()
    return None if faults is None else faults.meet(edge, operation)


def are_possible() -> bool:
    """Whether faults are enabled in this process."""
    return _faults.get() is not None


async def through(
    edge: Edge,
    operation: str,
    act: Callable[[], Awaitable[T]],
    *,
    away: Callable[[], Exception],
    lost: Callable[[], Exception] | None = None,
) -> T:
    """Do `act` through an edge, with the fault that it meets there.

    `away` makes the error of an edge that cannot be reached, `lost` that of an answer that never came; by default the same.
    """
    faults = _faults.get()
    fault = None if faults is None else faults.meet(edge, operation)
    if fault is None:
        return await act()
    match fault.kind:
        case FaultKind.LATENCY:
            await asyncio.sleep(fault.seconds)
            return await act()
        case FaultKind.SLOW:
            answer = await act()
            await asyncio.sleep(fault.seconds)
            return answer
        case FaultKind.DUPLICATE:
            await act()
            return await act()
        case FaultKind.TIMEOUT:
            left = remaining_s()
            await asyncio.sleep(fault.seconds if left is None else max(0.0, min(fault.seconds, left)))
            raise DeadlineExpired("no answer came (a fault on demand)")
        case FaultKind.CUT:
            await act()
            error = lost() if lost is not None else away()
            raise error
        case FaultKind.MALFORMED:
            await act()
            raise garbled()
        case FaultKind.ERROR | FaultKind.DROP:
            raise away()


def garbled() -> PlimsollError:
    return Internal("the answer cannot be read (a fault on demand)", reason="GARBLED_ANSWER")

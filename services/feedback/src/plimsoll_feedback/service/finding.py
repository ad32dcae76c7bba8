"""Looks for mistakes in every step that has ended and in what people demonstrate, and labels the calls at fault."""

from collections.abc import Sequence
from typing import Final

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.logs import Log

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.mistakes import Asked, Call, in_signal, in_step
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.ports.bodies import Bodies
from plimsoll_feedback.ports.feed import OperationFeed, SignalFeed
from plimsoll_feedback.ports.labels import LabelStore

SETTLE_S: Final = 3.0
"""A step's calls come by other consumers than the step: they get this long."""

_BATCH: Final = 200
_OPERATIONS, _SIGNALS = "mistakes", "mistakes of signals"


class FindingMistakes:
    """Follows operations and signals. Bodies that are kept nowhere only leave the rules that need them without a say."""

    def __init__(
        self, store: LabelStore, operations: OperationFeed, signals: SignalFeed, bodies: Bodies, clock: Clock, ids: Ids, log: Log
    ) -> None:
        self._store = store
        self._operations = operations
        self._signals = signals
        self._bodies = bodies
        self._clock = clock
        self._log = log
        self._holder = ids.new("fnd")

    async def follow_operations(self, settle_s: float = SETTLE_S) -> bool:
        """Look at the next steps that ended; False when there were none."""
        batch = await self._operations.claim(_OPERATIONS, self._holder, _BATCH, settle_s)
        if batch is None:
            return False
        steps = [one for one in batch.rows if one.kind is OperationKind.TRANSITION]
        calls = await self._store.calls(steps) if steps else {}
        findings: list[Finding] = []
        for step in steps:
            findings += await self._in_step(calls[step.tenant, step.id])
        await self._store.add(findings, batch.turn)
        return True

    async def follow_signals(self) -> bool:
        """Look at the next signals; False when there were none."""
        batch = await self._signals.claim(_SIGNALS, self._holder, _BATCH)
        if batch is None:
            return False
        judged = await self._store.judged([one.signal for one in batch.rows])
        findings = []
        for signal, operation in judged.values():
            needed = operation.kind is OperationKind.TOOL_CALL
            body = await self._body(operation) if needed else Body(owner="")
            if (found := in_signal(signal, operation, body.input, self._clock.now())) is not None:
                findings.append(found)
        await self._store.add(findings, batch.turn)
        return True

    async def _in_step(self, operations: Sequence[Operation]) -> Sequence[Finding]:
        """A step that made no call of a tool needs no look; its bodies are asked for one after the other, never all at once."""
        tools = [one for one in operations if one.kind is OperationKind.TOOL_CALL]
        if not tools:
            return ()
        models = [one for one in operations if one.kind is OperationKind.MODEL_CALL]
        calls = [Call(operation=one, arguments=(await self._body(one)).input) for one in tools]
        asked = [Asked(operation=one, body=await self._body(one)) for one in models]
        return in_step(calls, asked, self._clock.now())

    async def _body(self, operation: Operation) -> Body:
        try:
            return await self._bodies.of(operation.tenant, operation)
        except PlimsollError as error:
            self._log.debug("feedback.body_missing", {"operation": operation.id, "reason": error.reason})
            return Body(owner="", missing=error.reason)

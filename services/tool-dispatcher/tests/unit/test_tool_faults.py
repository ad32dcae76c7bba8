"""Faults on demand at the tool: what is told of the call is what became of it."""

import json
from pathlib import Path

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.faults import FaultKind, Faults, injecting
from plimsoll_tool_dispatcher.adapters.by_source import ExecutorsBySource
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.tool import Tool
from tool_dispatcher_samples import tool


class Counting:
    """An executor that acts, and counts."""

    def __init__(self) -> None:
        self.acted = 0

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        self.acted += 1
        return Answered(result={"ok": True})


@pytest.mark.parametrize(
    ("kind", "acted", "told"),
    [
        (FaultKind.ERROR, 0, Mishap.NOT_ACTED),
        (FaultKind.TIMEOUT, 0, Mishap.LOST),
        (FaultKind.CUT, 1, Mishap.LOST),
        (FaultKind.MALFORMED, 1, "garbled"),
        (FaultKind.LATENCY, 1, {"ok": True}),
        (FaultKind.SLOW, 1, {"ok": True}),
    ],
)
async def test_a_call_that_may_have_acted_is_never_told_as_one_that_did_not(tmp_path: Path, kind: FaultKind, acted: int, told: object):
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"name": "test", "rules": [{"edge": "tool", "kind": kind, "count": 1, "seconds": 0}]}))
    faults = Faults("tool-dispatcher", path, logs.get("test"))
    faults.look()
    looking, executor = tool(), Counting()
    executors = ExecutorsBySource({type(looking.source): executor})
    with injecting(faults):
        attempt = await executors.execute(looking, Invocation(tenant="t", call_key="k", arguments={}, timeout_s=1.0))
    assert executor.acted == acted
    assert (attempt.mishap if isinstance(attempt, Stopped) else attempt.result) == told

"""Who may call what inside the mesh: every service may call the methods that it does call, and no others."""

import re
from collections.abc import Mapping
from pathlib import Path

import plimsoll_memory.main
import plimsoll_model_router.main
import plimsoll_orchestrator.main
import plimsoll_tool_dispatcher.main
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from plimsoll.memory.v1 import memory_service_pb2
from plimsoll.model_router.v1 import model_router_service_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2
from plimsoll_runtime.rpc_server import EVERY_METHOD, Callers

ROOT = Path(__file__).resolve().parents[2]
CALLERS: Mapping[str, Callers] = {
    "memory": plimsoll_memory.main.CALLERS,
    "model-router": plimsoll_model_router.main.CALLERS,
    "orchestrator": plimsoll_orchestrator.main.CALLERS,
    "tool-dispatcher": plimsoll_tool_dispatcher.main.CALLERS,
}
SERVED: Mapping[str, ServiceDescriptor] = {
    "memory": memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"],
    "model-router": model_router_service_pb2.DESCRIPTOR.services_by_name["ModelRouterService"],
    "orchestrator": orchestrator_service_pb2.DESCRIPTOR.services_by_name["OrchestratorService"],
    "tool-dispatcher": tool_dispatcher_service_pb2.DESCRIPTOR.services_by_name["ToolDispatcherService"],
}

DECIDING = frozenset({"DecideApproval", "SetToolStanding", "RegisterTools", "UnregisterTool", "ResolveCall", "ResumeRun", "SignalRun"})
"""What people and operators do: allow a call, let a tool run, say what became of one, let a run go on."""


def called(caller: str, service: ServiceDescriptor) -> set[str]:
    """The methods of a service that the code of a caller calls."""
    texts = [path.read_text() for path in (ROOT / "services" / caller / "src").rglob("*.py")]
    words = {word for text in texts if f"{service.name}Stub" in text for word in re.findall(r"\.([A-Z]\w+)", text)}
    return words & {method.name for method in service.methods}


@pytest.mark.parametrize("served", list(CALLERS))
def test_every_service_but_the_gateway_may_call_exactly_what_it_calls(served: str) -> None:
    callers = CALLERS[served]
    assert callers["gateway"] is EVERY_METHOD
    for caller in sorted({"feedback", *CALLERS, *callers} - {"gateway", served}):
        wanted = called(caller, SERVED[served])
        assert callers.get(caller, frozenset()) == wanted, f"{caller} calls {sorted(wanted)} of {served}"


@pytest.mark.parametrize("served", list(CALLERS))
def test_a10_nothing_that_a_model_moves_can_decide_or_change_a_rule(served: str) -> None:
    """Tools, models, memory and feedback are moved by what models say. Rules have no method at all: they are files of the operator."""
    offered = {method.name for method in SERVED[served].methods}
    assert not [name for name in offered if re.search("Polic|Rule", name)]
    for caller in CALLERS[served].keys() - {"gateway"}:
        assert not CALLERS[served][caller] & DECIDING, f"{caller} decides at {served}"


def test_a10_every_decision_has_its_method() -> None:
    assert {method.name for service in SERVED.values() for method in service.methods} >= DECIDING

"""What the orchestrator can do, its clients can do: the gateway offers all of it, and the client speaks all of the gateway."""

import dataclasses
import re
from enum import StrEnum
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, MethodDescriptor
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2, run_events_pb2, run_pb2
from plimsoll_client import events
from plimsoll_client.models import RunStatus
from plimsoll_client.options import Budget, RunOptions, ThreadPolicy

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
ORCHESTRATOR = orchestrator_service_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
RENAMED = {"StartRun": "SubmitRun"}
FOR_THE_GATEWAY_ITSELF = {"GetLoad"}  # how much waits: it shows as refusals with a retry time
ACTORS = {"cancelled_by", "paused_by", "resumed_by", "sent_by", "decided_by"}  # the gateway knows who asks, by the key


@pytest.mark.parametrize(
    "method", [method for method in ORCHESTRATOR.methods if method.name not in FOR_THE_GATEWAY_ITSELF], ids=lambda method: method.name
)
def test_every_verb_of_the_orchestrator_is_offered_at_the_gateway_with_all_that_can_be_said(method: MethodDescriptor) -> None:
    offered = GATEWAY.methods_by_name[RENAMED.get(method.name, method.name)]
    assert set(method.input_type.fields_by_name) - ACTORS <= set(offered.input_type.fields_by_name)
    assert set(method.output_type.fields_by_name) <= set(offered.output_type.fields_by_name)
    assert not ACTORS & set(offered.input_type.fields_by_name)
    assert method.GetOptions().idempotency_level == offered.GetOptions().idempotency_level
    assert method.server_streaming == offered.server_streaming


def test_the_client_speaks_every_method_of_the_gateway() -> None:
    resources = (ROOT / "libs" / "client" / "src" / "plimsoll_client" / "resources").glob("*.py")
    spoken = set(re.findall(r"self\._stub\.(\w+)", "".join(path.read_text() for path in resources)))
    assert spoken == {method.name for method in GATEWAY.methods}


@pytest.mark.parametrize(
    ("message", "values", "renamed"),
    [
        (run_pb2.RunOptions.DESCRIPTOR, RunOptions, {"start_time": "start_at"}),
        (run_pb2.Budget.DESCRIPTOR, Budget, {"time": "seconds"}),
    ],
    ids=["options", "budget"],
)
def test_the_client_can_say_all_of_how_a_run_is_started(message: Descriptor, values: type, renamed: dict[str, str]) -> None:
    assert {renamed.get(field.name, field.name) for field in message.fields} == {field.name for field in dataclasses.fields(values)}


@pytest.mark.parametrize(
    ("enum", "words"),
    [(run_pb2.RunStatus.DESCRIPTOR, RunStatus), (run_pb2.ThreadPolicy.DESCRIPTOR, ThreadPolicy)],
    ids=["status", "policy"],
)
def test_the_client_knows_every_word(enum: EnumDescriptor, words: type[StrEnum]) -> None:
    prefix = {"RunStatus": "RUN_STATUS_", "ThreadPolicy": "THREAD_POLICY_"}[enum.name]
    assert {value.name.removeprefix(prefix) for value in enum.values if value.number} | {"UNKNOWN"} == set(words.__members__)


@pytest.mark.parametrize("kind", [field.name for field in run_events_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields])
def test_the_client_has_a_class_for_every_kind_of_entry_with_all_its_fields(kind: str) -> None:
    told = "".join(word.title() for word in kind.split("_"))
    message = run_events_pb2.RunEvent.DESCRIPTOR.fields_by_name[kind].message_type
    renamed = {"until_time": "until", "duration": "duration_s"}
    known = {field.name for field in dataclasses.fields(getattr(events, told))}
    assert {renamed.get(field.name, field.name) for field in message.fields} <= known

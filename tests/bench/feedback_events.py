"""Made-up runs as the events that the services publish: what feedback is loaded with."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import Message
from plimsoll.common.v1 import failure_pb2, json_pb2, work_pb2
from plimsoll.memory.v1 import document_pb2, memory_events_pb2
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_events_pb2
from plimsoll_runtime.bus import Outgoing
from plimsoll_runtime.wire import duration_to_proto, timestamp_to_proto

_STEPS = 4


@dataclass(frozen=True, slots=True)
class Made:
    """The events of one run, each with the service that publishes it, and how many operations they make."""

    events: list[tuple[str, Outgoing]]
    operations: int


def made_runs(tenant: str, at: datetime, runs: int, *, first: int = 0) -> Iterator[Made]:
    """Runs of four steps, each of which asks a model and calls a tool; every twentieth call fails, every run searches once."""
    for number in range(first, first + runs):
        yield _run(tenant, f"run_bench_{number}", at)


def _run(tenant: str, run_id: str, at: datetime) -> Made:
    journal = [run_events_pb2.RunEvent(run_started=run_events_pb2.RunStarted(input=json_pb2.JsonValue(text='{"text":"hello"}')))]
    events: list[tuple[str, Outgoing]] = []
    for step in range(_STEPS):
        node, started = f"node_{step}", len(journal) + 1
        work = work_pb2.WorkContext(run_id=run_id, step=started, node=node, agent="bench", agent_version="d1", epoch=1)
        journal += [
            run_events_pb2.RunEvent(step_started=run_events_pb2.StepStarted(node=node, kind="agent", attempt=1)),
            run_events_pb2.RunEvent(step_finished=run_events_pb2.StepFinished(node=node, kind="agent", next="end")),
        ]
        events.append(
            ("model_router", _out(_model(tenant, run_id, step, work, at), f"{run_id}.m{step}", "model_router.call.completed", tenant))
        )
        events.append(
            ("tool_dispatcher", _out(_tool(tenant, run_id, step, work, at), f"{run_id}.t{step}", "tool_dispatcher.call.completed", tenant))
        )
    events.append(("memory", _out(_search(tenant, run_id, at), f"{run_id}.s", "memory.search.completed", tenant)))
    finished = run_events_pb2.RunFinished(status=run_pb2.RUN_STATUS_SUCCEEDED, steps=_STEPS, duration=duration_to_proto(0))
    journal.append(run_events_pb2.RunEvent(run_finished=finished))
    for seq, entry in enumerate(journal, start=1):
        entry.run_id, entry.seq, entry.tenant, entry.agent, entry.agent_digest, entry.epoch = run_id, seq, tenant, "bench", "d1", 1
        entry.time.CopyFrom(timestamp_to_proto(at))
        events.append(("orchestrator", _out(entry, f"{run_id}.{seq}", "orchestrator.run.advanced", tenant)))
    return Made(events, operations=_STEPS * 3 + 2)


def _out(message: Message, message_id: str, subject: str, tenant: str) -> Outgoing:
    return Outgoing(subject=f"plimsoll.v1.{subject}", payload=message.SerializeToString(), message_id=message_id, tenant=tenant)


def _model(tenant: str, run_id: str, step: int, work: work_pb2.WorkContext, at: datetime) -> model_events_pb2.ModelCallCompleted:
    return model_events_pb2.ModelCallCompleted(
        event_id=f"{run_id}.m{step}",
        tenant=tenant,
        call_id=f"call_{run_id}_{step}",
        work=work,
        task="answering",
        provider="bench",
        model="small",
        prompt_name="bench",
        prompt_digest="p1",
        start_time=timestamp_to_proto(at),
        duration=duration_to_proto(0),
        confidence=0.8,
        attempts=1,
    )


def _tool(tenant: str, run_id: str, step: int, work: work_pb2.WorkContext, at: datetime) -> tool_events_pb2.ToolCallCompleted:
    message = tool_events_pb2.ToolCallCompleted(
        event_id=f"{run_id}.t{step}",
        tenant=tenant,
        call_id=f"tool_{run_id}_{step}",
        call_key=f"key_{run_id}_{step}",
        work=work,
        tool="find_account",
        start_time=timestamp_to_proto(at),
        duration=duration_to_proto(0),
        attempts=1,
    )
    if hash_of(run_id, step) % 20 == 0:
        message.failure.CopyFrom(failure_pb2.Failure(category=failure_pb2.FAILURE_CATEGORY_TIMEOUT, reason="TOO_SLOW", message="too slow"))
    return message


def hash_of(run_id: str, step: int) -> int:
    """The same in every process."""
    return sum(run_id.encode()) * 31 + step


def _search(tenant: str, run_id: str, at: datetime) -> memory_events_pb2.SearchCompleted:
    return memory_events_pb2.SearchCompleted(
        event_id=f"{run_id}.s",
        tenant=tenant,
        work=work_pb2.WorkContext(run_id=run_id, step=2, node="node_0", agent="bench", agent_version="d1", epoch=1),
        collection="handbook",
        receipt=document_pb2.Receipt(search_id=f"s_{run_id}", requested=5, returned=4, best_score=0.7),
        start_time=timestamp_to_proto(at),
        duration=duration_to_proto(0),
    )

"""Values to test with: operations, signals, and the events of the other services as they come over the wire."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from plimsoll.common.v1 import failure_pb2, json_pb2, usage_pb2, work_pb2
from plimsoll.memory.v1 import document_pb2, memory_events_pb2
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_events_pb2, tool_pb2
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId
from plimsoll_feedback.domain.signal import Judged, Signal, SignalDraft, SignalId, SignalValue, Verdict
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.wire import duration_to_proto, timestamp_to_proto

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACME, UMBRELLA = "acme", "umbrella"
GOOD = Judged(verdict=Verdict.GOOD)


def at(seconds: float) -> datetime:
    """A moment after noon."""
    return NOON + timedelta(seconds=seconds)


def failure(category: Category = Category.TIMEOUT, reason: str = "TOO_SLOW") -> Failure:
    return Failure(category=category, reason=reason, message="it took too long", retryable=True, retry_after_s=1.5, where="find_account")


def operation(
    number: int,
    *,
    tenant: str = ACME,
    run: str = "run_1",
    kind: OperationKind = OperationKind.TOOL_CALL,
    agent: str = "support",
    failed: Failure | None = None,
    started_at: datetime | None = None,
) -> Operation:
    """The operation that began `number` seconds after noon."""
    return Operation(
        id=OperationId(f"op_{number:04d}_{kind}"),
        tenant=tenant,
        kind=kind,
        run_id=RunId(run),
        step=number,
        agent=agent,
        agent_version="d1",
        node="lookup",
        name="find_account",
        started_at=started_at or at(number),
        duration_s=0.25,
        failure=failed,
        evidence="stated" if failed else "",
        usage=Usage(input_tokens=7, output_tokens=5, cached_input_tokens=3, reasoning_tokens=2, cost_micros=11),
        facts={"attempts": number, "deep": {"list": [1, 2.5, None, True, "é"]}},
    )


def run(run_id: str = "run_1", *, tenant: str = ACME, started_at: datetime = NOON) -> Run:
    return Run(id=RunId(run_id), tenant=tenant, agent="support", agent_version="d1", started_at=started_at)


def signal(number: int, *, tenant: str = ACME, run: str = "run_1", value: SignalValue = GOOD, of: str | None = None) -> Signal:
    return Signal(
        id=SignalId(f"sig_{number:04d}"),
        tenant=tenant,
        run_id=RunId(run),
        operation_id=None if of is None else OperationId(of),
        value=value,
        comment="because",
        source="ada",
        created_at=at(number),
    )


def draft(value: SignalValue = GOOD, *, run: str = "run_1", of: str | None = None, comment: str = "", source: str = "ada") -> SignalDraft:
    return SignalDraft(run_id=RunId(run), operation_id=None if of is None else OperationId(of), value=value, comment=comment, source=source)


def work(run: str = "run_1", step: int = 2) -> work_pb2.WorkContext:
    return work_pb2.WorkContext(run_id=run, step=step, node="lookup", agent="support", agent_version="d1", epoch=1)


def tool_call(
    event_id: str = "evt_1", *, tenant: str = ACME, run: str = "run_1", failed: bool = False
) -> tool_events_pb2.ToolCallCompleted:
    message = tool_events_pb2.ToolCallCompleted(
        event_id=event_id,
        tenant=tenant,
        call_id="call_1",
        call_key="key_1",
        work=work(run),
        tool="find_account",
        tool_digest="abc",
        start_time=timestamp_to_proto(at(1)),
        duration=duration_to_proto(0.5),
        attempts=2,
        grant_id="grant_1",
    )
    if failed:
        message.failure.CopyFrom(timeout())
    return message


def model_call(event_id: str = "evt_2", *, confidence: float = 0.8) -> model_events_pb2.ModelCallCompleted:
    return model_events_pb2.ModelCallCompleted(
        event_id=event_id,
        tenant=ACME,
        call_id="call_2",
        work=work(),
        task="classification",
        provider="rehearsal",
        model="rehearsal-1",
        rehearsal=True,
        prompt_name="support-classify",
        prompt_digest="def",
        usage=usage_pb2.Usage(input_tokens=100, output_tokens=10, cost_micros=5),
        start_time=timestamp_to_proto(at(1)),
        duration=duration_to_proto(0.5),
        confidence=confidence,
        attempts=1,
    )


def search(event_id: str = "evt_3", *, returned: int = 4) -> memory_events_pb2.SearchCompleted:
    return memory_events_pb2.SearchCompleted(
        event_id=event_id,
        tenant=ACME,
        work=work(),
        collection="handbook",
        receipt=document_pb2.Receipt(
            search_id="search_1", requested=5, returned=returned, exact=True, embedder="lsa", skipped=["rerank: off"]
        ),
        start_time=timestamp_to_proto(at(1)),
        duration=duration_to_proto(0.5),
    )


def timeout() -> failure_pb2.Failure:
    return failure_pb2.Failure(
        category=failure_pb2.FAILURE_CATEGORY_TIMEOUT, reason="TOO_SLOW", message="it took too long", retryable=True, where="find_account"
    )


def journal(run_id: str = "run_1", *, tenant: str = ACME) -> Sequence[run_events_pb2.RunEvent]:
    """A whole run: a step that worked, one that was retried after a failure, an approval, the end."""
    entries = [
        run_events_pb2.RunEvent(run_started=run_events_pb2.RunStarted(input=json_pb2.JsonValue(text='{"message":"hello"}'))),
        run_events_pb2.RunEvent(step_started=run_events_pb2.StepStarted(node="classify", kind="model", attempt=1)),
        run_events_pb2.RunEvent(
            step_finished=run_events_pb2.StepFinished(
                node="classify",
                kind="model",
                next="lookup",
                usage=usage_pb2.Usage(input_tokens=100, output_tokens=10),
                duration=duration_to_proto(0.5),
                facts=json_pb2.JsonValue(text='{"model":"rehearsal-1"}'),
            )
        ),
        run_events_pb2.RunEvent(
            step_failed=run_events_pb2.StepFailed(
                node="lookup", kind="tool", failure=timeout(), attempt=1, retried=True, duration=duration_to_proto(0.5)
            )
        ),
        run_events_pb2.RunEvent(
            approval_decided=run_events_pb2.ApprovalDecided(
                approval_id="apr_1", node="refund", status=run_pb2.APPROVAL_STATUS_APPROVED, decided_by="ada", duration=duration_to_proto(2)
            )
        ),
        run_events_pb2.RunEvent(
            run_finished=run_events_pb2.RunFinished(status=run_pb2.RUN_STATUS_SUCCEEDED, steps=3, duration=duration_to_proto(5))
        ),
    ]
    return [stamped(entry, seq, run_id=run_id, tenant=tenant) for seq, entry in enumerate(entries, start=1)]


def approval(run_id: str = "run_1") -> tuple[run_events_pb2.RunEvent, run_events_pb2.RunEvent]:
    """A question with the exact call in it, and the answer of two people: no, less."""
    proposal = tool_pb2.Proposal(tool="refund", effective_arguments=json_pb2.JsonValue(text='{"amount":500}'), call_digest="cd")
    question = run_pb2.Approval(approval_id="apr_1", node="refund", summary="refund 500?", proposal=proposal)
    answer = run_events_pb2.ApprovalDecided(
        approval_id="apr_1",
        node="refund",
        status=run_pb2.APPROVAL_STATUS_REJECTED,
        decided_by="grace",
        approved_by=["ada", "grace"],
        comment="too much",
        arguments=json_pb2.JsonValue(text='{"amount":5}'),
        duration=duration_to_proto(2),
    )
    asked = run_events_pb2.RunEvent(approval_asked=run_events_pb2.ApprovalAsked(approval=question))
    return stamped(asked, 4, run_id=run_id), stamped(run_events_pb2.RunEvent(approval_decided=answer), 5, run_id=run_id)


def stamped(
    entry: run_events_pb2.RunEvent, seq: int, *, run_id: str = "run_1", tenant: str = ACME, when: datetime | None = None
) -> run_events_pb2.RunEvent:
    """The entry with the coordinates that every entry has."""
    entry.run_id, entry.seq, entry.tenant, entry.agent, entry.agent_digest, entry.epoch = run_id, seq, tenant, "support", "d1", 1
    entry.time.CopyFrom(timestamp_to_proto(when or at(seq - 1)))
    return entry

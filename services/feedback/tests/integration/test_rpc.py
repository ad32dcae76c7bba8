"""The RPCs of feedback as the gateway uses them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from feedback_running import RunningFeedback, Stub, running
from feedback_samples import ACME, UMBRELLA, failure, operation, run
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.feedback.v1 import operation_pb2, signal_pb2, trace_pb2
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.config import Settings
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Conflict, Denied, Invalid, NotFound
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.settings import PostgresSettings, Secret, TlsSettings


@pytest.fixture
async def stub(feedback: RunningFeedback, postgres_dsn: str) -> AsyncIterator[Stub]:
    """A client of a service that knows one run with five operations, the last of which failed."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "feedback"))
        operations = [operation(number, failed=failure() if number == 4 else None) for number in range(5)]
        await PostgresOperationStore(pool, signal_recorded).record(operations, [run()])
        stack.enter_context(acting_for(ACME, "ada"))
        yield feedback.stub


def good(run_id: str = "run_1") -> signal_pb2.Signal:
    return signal_pb2.Signal(run_id=run_id, verdict=signal_pb2.VERDICT_GOOD)


async def test_pages_of_operations_join(stub: Stub) -> None:
    request = pb.ListOperationsRequest(run_id="run_1", page_size=2)
    seen: list[str] = []
    while True:
        answer = await call(stub.ListOperations, request, cap_s=60)
        seen += [one.operation_id for one in answer.operations]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert seen == [f"op_{number:04d}_tool_call" for number in range(5)]


async def test_a_page_token_does_not_fit_another_list(stub: Stub) -> None:
    answer = await call(stub.ListOperations, pb.ListOperationsRequest(run_id="run_1", page_size=2), cap_s=60)
    other = pb.ListOperationsRequest(page_size=2, page_token=answer.next_page_token)
    with pytest.raises(Invalid, match="page_token: belongs to another list"):
        await call(stub.ListOperations, other, cap_s=60)


async def test_failed_operations_can_be_listed_alone(stub: Stub) -> None:
    request = pb.ListOperationsRequest(
        failed_only=True, kind=operation_pb2.OPERATION_KIND_TOOL_CALL, category=failure_pb2.FAILURE_CATEGORY_TIMEOUT, agent="support"
    )
    [only] = (await call(stub.ListOperations, request, cap_s=60)).operations
    assert (only.operation_id, only.failure.reason, only.usage.cost_micros) == ("op_0004_tool_call", "TOO_SLOW", 11)


async def test_failures_are_counted_by_category(stub: Stub) -> None:
    request = pb.CountFailuresRequest(agent="support")
    request.after_time.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    request.before_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    answer = await call(stub.CountFailures, request, cap_s=60)
    [count] = answer.counts
    assert (count.category, count.count, [*count.reasons], answer.operations) == (failure_pb2.FAILURE_CATEGORY_TIMEOUT, 1, ["TOO_SLOW"], 5)


async def test_a_signal_is_recorded_and_listed(stub: Stub) -> None:
    demonstration = signal_pb2.Signal(
        run_id="run_1", operation_id="op_0001_tool_call", demonstration=json_pb2.JsonValue(text='{"intent":"refund"}'), comment="so"
    )
    recorded = (await call(stub.RecordSignal, pb.RecordSignalRequest(signal=demonstration), cap_s=60)).signal
    assert recorded.signal_id.startswith("sig_")
    assert recorded.source == "ada"
    await call(stub.RecordSignal, pb.RecordSignalRequest(signal=good()), cap_s=60)
    first = await call(stub.ListSignals, pb.ListSignalsRequest(run_id="run_1", page_size=1), cap_s=60)
    rest = await call(stub.ListSignals, pb.ListSignalsRequest(run_id="run_1", page_size=1, page_token=first.next_page_token), cap_s=60)
    assert [*first.signals] == [recorded]
    assert [one.WhichOneof("value") for one in rest.signals] == ["verdict"]


async def test_a_repeated_key_returns_the_recorded_signal_and_refuses_another(stub: Stub) -> None:
    request = pb.RecordSignalRequest(signal=good(), idempotency_key="key_1")
    first = await call(stub.RecordSignal, request, cap_s=60)
    assert await call(stub.RecordSignal, request, cap_s=60) == first
    other = pb.RecordSignalRequest(signal=signal_pb2.Signal(run_id="run_1", score=0.5), idempotency_key="key_1")
    with pytest.raises(Conflict) as refusal:
        await call(stub.RecordSignal, other, cap_s=60)
    assert refusal.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_an_unknown_run_and_a_foreign_one_answer_alike(stub: Stub) -> None:
    with pytest.raises(NotFound) as unknown:
        await call(stub.RecordSignal, pb.RecordSignalRequest(signal=good("run_9")), cap_s=60)
    with acting_for(UMBRELLA), pytest.raises(NotFound) as foreign:
        await call(stub.RecordSignal, pb.RecordSignalRequest(signal=good("run_1")), cap_s=60)
    with acting_for(UMBRELLA), pytest.raises(NotFound) as listing:
        await call(stub.ListSignals, pb.ListSignalsRequest(run_id="run_1"), cap_s=60)
    assert {error.value.reason for error in (unknown, foreign, listing)} == {"RUN_NOT_FOUND"}
    assert foreign.value.message == unknown.value.message.replace("run_9", "run_1")
    assert unknown.value.remedy


async def test_another_tenants_operations_are_not_listed(stub: Stub) -> None:
    with acting_for(UMBRELLA):
        assert not (await call(stub.ListOperations, pb.ListOperationsRequest(), cap_s=60)).operations
        assert not (await call(stub.ListOperations, pb.ListOperationsRequest(run_id="run_1"), cap_s=60)).operations


async def test_a_bad_signal_names_every_field_that_is_wrong(stub: Stub) -> None:
    bad = signal_pb2.Signal(score=1.5, comment="c" * 10_001)
    with pytest.raises(Invalid) as refusal:
        await call(stub.RecordSignal, pb.RecordSignalRequest(signal=bad), cap_s=60)
    assert [(problem.field, bool(problem.remedy)) for problem in refusal.value.problems] == [
        ("score", True),
        ("run_id", True),
        ("comment", True),
    ]
    assert refusal.value.reason == "INVALID_SIGNAL"


async def test_of_two_values_on_the_wire_the_last_counts_as_protobuf_says(stub: Stub) -> None:
    both = signal_pb2.Signal.FromString(good().SerializeToString() + signal_pb2.Signal(score=0.5).SerializeToString())
    assert (await call(stub.RecordSignal, pb.RecordSignalRequest(signal=both), cap_s=60)).signal.score == 0.5


async def test_many_signals_are_recorded_or_refused_each_by_itself(stub: Stub) -> None:
    await call(stub.AnnotateRun, pb.AnnotateRunRequest(run_id="run_1", add_tags=["ticket:7"]), cap_s=60)
    entries = [
        pb.SignalEntry(signal=good(), idempotency_key="a"),
        pb.SignalEntry(signal=signal_pb2.Signal(tag="ticket:7", outcome=True), idempotency_key="b"),
        pb.SignalEntry(signal=good("run_9")),
        pb.SignalEntry(signal=signal_pb2.Signal(run_id="run_1")),
        pb.SignalEntry(signal=signal_pb2.Signal(tag="ticket:8", outcome=True)),
        pb.SignalEntry(signal=signal_pb2.Signal(run_id="run_1", score=0.5), idempotency_key="a"),
    ]
    request = pb.RecordSignalsRequest(entries=entries)
    first = await call(stub.RecordSignals, request, cap_s=60)
    told = [one.refusal.reason or one.signal.run_id for one in first.results]
    assert told == ["run_1", "run_1", "RUN_NOT_FOUND", "INVALID_SIGNAL", "RUN_NOT_FOUND", "IDEMPOTENCY_KEY_REUSED"]
    again = await call(stub.RecordSignals, request, cap_s=60)
    assert [one.signal.signal_id for one in again.results] == [one.signal.signal_id for one in first.results]
    assert len((await call(stub.ListSignals, pb.ListSignalsRequest(run_id="run_1"), cap_s=60)).signals) == 2
    with pytest.raises(Invalid, match="entries: has 501 signals"):
        await call(stub.RecordSignals, pb.RecordSignalsRequest(entries=[pb.SignalEntry(signal=good())] * 501), cap_s=60)


async def test_a_note_that_cannot_be_taken_changes_nothing(stub: Stub) -> None:
    for note, field in (
        (pb.AnnotateRunRequest(run_id="run_1", add_tags=["new"], comment="c" * 10_001), "comment"),
        (pb.AnnotateRunRequest(run_id="run_1", add_tags=["new", ""]), "add_tags[1]"),
        (pb.AnnotateRunRequest(run_id="run_1"), "add_tags"),
    ):
        with pytest.raises(Invalid) as refusal:
            await call(stub.AnnotateRun, note, cap_s=60)
        assert [problem.field for problem in refusal.value.problems] == [field]
    assert not (await call(stub.ListTraces, pb.ListTracesRequest(tags=["new"]), cap_s=60)).traces


async def test_a_tag_of_two_runs_names_neither(stub: Stub, settings: Settings) -> None:
    async with open_pool(settings.postgres, "feedback") as pool:
        await PostgresOperationStore(pool, signal_recorded).record([], [run("run_2")])
    for run_id in ("run_1", "run_2"):
        await call(stub.AnnotateRun, pb.AnnotateRunRequest(run_id=run_id, add_tags=["batch"]), cap_s=60)
    with pytest.raises(Conflict) as refusal:
        await call(stub.RecordSignal, pb.RecordSignalRequest(signal=signal_pb2.Signal(tag="batch", outcome=False)), cap_s=60)
    assert refusal.value.reason == "TAG_AMBIGUOUS"


async def test_a_trace_is_found_by_its_comment_and_shown_page_by_page(stub: Stub) -> None:
    note = pb.AnnotateRunRequest(run_id="run_1", add_tags=["vip"], comment="the customer was furious")
    assert [*(await call(stub.AnnotateRun, note, cap_s=60)).trace.tags] == ["vip"]
    for where in (pb.ListTracesRequest(text="furious"), pb.ListTracesRequest(tags=["vip"], agent="support", text="FIND account too_slow")):
        [found] = (await call(stub.ListTraces, where, cap_s=60)).traces
        assert (found.run_id, found.status) == ("run_1", trace_pb2.TRACE_STATUS_RUNNING)
    assert not (await call(stub.ListTraces, pb.ListTracesRequest(text="delighted"), cap_s=60)).traces
    seen, request = [], pb.GetTraceRequest(run_id="run_1", page_size=2)
    while True:
        page = await call(stub.GetTrace, request, cap_s=60)
        seen += [entry.operation.operation_id for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"op_{number:04d}_tool_call" for number in range(5)]


async def test_traces_of_another_tenant_answer_as_those_that_do_not_exist(stub: Stub) -> None:
    body = pb.GetOperationBodyRequest(run_id="run_1", operation_id="op_0001_tool_call")
    asked = [
        (stub.GetTrace, pb.GetTraceRequest(run_id="run_1")),
        (stub.AnnotateRun, pb.AnnotateRunRequest(run_id="run_1", add_tags=["a"])),
        (stub.GetOperationBody, body),
    ]
    with acting_for(UMBRELLA):
        assert not (await call(stub.ListTraces, pb.ListTracesRequest(), cap_s=60)).traces
        for method, request in asked:
            with pytest.raises(NotFound) as refusal:
                await call(method, request, cap_s=60)
            assert refusal.value.reason == "RUN_NOT_FOUND"


async def test_a_body_whose_owner_is_not_configured_says_so(stub: Stub) -> None:
    request = pb.GetOperationBodyRequest(run_id="run_1", operation_id="op_0001_tool_call")
    body = (await call(stub.GetOperationBody, request, cap_s=60)).body
    assert (body.owner, body.missing) == ("tool-dispatcher", "the address of the tool-dispatcher is not set")
    with pytest.raises(NotFound) as refusal:
        await call(stub.GetOperationBody, pb.GetOperationBodyRequest(run_id="run_1", operation_id="op_9"), cap_s=60)
    assert refusal.value.reason == "OPERATION_NOT_FOUND"


BAD_TRACES = [
    (pb.ListTracesRequest(category=99), "category"),
    (pb.ListTracesRequest(status=99), "status"),
    (pb.ListTracesRequest(tags=[""]), "tags[0]"),
    (pb.ListTracesRequest(text="x" * 501), "text"),
    (pb.ListTracesRequest(text="a\0b"), "text"),
    (pb.ListTracesRequest(min_cost_micros=-1), "min_cost_micros"),
    (pb.ListTracesRequest(page_size=501), "page_size"),
    (pb.ListTracesRequest(page_token="?"), "page_token"),
]


async def test_a_query_that_cannot_be_served_names_its_field(stub: Stub) -> None:
    for request, field in BAD_TRACES:
        with pytest.raises(Invalid) as refusal:
            await call(stub.ListTraces, request, cap_s=60)
        assert [problem.field for problem in refusal.value.problems] == [field]
        assert all(problem.remedy for problem in refusal.value.problems)


async def test_only_the_gateway_may_call(settings: Settings, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ("feedback", "gateway", "memory"), datetime.now(UTC))

    def certificate(service: str) -> TlsSettings:
        files = certificate_files(tmp_path, service)
        return TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))

    closed = replace(settings, server=replace(settings.server, insecure=False, tls=certificate("feedback")))
    with acting_for(ACME):
        async with running(closed, client=certificate("gateway")) as feedback:
            assert not (await call(feedback.stub.ListOperations, pb.ListOperationsRequest(), cap_s=60)).operations
        async with running(closed, client=certificate("memory")) as feedback:
            with pytest.raises(Denied) as refusal:
                await call(feedback.stub.ListOperations, pb.ListOperationsRequest(), cap_s=60)
    assert refusal.value.reason == "CALLER_NOT_ALLOWED"

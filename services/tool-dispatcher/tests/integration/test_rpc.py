"""The RPCs of the tool dispatcher as the orchestrator uses them, on real servers."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from plimsoll.common.v1 import failure_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_events_pb2, tool_pb2
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_runtime.bus import ConsumerSpec, Message, open_bus, service_stream
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Conflict, Denied, Invalid, NotFound
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.settings import NatsSettings, Secret, TlsSettings
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.config import Settings
from tool_dispatcher_running import Client, running


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


def acted(note: Path) -> list[str]:
    return note.read_text().splitlines() if note.exists() else []


async def test_a_call_is_executed_and_a_repeat_gets_the_recorded_result(client: Client, note: Path) -> None:
    first = await client.dispatch("act_keyed", {"note": str(note)})
    again = await client.dispatch("act_keyed", {"note": str(note)}, epoch=2)
    assert (first.result.text, first.recorded, first.attempts) == ('{"acted":"key_1"}', False, 1)
    assert (again.result.text, again.recorded, again.call_id) == (first.result.text, True, first.call_id)
    assert acted(note) == ["acted key_1"]


async def test_an_unknown_tool_is_a_failure(client: Client) -> None:
    response = await client.dispatch("teleport", {})
    assert response.failure.category == failure_pb2.FAILURE_CATEGORY_UNKNOWN_TOOL


async def test_wrong_arguments_are_a_failure_with_their_paths(client: Client) -> None:
    response = await client.dispatch("act_keyed", {"note": 7, "times": "often"})
    assert response.failure.category == failure_pb2.FAILURE_CATEGORY_INVALID_ARGUMENTS
    assert "arguments.note" in response.failure.message
    assert "arguments.times" in response.failure.message


async def test_huge_arguments_are_a_failure_and_the_service_lives_on(client: Client, note: Path) -> None:
    response = await client.dispatch("act_keyed", {"note": "x" * 10_000_000})
    assert response.failure.category == failure_pb2.FAILURE_CATEGORY_INVALID_ARGUMENTS
    assert (await client.dispatch("act_keyed", {"note": str(note)}, key="key_2")).result.text


async def test_large_arguments_and_results_are_fine_within_their_limit(settings: Settings, note: Path) -> None:
    async with running(replace(settings, arguments_kib=2048)) as client:
        response = await client.dispatch("act_keyed", {"note": str(note), "more": [{"n": n} for n in range(20_000)]})
    assert response.result.text


async def test_arguments_that_are_not_json_are_invalid(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        await client.dispatch("act_keyed", "{nonsense")
    assert [problem.field for problem in caught.value.problems] == ["arguments"]


async def test_an_incomplete_request_is_invalid(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        await client.dispatch("act_keyed", {}, key="", run_id="")
    assert [problem.field for problem in caught.value.problems] == ["call_key", "work.run_id"]


async def test_a_risky_call_runs_with_a_grant_for_exactly_what_was_proposed(client: Client, note: Path) -> None:
    asked = await client.dispatch("act_risky", {"note": str(note)})
    proposal = asked.approval_required
    assert proposal.effective_arguments.text == f'{{"note":"{note}","times":1}}'
    assert acted(note) == []
    grant = tool_pb2.Grant(grant_id="apr_1", call_digest=proposal.call_digest, granted_by="ada")
    edited = await client.dispatch("act_risky", {"note": str(note), "times": 2}, grants=(grant,))
    assert edited.WhichOneof("outcome") == "approval_required"
    elsewhere = await client.dispatch("act_risky", {"note": str(note)}, key="key_2", grants=(grant,))
    assert elsewhere.WhichOneof("outcome") == "approval_required"
    allowed = await client.dispatch("act_risky", {"note": str(note)}, grants=(grant,))
    assert allowed.result.text == '{"acted":"key_1"}'
    again = await client.dispatch("act_risky", {"note": str(note)})
    assert (again.result.text, again.recorded) == ('{"acted":"key_1"}', True)
    assert acted(note) == ["acted key_1"]


async def test_a_grant_is_used_once(client: Client, note: Path) -> None:
    proposals = [(await client.dispatch("act_risky", {"note": str(note)}, key=key)).approval_required for key in ("key_1", "key_2")]
    grants = [tool_pb2.Grant(grant_id="apr_1", call_digest=proposal.call_digest, granted_by="ada") for proposal in proposals]
    first = await client.dispatch("act_risky", {"note": str(note)}, key="key_1", grants=(grants[0],))
    second = await client.dispatch("act_risky", {"note": str(note)}, key="key_2", grants=(grants[1],))
    assert first.WhichOneof("outcome") == "result"
    assert (second.failure.category, second.failure.reason) == (failure_pb2.FAILURE_CATEGORY_POLICY_DENIED, "GRANT_SPENT")
    assert acted(note) == ["acted key_1"]


async def test_a_stale_epoch_is_refused(client: Client, note: Path) -> None:
    await client.dispatch("act_keyed", {"note": str(note)}, epoch=5)
    with pytest.raises(Conflict) as caught:
        await client.dispatch("act_keyed", {"note": str(note)}, key="key_2", epoch=4)
    assert caught.value.reason == "STALE_EPOCH"
    assert acted(note) == ["acted key_1"]


async def test_a_key_stands_for_one_request(client: Client, note: Path) -> None:
    await client.dispatch("act_keyed", {"note": str(note)})
    with pytest.raises(Conflict) as caught:
        await client.dispatch("act_keyed", {"note": str(note), "times": 2})
    assert caught.value.reason == "CALL_KEY_TAKEN"


async def test_tenants_do_not_meet_in_the_ledger(client: Client, note: Path) -> None:
    await client.dispatch("act_keyed", {"note": str(note)}, tenant="acme")
    other = await client.dispatch("act_keyed", {"note": str(note), "times": 2}, tenant="umbrella")
    assert not other.recorded
    assert len(acted(note)) == 2


async def test_concurrent_repeats_over_two_replicas_execute_once(settings: Settings, note: Path) -> None:
    async with running(settings) as one, running(settings) as two:
        answers = await asyncio.gather(*((one, two)[number % 2].dispatch("act_keyed", {"note": str(note)}) for number in range(40)))
    assert acted(note) == ["acted key_1"]
    assert {answer.result.text for answer in answers} == {'{"acted":"key_1"}'}
    assert sum(not answer.recorded for answer in answers) == 1


async def test_a_call_that_may_act_survives_its_caller(client: Client, note: Path) -> None:
    hold = note.parent / "hold"
    hold.touch()
    asked = asyncio.get_running_loop().create_task(client.dispatch("act_non_idempotent", {"note": str(note)}, cap_s=3.0))
    await eventually(lambda: acted(note))
    asked.cancel()
    await asyncio.wait([asked])
    response = await client.dispatch("act_non_idempotent", {"note": str(note)})
    assert (response.recorded, response.failure.category) == (True, failure_pb2.FAILURE_CATEGORY_OUTCOME_UNKNOWN)
    assert acted(note) == ["acted key_1"]


async def test_each_service_may_call_what_it_needs_and_no_more(settings: Settings, tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "tls", ("tool-dispatcher", "orchestrator", "gateway", "memory"), datetime.now(UTC))

    def certificate(service: str) -> TlsSettings:
        files = certificate_files(tmp_path / "tls", service)
        return TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))

    closed = replace(settings, server=replace(settings.server, insecure=False, tls=certificate("tool-dispatcher")))
    async with running(closed, client=certificate("orchestrator")) as client:
        assert (await client.dispatch("teleport", {})).failure.reason == "UNKNOWN_TOOL"
    with acting_for("acme"):
        async with running(closed, client=certificate("gateway")) as client:
            assert (await call(client.stub.ListTools, pb.ListToolsRequest(), cap_s=60)).tools
            with pytest.raises(Denied) as caught:
                await client.dispatch("teleport", {})
            assert caught.value.reason == "CALLER_NOT_ALLOWED"
        async with running(closed, client=certificate("memory")) as client:
            with pytest.raises(Denied):
                await call(client.stub.ListTools, pb.ListToolsRequest(), cap_s=60)


async def test_tools_are_listed_and_shown(client: Client) -> None:
    with acting_for("acme"):
        everything = await call(client.stub.ListTools, pb.ListToolsRequest(), cap_s=60)
        one = await call(client.stub.ListTools, pb.ListToolsRequest(names=["act_keyed", "teleport"]), cap_s=60)
        shown = await call(client.stub.GetTool, pb.GetToolRequest(name="act_keyed"), cap_s=60)
        with pytest.raises(NotFound) as caught:
            await call(client.stub.GetTool, pb.GetToolRequest(name="teleport"), cap_s=60)
    assert [tool.name for tool in everything.tools] == ["act_idempotent", "act_keyed", "act_non_idempotent", "act_read_only", "act_risky"]
    assert [tool.name for tool in one.tools] == ["act_keyed"]
    assert (shown.tool.effect, shown.tool.category) == (tool_pb2.EFFECT_CLASS_KEYED, "acts")
    assert caught.value.reason == "TOOL_NOT_FOUND"


async def test_a_tool_added_while_the_service_runs_can_be_called(client: Client, tools: Path) -> None:
    other = tools.parent.parent / "another" / "tools"
    other.mkdir(parents=True)
    (other / "maths.py").write_text("async def double(arguments, context): return arguments['n'] * 2\n")
    (other / "maths.yaml").write_text(
        'category: maths\ntools:\n  - {name: double, version: "1", description: Doubles, result: {type: integer}, effect: read_only, '
        "risk: low, timeout: 5s, arguments: {type: object, required: [n], properties: {n: {type: integer}}}}\n"
    )
    number = iter(range(1000))

    async def doubled() -> bool:
        response = await client.dispatch("double", {"n": 21}, key=f"key_{next(number)}")
        return response.result.text == "42"

    await eventually(doubled)


async def test_what_completed_is_announced_on_the_stream(client: Client, note: Path, nats_url: str) -> None:
    await client.dispatch("act_keyed", {"note": str(note)})
    await client.dispatch("teleport", {}, key="key_2")
    heard: list[tool_events_pb2.ToolCallCompleted] = []

    async def hear(messages: "object") -> None:
        assert isinstance(messages, list)
        for message in messages:
            assert isinstance(message, Message)
            heard.append(tool_events_pb2.ToolCallCompleted.FromString(message.payload))

    stop = asyncio.Event()
    spec = ConsumerSpec(
        stream=service_stream("tool-dispatcher"), durable="listener", subjects=("plimsoll.v1.tool_dispatcher.call.completed",)
    )
    async with open_bus(NatsSettings(url=Secret(nats_url)), "listener", Metrics()) as bus, asyncio.TaskGroup() as group:
        group.create_task(bus.consume(spec, hear, stop))
        await eventually(lambda: len(heard) == 2)
        stop.set()
    assert [(event.tool, event.failure.reason, event.attempts) for event in heard] == [
        ("act_keyed", "", 1),
        ("teleport", "UNKNOWN_TOOL", 0),
    ]
    assert heard[0].work.run_id == "run_1"
    assert heard[0].tenant == "acme"

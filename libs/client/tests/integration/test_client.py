"""The client against a gateway over real gRPC: what it promises about errors, repeats and streams."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from client_fakes import KEY, FakeGateway, question, step
from plimsoll_client import connect
from plimsoll_client.bundles import apply, read_bundles
from plimsoll_client.errors import Unreachable
from plimsoll_client.events import ApprovalAsked, RunFinished
from plimsoll_client.mesh import Mesh
from plimsoll_client.models import ApprovalStatus, RunStatus
from plimsoll_client.observations import Demonstration, Outcome, Score, Verdict
from plimsoll_runtime.errors import Conflict, DeadlineExpired, Exhausted, Internal, Invalid, NotFound, Unauthenticated, Unavailable


async def test_a_run_is_submitted_followed_and_returned_with_its_answer(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[step("classify"), step("answer")])
    run = await mesh.runs.submit("support", {"message": "hello"})
    final = await mesh.runs.wait(run.id, timeout_s=10)
    assert (final.status, final.output, final.duration_s, final.input) == (
        RunStatus.SUCCEEDED,
        {"answer": "Done."},
        2.0,
        {"message": "hello"},
    )


async def test_errors_keep_kind_reason_and_remedy(gateway: FakeGateway, mesh: Mesh) -> None:
    with pytest.raises(NotFound) as caught:
        await mesh.agents.get("nobody")
    assert (caught.value.reason, caught.value.remedy) == ("AGENT_NOT_FOUND", "See `plimsoll agents list`")


async def test_every_mistake_of_a_graph_arrives(gateway: FakeGateway, mesh: Mesh) -> None:
    with pytest.raises(Invalid) as caught:
        await mesh.agents.register("agent: broken")
    assert [problem.field for problem in caught.value.problems] == ["agent.yaml:3 nodes.a.next", "agent.yaml:1 start"]


async def test_a_wrong_key_is_refused_as_unauthenticated(gateway: FakeGateway) -> None:
    async with connect(address=gateway.address, api_key="wrong") as mesh:
        with pytest.raises(Unauthenticated) as caught:
            await mesh.agents.list()
    assert caught.value.reason == "KEY_UNKNOWN"


async def test_nobody_listening_is_unreachable_with_a_remedy() -> None:
    async with connect(address="127.0.0.1:1", api_key="k") as mesh:
        with pytest.raises(Unreachable, match=r"no mesh answers at 127\.0\.0\.1:1") as caught:
            await mesh.tools.list()
    assert "plimsoll up" in caught.value.remedy


async def test_a_mesh_that_is_far_away_is_reached_by_the_first_call(gateway: FakeGateway) -> None:
    gateway.add_agent("support")
    host, _, port = gateway.address.rpartition(":")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float) -> None:
        await asyncio.sleep(late_s)
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near_reader, near_writer = await asyncio.open_connection(host, int(port))
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, near_writer, 0.4))
            group.create_task(carry(near_reader, writer, 0.4))

    server = await asyncio.start_server(far, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, connect(address=address, api_key=KEY) as mesh:
        assert (await mesh.runs.submit("support", {})).id == "run_1"
    assert gateway.calls == ["SubmitRun"]


async def test_reads_are_repeated_while_the_mesh_is_away(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.refusals["ListAgents"] = [grpc.StatusCode.UNAVAILABLE, Exhausted("full", retry_after_s=0.01)]
    assert await mesh.agents.list() == []
    assert gateway.calls == ["ListAgents"] * 3


async def test_repeats_are_bounded(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.refusals["ListAgents"] = [Unavailable("away", reason="AWAY")] * 10
    with pytest.raises(Unavailable):
        await mesh.agents.list()
    assert gateway.calls == ["ListAgents"] * 4


async def test_a_submit_without_a_key_is_never_repeated(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    gateway.refusals["SubmitRun"] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await mesh.runs.submit("support", {})
    assert gateway.calls == ["SubmitRun"]


async def test_a_submit_with_a_key_is_repeated_and_gives_one_run(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    gateway.refusals["SubmitRun"] = [Unavailable("away")]
    first = await mesh.runs.submit("support", {}, key="order-7")
    again = await mesh.runs.submit("support", {}, key="order-7")
    assert first.id == again.id
    assert len(gateway.runs) == 1


async def test_refusals_are_not_repeated(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.refusals["ListAgents"] = [Internal("a bug"), Unavailable("never reached")]
    with pytest.raises(Internal):
        await mesh.agents.list()
    assert gateway.calls == ["ListAgents"]


async def test_a_stream_cut_anywhere_gives_the_identical_sequence(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[step(f"node{index}") for index in range(6)])
    gateway.cuts = [0, 1, 1, 0, 3, 2]
    run = await mesh.runs.submit("support", {})
    entries = [entry async for entry in mesh.runs.follow(run.id)]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert isinstance(entries[-1].event, RunFinished)


async def test_following_goes_on_behind_a_cursor(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[step("a"), step("b")])
    run = await mesh.runs.submit("support", {})
    assert [entry.seq async for entry in mesh.runs.follow(run.id, after_seq=2)] == [3, 4]
    assert [entry.seq async for entry in mesh.runs.follow(run.id, after_seq=4)] == []


async def test_following_an_unknown_run_is_refused_at_once(gateway: FakeGateway, mesh: Mesh) -> None:
    with pytest.raises(NotFound):
        await mesh.runs.wait("run_none")
    assert gateway.calls == ["FollowRun"]


async def test_following_gives_up_when_the_mesh_stays_away(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    run = await mesh.runs.submit("support", {})
    gateway.refusals["FollowRun"] = [Unavailable("away", retry_after_s=60.0)]
    with pytest.raises(Unavailable):
        await mesh.runs.wait(run.id)


async def test_waiting_has_a_deadline(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    run = await mesh.runs.submit("support", {})
    with pytest.raises(DeadlineExpired, match="is not final"):
        await mesh.runs.wait(run.id, timeout_s=0.05)


async def test_an_approval_shows_the_exact_call_and_is_decided_once(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[step("classify"), question("apr_1", {"amount_cents": 8605}), step("refund", "tool")])
    run = await mesh.runs.submit("support", {})
    [asked] = await mesh.approvals.list(run_id=run.id)
    assert asked.proposal is not None
    assert (asked.proposal.tool, asked.proposal.arguments) == ("issue_refund", {"amount_cents": 8605})
    decided = await mesh.approvals.approve(asked.id, comment="checked")
    assert (decided.status, decided.comment) == (ApprovalStatus.APPROVED, "checked")
    assert (await mesh.approvals.approve(asked.id)).status is ApprovalStatus.APPROVED
    with pytest.raises(Conflict):
        await mesh.approvals.reject(asked.id)
    assert (await mesh.runs.wait(run.id, timeout_s=10)).status is RunStatus.SUCCEEDED


async def test_leaving_a_stream_early_ends_it(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {}), step("refund")])
    run = await mesh.runs.submit("support", {})
    async with aclosing(mesh.runs.follow(run.id)) as entries:
        async for entry in entries:
            if isinstance(entry.event, ApprovalAsked):
                break
    assert entry.seq == 2


async def test_lists_go_through_every_page_up_to_the_limit(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    for _ in range(230):
        await mesh.runs.submit("support", {})
    assert len(await mesh.runs.list(limit=1000)) == 230
    assert [run.id for run in await mesh.runs.list(limit=2, status=RunStatus.SUCCEEDED)] == ["run_230", "run_229"]


@pytest.mark.parametrize("value", [Verdict(good=False), Score(0.25), Outcome(succeeded=True), Demonstration({"answer": "42"})])
async def test_a_signal_comes_back_as_it_was_given(
    gateway: FakeGateway, mesh: Mesh, value: Verdict | Score | Outcome | Demonstration
) -> None:
    recorded = await mesh.feedback.signal("run_1", value, comment="why")
    assert (recorded.value, recorded.comment) == (value, "why")
    assert await mesh.feedback.signals("run_1") == [recorded]


async def test_a_bundle_is_applied_with_the_graph_last_and_again_changes_nothing(gateway: FakeGateway, mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("agent: helper\n")
    for folder in ("prompts", "knowledge/help/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "prompts/say.yaml").write_text('prompt: say\nvariables: [x]\nuser: "{{x}}"\nlabels: [production]\n')
    (tmp_path / "knowledge/help/deep/a.md").write_text("# A\n")
    (tmp_path / "knowledge/help/b.txt").write_text("b")
    [bundle] = read_bundles(tmp_path)
    first, again = await apply(mesh, bundle), await apply(mesh, bundle)
    assert gateway.calls[3] == "RegisterAgent"
    assert (first.created, first.prompts_created, first.documents_changed, first.collections) == (True, 1, 2, ("help",))
    assert (again.created, again.prompts_created, again.documents_changed) == (False, 0, 0)
    assert {source for _, source in gateway.documents} == {"deep/a.md", "b.txt"}
    assert list(gateway.prompts["say"].labels) == ["production"]


async def test_a_bundle_that_is_refused_half_way_registers_no_graph(gateway: FakeGateway, mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("agent: helper\n")
    (tmp_path / "knowledge/help").mkdir(parents=True)
    (tmp_path / "knowledge/help/b.txt").write_text("b")
    gateway.refusals["IngestDocument"] = [Invalid("no text", reason="NO_TEXT")]
    with pytest.raises(Invalid, match="no text"):
        await apply(mesh, read_bundles(tmp_path)[0])
    assert gateway.agents == {}

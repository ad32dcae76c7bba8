"""Steering runs, threads, schedules and webhooks through the client: what is asked arrives, what is repeated is safe to repeat."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from client_fakes import FakeGateway, question, step, tokens, void
from plimsoll.orchestrator.v1 import run_pb2, webhook_pb2
from plimsoll_client.events import TokensReceived, TokensRetracted
from plimsoll_client.mesh import Mesh
from plimsoll_client.models import RunStatus
from plimsoll_client.options import Budget, Fork, RunOptions, ThreadPolicy
from plimsoll_client.schedules import MissedPolicy, ScheduleDraft
from plimsoll_client.webhooks import DeliveryStatus, WebhookDraft
from plimsoll_runtime.errors import Conflict, NotFound, Unavailable


async def test_the_options_of_a_run_arrive_and_come_back(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    options = RunOptions(
        priority=9,
        start_at=datetime(2026, 3, 1, 13, tzinfo=UTC),
        deadline=datetime(2026, 3, 2, tzinfo=UTC),
        budget=Budget(steps=5, seconds=1.5),
        thread_id="t-1",
        thread_policy=ThreadPolicy.REJECT,
        concurrency_key="account-7",
        concurrency_limit=2,
        follow_latest=True,
        stream_tokens=True,
    )
    started = await mesh.runs.start("support", {}, options=options)
    assert (started.created, started.steered, started.run.options) == (True, False, options)
    assert (await mesh.runs.submit("support", {})).options == RunOptions()
    assert [run.id for run in await mesh.runs.list(thread_id="t-1")] == [started.run.id]


async def test_an_input_that_steers_is_told_from_a_run_that_starts(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    steer = RunOptions(thread_id="t-1", thread_policy=ThreadPolicy.STEER)
    first, second = await mesh.runs.start("support", {}, options=steer), await mesh.runs.start("support", {}, options=steer)
    assert (first.created, first.steered) == (True, False)
    assert (second.created, second.steered, second.run.id) == (False, True, first.run.id)


async def test_a_run_is_paused_and_goes_on(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    run = await mesh.runs.submit("support", {})
    gateway.refusals["PauseRun"] = [Unavailable("away")]
    assert (await mesh.runs.pause(run.id, reason="look first")).status is RunStatus.PAUSED
    assert (await mesh.runs.resume(run.id)).status is RunStatus.RUNNING


async def test_a_run_that_is_over_is_not_paused(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    run = await mesh.runs.submit("support", {})
    with pytest.raises(Conflict) as caught:
        await mesh.runs.pause(run.id)
    assert caught.value.reason == "RUN_FINISHED"


TWICE: dict[str, Callable[[Mesh], Awaitable[object]]] = {
    "SignalRun": lambda mesh: mesh.runs.signal("run_1", "paid"),
    "ForkRun": lambda mesh: mesh.runs.fork("run_1"),
    "RetryRun": lambda mesh: mesh.runs.retry("run_1"),
    "PutWebhook": lambda mesh: mesh.webhooks.put(WebhookDraft(name="shop", url="https://shop.example")),
}


@pytest.mark.parametrize("verb", TWICE)
async def test_what_would_happen_twice_is_never_repeated_without_a_key(gateway: FakeGateway, mesh: Mesh, verb: str) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    await mesh.runs.submit("support", {})
    gateway.refusals[verb] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await TWICE[verb](mesh)
    assert gateway.calls.count(verb) == 1


async def test_a_signal_with_a_key_is_repeated_and_sent_once(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    run = await mesh.runs.submit("support", {})
    gateway.refusals["SignalRun"] = [Unavailable("away")]
    first = await mesh.runs.signal(run.id, "paid", {"cents": 5}, key="payment-7")
    assert await mesh.runs.signal(run.id, "paid", {"cents": 5}, key="payment-7") == first
    assert [(sent.name, sent.payload.text) for sent in gateway.sent] == [("paid", '{"cents":5}')]


async def test_a_fork_says_where_and_how_it_departs(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[step("a")])
    run = await mesh.runs.submit("support", {})
    fork = await mesh.runs.fork(run.id, Fork(seq=2, state={"x": None}, node="a", latest=True), key="k")
    assert fork.created
    assert fork.run.origin is not None
    assert (fork.run.origin.forked_run_id, fork.run.origin.forked_seq) == (run.id, 2)
    [asked] = gateway.forks
    assert (asked.state.text, asked.node, asked.latest, asked.idempotency_key) == ('{"x":null}', "a", True, "k")
    await mesh.runs.fork(run.id)
    assert not gateway.forks[1].HasField("state")
    assert (await mesh.runs.retry(run.id)).created


async def test_a_run_is_asked_what_it_waits_for_and_what_it_holds(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[question("apr_1", {})])
    run = await mesh.runs.submit("support", {})
    gateway.obstacles = [run_pb2.Obstacle(reason="APPROVAL", message="somebody decides", subject="apr_1", until_time={"seconds": 1})]
    gateway.queried = {"n": [1, None]}
    [obstacle] = await mesh.runs.explain(run.id)
    assert (obstacle.reason, obstacle.subject, obstacle.until) == ("APPROVAL", "apr_1", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    queried = await mesh.runs.query(run.id, "state")
    assert (queried.value, queried.seq) == ({"n": [1, None]}, 2)
    with pytest.raises(NotFound):
        await mesh.runs.explain("run_none")


@pytest.mark.parametrize("cuts", [[], [0], [1], [2, 1], [3, 2, 0, 4], [4, 3]])
async def test_text_is_heard_once_wherever_the_stream_is_cut_and_the_journal_stays_gap_free(
    gateway: FakeGateway, mesh: Mesh, cuts: list[int]
) -> None:
    script = [tokens("say", "Hel"), void("say", attempt=1), tokens("say", "Good ", attempt=2), tokens("say", "day", offset=5, attempt=2)]
    gateway.add_agent("support", script=[*script, step("say")])
    gateway.cuts = list(cuts)
    run = await mesh.runs.submit("support", {})
    entries = [entry async for entry in mesh.runs.follow(run.id, tokens=True)]
    journal = [entry.seq for entry in entries if not isinstance(entry.event, TokensReceived | TokensRetracted)]
    assert journal == [1, 2, 3]
    text = ""
    for entry in entries:
        match entry.event:
            case TokensRetracted():
                text = ""
            case TokensReceived(text=piece):
                text += piece
    assert text == "Good day"
    assert [entry.event.type for entry in entries].count("tokens_retracted") == 1


async def test_without_asking_for_it_no_text_is_heard(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support", script=[tokens("say", "Hello"), step("say")])
    run = await mesh.runs.submit("support", {})
    assert [entry.event.type async for entry in mesh.runs.follow(run.id)] == ["run_started", "step_finished", "run_finished"]


async def test_threads_are_listed_and_shown_with_what_they_carry(gateway: FakeGateway, mesh: Mesh) -> None:
    gateway.add_agent("support")
    run = await mesh.runs.submit("support", {}, options=RunOptions(thread_id="t-1"))
    assert [(thread.id, thread.queued_runs) for thread in await mesh.threads.list()] == [("t-1", 2)]
    thread = await mesh.threads.get("t-1")
    assert (thread.last_run_id, thread.kept) == (run.id, {"topic": "tents"})
    with pytest.raises(NotFound):
        await mesh.threads.get("t-2")


async def test_a_schedule_is_put_changed_and_deleted(gateway: FakeGateway, mesh: Mesh) -> None:
    draft = ScheduleDraft(name="nightly", agent="a", cron="0 3 * * *", input={"x": 1}, missed=MissedPolicy.SKIP)
    put = await mesh.schedules.put(draft)
    assert (put.draft, put.next_at) == (draft, datetime(2026, 3, 2, 3, tzinfo=UTC))
    assert await mesh.schedules.get("nightly") == put
    assert await mesh.schedules.list() == [put]
    await mesh.schedules.delete("nightly")
    assert await mesh.schedules.list() == []


async def test_the_secret_of_a_webhook_is_told_when_it_is_made_and_is_in_no_repr(gateway: FakeGateway, mesh: Mesh) -> None:
    draft = WebhookDraft(name="shop", url="https://shop.example/hook", statuses=(RunStatus.FAILED,))
    made, again, rotated = await mesh.webhooks.put(draft), await mesh.webhooks.put(draft), await mesh.webhooks.put(draft, rotate=True)
    assert (made.secret, again.secret, rotated.secret) == ("whsec_bmV3", "", "whsec_bmV3")
    assert "whsec" not in repr(made)
    assert [webhook.draft for webhook in await mesh.webhooks.list()] == [draft]
    await mesh.webhooks.delete("shop")
    assert await mesh.webhooks.list() == []


async def test_dead_letters_are_listed_and_sent_once_more(gateway: FakeGateway, mesh: Mesh) -> None:
    for number, status in enumerate((webhook_pb2.DELIVERY_STATUS_DELIVERED, webhook_pb2.DELIVERY_STATUS_DEAD)):
        gateway.deliveries[f"dlv_{number}"] = webhook_pb2.WebhookDelivery(delivery_id=f"dlv_{number}", status=status, webhook="shop")
    [dead] = await mesh.webhooks.deliveries(webhook="shop", status=DeliveryStatus.DEAD)
    assert (await mesh.webhooks.replay(dead.id)).status is DeliveryStatus.PENDING
    assert list(await mesh.webhooks.deliveries(status=DeliveryStatus.DEAD)) == []


async def test_a_graph_is_checked_against_the_mesh(gateway: FakeGateway, mesh: Mesh) -> None:
    fine = await mesh.agents.check("agent: a")
    assert (fine.mistakes, fine.broken_runs, fine.checked_runs) == ((), (), 3)
    [broken] = (await mesh.agents.check("breaks")).broken_runs
    assert (broken.run_id, broken.status, broken.problem) == ("run_7", RunStatus.WAITING, "the node is gone")
    [mistake] = (await mesh.agents.check("mistake", source_name="a.yaml")).mistakes
    assert mistake.place == "a.yaml:3: nodes.a.next"

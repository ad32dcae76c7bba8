"""The commands that steer runs and keep threads, schedules and webhooks: what they print where, and how they end."""

from pathlib import Path

import orjson
import pytest
from client_fakes import FakeGateway, question, step, tokens, void
from client_shell import Shell
from plimsoll.orchestrator.v1 import agent_pb2, run_pb2, webhook_pb2
from plimsoll_runtime.errors import Conflict, FieldProblem, Invalid

TEXT = agent_pb2.FileMapping(text_field="message")


@pytest.fixture
def message(tmp_path: Path) -> str:
    path = tmp_path / "message.txt"
    path.write_text("Where is my order?")
    return str(path)


@pytest.fixture
def asking(gateway: FakeGateway) -> FakeGateway:
    gateway.add_agent("support", accepts=TEXT, script=[step("classify"), question("apr_1", {})])
    return gateway


async def test_submit_prints_the_id_alone_and_carries_every_option(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    options = ["--priority", "9", "--thread", "t-1", "--policy", "reject", "--in", "90m", "--deadline", "2d", "--latest", "--tokens"]
    limits = ["--budget", "steps=5", "--budget", "cost=0.05", "--concurrency", "account-7=2", "--key", "ticket-81"]
    assert await plimsoll("runs", "submit", "support", "--input", message, *options, *limits) == 0
    assert (plimsoll.out, plimsoll.err) == ("run_1\n", "")
    kept = asking.runs["run_1"].message.options
    assert (kept.priority, kept.thread_id, kept.thread_policy) == (9, "t-1", run_pb2.THREAD_POLICY_REJECT)
    assert (kept.concurrency_key, kept.concurrency_limit, kept.follow_latest, kept.stream_tokens) == ("account-7", 2, True, True)
    assert (kept.budget.steps, kept.budget.cost_micros) == (5, 50_000)
    assert kept.deadline.seconds - kept.start_time.seconds == 2 * 86_400 - 5400
    assert await plimsoll("runs", "submit", "support", "--input", message, *options, *limits) == 0
    assert plimsoll.out == "run_1\n"


async def test_submit_says_when_the_input_steers_a_run_instead(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    argv = ("runs", "submit", "support", "--input", message, "--thread", "t-1", "--policy", "steer")
    assert await plimsoll(*argv) == 0
    assert await plimsoll(*argv) == 0
    assert plimsoll.out == "run_1\n"
    assert "is under way in thread t-1, and gets the input" in plimsoll.err
    assert await plimsoll(*argv, "--json") == 0
    started = plimsoll.json()
    assert isinstance(started, dict)
    assert (started["steered"], started["created"], started["run"]["id"]) == (True, False, "run_1")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--at", "soon"], "--at: is no time: 'soon'"),
        (["--at", "2027-01-01", "--in", "5m"], "--in: is given beside --at"),
        (["--in", "5"], "--in: is no time"),
        (["--budget", "money=5"], "--budget: is 'money=5'"),
        (["--concurrency", "=5"], "--concurrency: is '=5'"),
        (["--policy", "argue"], "--policy"),
    ],
)
async def test_an_option_that_cannot_be_meant_is_two_and_starts_nothing(
    asking: FakeGateway, plimsoll: Shell, message: str, options: list[str], told: str
) -> None:
    assert await plimsoll("runs", "submit", "support", "--input", message, *options) == 2
    assert told in plimsoll.err
    assert asking.calls == []


async def test_options_that_the_mesh_refuses_are_told_by_field(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    problem = FieldProblem("options.priority", "is 12", "use 1 to 9")
    asking.refusals["SubmitRun"] = [Invalid(problems=[problem], reason="INVALID_OPTIONS")]
    assert await plimsoll("runs", "submit", "support", "--input", message, "--priority", "12") == 2
    assert plimsoll.err == "plimsoll: options.priority: is 12 (use 1 to 9)\n[INVALID_OPTIONS]\n"


async def test_a_run_is_paused_shown_and_resumed(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    await plimsoll("run", "support", "--input", message, "--thread", "t-1", "--detach")
    assert await plimsoll("runs", "pause", "run_1", "--reason", "look first") == 0
    assert plimsoll.out == "run_1 is paused.\n"
    asking.obstacles = [run_pb2.Obstacle(reason="PAUSED", message="ann paused it: look first")]
    assert await plimsoll("runs", "show", "run_1") == 0
    assert "thread t-1" in plimsoll.out
    assert "The run is paused.\n  PAUSED: ann paused it: look first\n" in plimsoll.out
    assert await plimsoll("runs", "list", "--status", "paused") == 0
    assert "run_1" in plimsoll.out
    assert await plimsoll("runs", "resume", "run_1", "--json") == 0
    resumed = plimsoll.json()
    assert isinstance(resumed, dict)
    assert resumed["status"] == "running"
    asking.refusals["PauseRun"] = [Conflict("the run has succeeded already", reason="RUN_FINISHED")]
    assert await plimsoll("runs", "pause", "run_1") == 1
    assert await plimsoll("runs", "pause", "run_9") == 3


async def test_a_signal_brings_json_along(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    await plimsoll("run", "support", "--input", message, "--detach")
    assert await plimsoll("runs", "signal", "run_1", "paid", "--payload", '{"cents": 5}') == 0
    assert plimsoll.out == "sgn_1: paid was sent to run_1.\n"
    assert asking.sent[0].payload.text == '{"cents":5}'
    assert await plimsoll("runs", "signal", "run_1", "paid", "--payload", "yes") == 2
    assert "--payload: is not JSON" in plimsoll.err
    assert len(asking.sent) == 1


async def test_a_fork_and_a_retry_print_the_new_runs_id(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    await plimsoll("run", "support", "--input", message, "--detach")
    assert await plimsoll("runs", "fork", "run_1", "--seq", "2", "--state", '{"tone": null}', "--node", "classify", "--latest") == 0
    assert plimsoll.out == "run_2\n"
    assert (asking.forks[0].seq, asking.forks[0].state.text, asking.forks[0].node) == (2, '{"tone":null}', "classify")
    assert await plimsoll("runs", "show", "run_2") == 0
    assert "forked from run_1 at 2" in plimsoll.out
    assert await plimsoll("runs", "retry", "run_1") == 0
    assert plimsoll.out == "run_3\n"
    assert await plimsoll("runs", "fork", "run_1", "--state", "[]") == 2
    assert await plimsoll("runs", "fork", "run_1", "--seq", "-1") == 2


async def test_a_run_is_explained_and_queried(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    await plimsoll("run", "support", "--input", message, "--detach")
    assert await plimsoll("runs", "explain", "run_1") == 0
    assert (plimsoll.out, plimsoll.err) == ("", "The run waits for nothing.\n")
    asking.obstacles = [run_pb2.Obstacle(reason="THREAD", message="run_0 is under way in its thread", subject="run_0")]
    assert await plimsoll("runs", "explain", "run_1") == 0
    assert plimsoll.out.splitlines()[1].split() == ["THREAD", "run_0", "-", *["run_0", "is", "under", "way", "in", "its", "thread"]]
    asking.queried = {"b": 1, "a": [2]}
    assert await plimsoll("runs", "query", "run_1", "state") == 0
    assert orjson.loads(plimsoll.out) == {"a": [2], "b": 1}
    assert await plimsoll("runs", "query", "run_1", "state", "--json") == 0
    assert plimsoll.json() == {"value": {"b": 1, "a": [2]}, "seq": 3}
    asking.refusals["QueryRun"] = [Invalid(problems=[FieldProblem("expression", "nonsense")], reason="INVALID_EXPRESSION")]
    assert await plimsoll("runs", "query", "run_1", "1 +") == 2


async def test_text_is_shown_as_it_comes_and_what_is_void_is_said(gateway: FakeGateway, plimsoll: Shell, message: str) -> None:
    script = [tokens("say", "Hel"), void("say", attempt=1), tokens("say", "Good\nday", attempt=2), step("say")]
    gateway.add_agent("support", accepts=TEXT, script=script)
    await plimsoll("run", "support", "--input", message, "--detach")
    assert await plimsoll("runs", "follow", "run_1", "--tokens") == 0
    lines = plimsoll.out.splitlines()
    margin = " " * 23
    assert lines[1:5] == [
        f"{margin}say │ Hel",
        f"{margin}say │ the text so far is void: the step is done again",
        f"{margin}say │ Good",
        f"{' ' * 26} │ day",
    ]
    assert [line.split()[0] for line in (lines[0], *lines[5:])] == ["1", "2", "3"]
    assert await plimsoll("runs", "follow", "run_1", "--tokens", "--json") == 0
    told = [orjson.loads(line) for line in plimsoll.out.splitlines()]
    assert [entry["event"]["type"] for entry in told] == [
        "run_started",
        "tokens_received",
        "tokens_retracted",
        "tokens_received",
        "step_finished",
        "run_finished",
    ]
    assert await plimsoll("runs", "follow", "run_1") == 0
    assert "Good" not in plimsoll.out
    assert await plimsoll("runs", "follow", "run_1", "--after", "2") == 0
    assert len(plimsoll.out.splitlines()) == 1


async def test_threads_are_listed_and_shown_with_their_runs(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    assert await plimsoll("threads", "list") == 0
    assert "There are no threads" in plimsoll.err
    await plimsoll("run", "support", "--input", message, "--thread", "t-1", "--detach")
    assert await plimsoll("threads", "list") == 0
    assert "t-1" in plimsoll.out
    assert await plimsoll("threads", "show", "t-1") == 0
    assert '"topic": "tents"' in plimsoll.out
    assert "run_1" in plimsoll.out.splitlines()[-1]
    assert await plimsoll("threads", "show", "t-1", "--json") == 0
    shown = plimsoll.json()
    assert isinstance(shown, dict)
    assert (shown["thread"]["id"], [run["id"] for run in shown["runs"]]) == ("t-1", ["run_1"])
    assert await plimsoll("threads", "show", "t-2") == 3


async def test_a_schedule_is_put_listed_paused_resumed_and_deleted(asking: FakeGateway, plimsoll: Shell, message: str) -> None:
    argv = ["schedules", "put", "nightly", "--agent", "support", "--cron", "0 3 * * *"]
    assert await plimsoll(*argv, "--input", message, "--time-zone", "Europe/Berlin", "--missed", "skip", "--priority", "2") == 0
    assert plimsoll.out.startswith("nightly: next 2026-03-0")
    kept = asking.schedules["nightly"]
    assert (kept.input.text, kept.time_zone, kept.options.priority) == ('{"message":"Where is my order?"}', "Europe/Berlin", 2)
    assert await plimsoll("schedules", "list") == 0
    assert "0 3 * * *" in plimsoll.out
    assert await plimsoll("schedules", "show", "nightly") == 0
    assert "missed times: skip" in plimsoll.out
    assert await plimsoll("schedules", "pause", "nightly") == 0
    assert plimsoll.out == "nightly: next paused\n"
    assert asking.schedules["nightly"].paused
    assert asking.schedules["nightly"].input == kept.input
    assert await plimsoll("schedules", "resume", "nightly") == 0
    assert not asking.schedules["nightly"].paused
    assert await plimsoll("schedules", "delete", "nightly") == 0
    assert asking.schedules == {}
    assert await plimsoll("schedules", "show", "nightly") == 3


async def test_a_webhooks_secret_goes_to_standard_output_alone_and_once(gateway: FakeGateway, plimsoll: Shell) -> None:
    argv = ["webhooks", "put", "shop", "--url", "https://shop.example/hook", "--on", "failed", "--on", "cancelled"]
    assert await plimsoll(*argv) == 0
    assert plimsoll.out == "whsec_bmV3\n"
    assert "shown this once" in plimsoll.err
    assert list(gateway.webhooks["shop"].statuses) == [run_pb2.RUN_STATUS_FAILED, run_pb2.RUN_STATUS_CANCELLED]
    assert await plimsoll(*argv) == 0
    assert plimsoll.out == ""
    assert await plimsoll(*argv, "--rotate", "--json") == 0
    rotated = plimsoll.json()
    assert isinstance(rotated, dict)
    assert rotated["secret"] == "whsec_bmV3"
    assert await plimsoll("webhooks", "list") == 0
    assert "whsec" not in plimsoll.out
    assert "https://shop.example/hook" in plimsoll.out
    assert await plimsoll("webhooks", "delete", "shop") == 0
    assert gateway.webhooks == {}


async def test_dead_letters_are_listed_and_replayed(gateway: FakeGateway, plimsoll: Shell) -> None:
    gateway.deliveries["dlv_1"] = webhook_pb2.WebhookDelivery(
        delivery_id="dlv_1", webhook="shop", run_id="run_1", status=webhook_pb2.DELIVERY_STATUS_DEAD, attempts=8, last_result="503"
    )
    assert await plimsoll("webhooks", "deliveries", "--status", "dead") == 0
    assert plimsoll.out.splitlines()[1].split() == ["dlv_1", "shop", "run_1", "dead", "8", "-", "503"]
    assert await plimsoll("webhooks", "replay", "dlv_1") == 0
    assert plimsoll.out == "dlv_1 is pending.\n"
    assert await plimsoll("webhooks", "replay", "dlv_9") == 3


async def test_a_dry_run_tells_mistakes_and_broken_runs_by_its_exit_code(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    graph = tmp_path / "agent.yaml"
    graph.write_text("agent: a\n")
    assert await plimsoll("agents", "dry-run", str(graph)) == 0
    assert "All unfinished runs could go on under it (3 looked at)." in plimsoll.out
    graph.write_text("agent: breaks\n")
    assert await plimsoll("agents", "dry-run", str(tmp_path)) == 1
    assert "It would break 1 of 3 unfinished runs" in plimsoll.out
    assert plimsoll.out.splitlines()[-1].split() == ["run_7", "waiting", "ask", "the", "node", "is", "gone"]
    graph.write_text("agent: mistake\n")
    assert await plimsoll("agents", "dry-run", str(graph)) == 2
    assert "agent.yaml:3: nodes.a.next: names no node (name one)" in plimsoll.err
    assert await plimsoll("agents", "dry-run", str(graph), "--json") == 2
    checked = plimsoll.json()
    assert isinstance(checked, dict)
    assert checked["mistakes"][0]["remedy"] == "name one"
    assert await plimsoll("agents", "dry-run", str(tmp_path / "none.yaml")) == 2
    assert "RegisterAgent" not in gateway.calls


GRAPH = """
agent: a
input: {type: object}
state: {type: object, properties: {found: {type: object}, text: {type: string}}}
start: look
output: {}
nodes:
  look: {tool: {name: look_up, arguments: {}}, next: search}
  search: {retrieve: {collection: nowhere, query: "'x'"}, next: talk}
  talk: {agent: {prompt: unheard-of, tools: [other_*], turns: 2}, next: end}
"""


async def test_what_a_graph_names_and_the_mesh_does_not_have_is_told(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(GRAPH)
    for argv in (("agents", "apply", str(tmp_path)), ("agents", "dry-run", str(tmp_path))):
        assert await plimsoll(*argv) == 0
        told = [line.partition(", which")[0] for line in plimsoll.err.splitlines() if line.startswith("warning: ")]
        assert told == [
            "warning: a: node look names the tool look_up",
            "warning: a: node search names the collection nowhere",
            "warning: a: node talk names the prompt unheard-of",
            "warning: a: node talk names the tool other_*",
        ]


async def test_a_graph_in_python_is_looked_at_as_one_in_yaml(gateway: FakeGateway, plimsoll: Shell, tmp_path: Path) -> None:
    file = tmp_path / "agent.py"
    file.write_text(
        "from plimsoll_graph import builder as b\n"
        "agent = b.Agent(agent='a', input={'type': 'object'}, state={'type': 'object', 'properties': {'n': {'type': 'integer'}}},\n"
        "    start='one', nodes={'one': b.Node(kind=b.Set(fields={'n': '1'}), next='end')})\n"
    )
    assert await plimsoll("agents", "dry-run", str(file)) == 0
    assert "It could be registered" in plimsoll.out
    file.write_text("x = 1\n")
    assert await plimsoll("agents", "dry-run", str(file)) == 2
    assert "defines no `agent`" in plimsoll.err


@pytest.mark.parametrize(
    "argv",
    [("threads", "list"), ("schedules", "list"), ("webhooks", "list"), ("webhooks", "deliveries"), ("runs", "list", "--thread", "t")],
)
async def test_an_empty_list_is_a_sentence_for_people_and_empty_for_programs(
    gateway: FakeGateway, plimsoll: Shell, argv: tuple[str, ...]
) -> None:
    assert await plimsoll(*argv) == 0
    assert plimsoll.out == ""
    assert plimsoll.err.strip()
    assert await plimsoll(*argv, "--json") == 0
    assert plimsoll.json() == []

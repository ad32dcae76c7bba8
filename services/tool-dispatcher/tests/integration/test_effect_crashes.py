"""The effect table with real deaths: the dispatcher is killed with SIGKILL, and the upstream dies before, during and after acting.

The upstream is a process of its own that a tool calls over HTTP; it writes down what it did, under the key that it was given, and dies at
the place that the test chose. What it did is what counts.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from plimsoll.common.v1 import failure_pb2
from plimsoll_runtime.errors import PlimsollError
from plimsoll_testkit.ports import free_port
from plimsoll_testkit.waiting import eventually
from tool_dispatcher_crashing import Process, dispatcher

pytestmark = pytest.mark.crash

EFFECTS = ("read_only", "idempotent", "keyed", "non_idempotent")
REPEATABLE = EFFECTS[:3]
PATIENT_S = 60.0  # processes start slowly on a busy machine
UNKNOWN = failure_pb2.FAILURE_CATEGORY_OUTCOME_UNKNOWN

UPSTREAM = '''
"""Acts when it is asked to, and dies where a file beside it says: before, during (acted, no answer) or after (half an answer)."""
import os, signal, socket, sys, time
from pathlib import Path

home = Path(sys.argv[2])
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    client, _ = server.accept()
    text = client.recv(65536).decode()
    key = text.split("x-key: ")[1].split("\\r\\n")[0]
    if "GET /became" in text:
        done = (home / "acted").exists() and key in (home / "acted").read_text().split()
        body = '{"acted": %s, "result": {"done": "%s"}}' % (("true" if done else "false"), key)
    else:
        die = home / "die"
        where = die.read_text() if die.exists() else ""
        die.unlink(missing_ok=True)  # once: whoever takes over lives
        if where == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with (home / "acted").open("a") as acted:
            acted.write(key + "\\n"); acted.flush(); os.fsync(acted.fileno())
        if where == "during":
            os.kill(os.getpid(), signal.SIGKILL)
        body = '{"done": "%s"}' % key
        if where == "hang":
            time.sleep(60)
    answer = "HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)
    if "GET /became" not in text and where == "after":
        client.sendall(answer.encode()[:-5]); os.kill(os.getpid(), signal.SIGKILL)
    client.sendall(answer.encode())
    client.close()
'''

HANDLERS = """
import asyncio, json
from plimsoll_tool_dispatcher.handler import ToolUnavailable

async def ask(port, line, key):
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            if line.startswith("GET"):
                raise ToolUnavailable("REFUSED", "nobody listens")
            await asyncio.sleep(0.05)
    else:
        raise ToolUnavailable("REFUSED", "nobody listens")
    try:
        writer.write(f"{line} HTTP/1.1\\r\\nhost: x\\r\\nx-key: {key}\\r\\n\\r\\n".encode())
        text = (await reader.read()).decode()
    finally:
        writer.close()
    head, _, body = text.partition("\\r\\n\\r\\n")
    if not body or len(body) < int(head.lower().split("content-length: ")[1].split()[0]):
        raise ConnectionError("the answer was cut")
    return json.loads(body)

async def act(arguments, context):
    return await ask(arguments["port"], "POST /act", context.call_key)

async def became(arguments, context):
    return await ask(arguments["arguments"]["port"], "GET /became", arguments["call_key"])

"""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A service that tools call; `supervisor` starts it again when it died, as a platform would."""

    home: Path
    port: int
    children: list[asyncio.subprocess.Process]

    def dies(self, where: str) -> None:
        (self.home / "die").write_text(where)

    @property
    def acted(self) -> list[str]:
        return (self.home / "acted").read_text().split() if (self.home / "acted").exists() else []

    @property
    def deaths(self) -> int:
        return sum(child.returncode is not None for child in self.children)


@asynccontextmanager
async def running_upstream(home: Path) -> AsyncIterator[Upstream]:
    port = free_port()
    (home / "upstream.py").write_text(UPSTREAM)
    upstream = Upstream(home=home, port=port, children=[])

    async def supervise() -> None:
        while True:
            child = await asyncio.create_subprocess_exec(sys.executable, str(home / "upstream.py"), str(port), str(home))
            upstream.children.append(child)
            await child.wait()

    async with asyncio.TaskGroup() as group:
        supervisor = group.create_task(supervise())
        try:
            await eventually(lambda: _listens(port))
            yield upstream
        finally:
            supervisor.cancel()
            for child in upstream.children:
                if child.returncode is None:
                    child.kill()
                    await child.wait()


def _listens(port: int) -> bool:
    """Asks something harmless, so that the upstream is done with the connection."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
        probe.sendall(b"GET /became HTTP/1.1\r\nx-key: probe\r\n\r\n")
        return bool(probe.recv(1024))


def write_tools(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["category: acts", "tools:"]
    names = [f"act_{effect}" for effect in EFFECTS] + ["act_reconciled"]
    for name in names:
        effect = name.removeprefix("act_") if name != "act_reconciled" else "non_idempotent"
        reconcile = ", reconcile: became" if name == "act_reconciled" else ""
        lines.append(
            f'  - {{name: {name}, version: "1", description: Acts, arguments: {{type: object, required: [port]}}, '
            f"result: {{type: object, required: [done]}}, effect: {effect}, risk: low, timeout: 20s, "
            f"retry: {{attempts: 5, backoff: 100ms}}{reconcile}}}"
        )
    lines.append(
        '  - {name: became, version: "1", description: Says what became of a call, arguments: {type: object}, result: {}, '
        "effect: read_only, risk: low, timeout: 5s}"
    )
    (directory / "acts.yaml").write_text("\n".join(lines))
    (directory / "acts.py").write_text(HANDLERS + "\n".join(f"{name} = act" for name in names))
    code = (directory / "acts.py").read_text()
    for name in names:  # a tool is a function of its own name
        code = code.replace(f"{name} = act", f"async def {name}(arguments, context): return await act(arguments, context)")
    (directory / "acts.py").write_text(code)


@pytest.fixture
def acts(tmp_path: Path) -> Path:
    write_tools(tmp_path / "acts")
    return tmp_path / "acts"


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    async with running_upstream(tmp_path) as one:
        yield one


@pytest.fixture
async def one(postgres_dsn: str, nats_url: str, redis_url: str, acts: Path) -> AsyncIterator[Process]:
    async with dispatcher(postgres_dsn, nats_url, redis_url, acts) as process:
        yield process


@pytest.mark.parametrize("effect", REPEATABLE)
@pytest.mark.parametrize("where", ["before", "during", "after"])
async def test_an_upstream_that_dies_is_asked_again_with_the_same_key(effect: str, where: str, one: Process, upstream: Upstream) -> None:
    upstream.dies(where)
    response = await one.client.dispatch(f"act_{effect}", {"port": upstream.port}, cap_s=PATIENT_S)
    assert (response.result.text, response.attempts) == ('{"done":"key_1"}', 2)
    assert upstream.acted == ["key_1"] * (1 if where == "before" else 2)
    assert upstream.deaths == 1


@pytest.mark.parametrize("where", ["before", "during", "after"])
async def test_an_upstream_that_dies_leaves_a_non_idempotent_call_unknown_and_unrepeated(
    where: str, one: Process, upstream: Upstream
) -> None:
    upstream.dies(where)
    for repeat in range(2):
        response = await one.client.dispatch("act_non_idempotent", {"port": upstream.port}, epoch=repeat + 1)
        assert (response.failure.category, response.recorded) == (UNKNOWN, repeat == 1)
    assert upstream.acted == ([] if where == "before" else ["key_1"])


@pytest.mark.parametrize("where", ["during", "after"])
async def test_an_upstream_that_can_say_what_it_did_settles_the_doubt(where: str, one: Process, upstream: Upstream) -> None:
    upstream.dies(where)
    response = await one.client.dispatch("act_reconciled", {"port": upstream.port}, cap_s=PATIENT_S)
    if response.HasField("failure"):  # it was not up again when it was asked: the sweeper asks until it is
        assert response.failure.category == UNKNOWN
        await eventually(lambda: _settled(one, upstream), within_s=60)
    assert upstream.acted == ["key_1"]
    again = await one.client.dispatch("act_reconciled", {"port": upstream.port}, cap_s=PATIENT_S)
    assert (again.result.text, again.recorded) == ('{"done":"key_1"}', True)


async def _settled(one: Process, upstream: Upstream) -> bool:
    response = await one.client.dispatch("act_reconciled", {"port": upstream.port}, cap_s=PATIENT_S)
    return response.HasField("result")


@pytest.mark.parametrize("effect", EFFECTS)
async def test_x01_x02_x03_a_dispatcher_killed_while_the_upstream_acts(
    effect: str, postgres_dsn: str, nats_url: str, redis_url: str, acts: Path, upstream: Upstream
) -> None:
    upstream.dies("hang")
    async with dispatcher(postgres_dsn, nats_url, redis_url, acts) as first:
        asked = asyncio.get_running_loop().create_task(first.client.dispatch(f"act_{effect}", {"port": upstream.port}, cap_s=PATIENT_S))
        await eventually(lambda: upstream.acted)
        await first.kill()
        await asyncio.wait([asked])
        assert isinstance(asked.exception(), PlimsollError)
    upstream.children[-1].kill()  # it hung with its answer; a fresh one takes over
    async with dispatcher(postgres_dsn, nats_url, redis_url, acts) as second:
        response = await second.client.dispatch(f"act_{effect}", {"port": upstream.port}, epoch=2, cap_s=PATIENT_S)
    if effect == "non_idempotent":
        assert response.failure.category == UNKNOWN
        assert upstream.acted == ["key_1"]
    else:
        assert response.result.text == '{"done":"key_1"}'
        assert upstream.acted == ["key_1", "key_1"]


async def test_x02_what_a_killed_dispatcher_left_is_found_out_without_acting_again(
    postgres_dsn: str, nats_url: str, redis_url: str, acts: Path, upstream: Upstream
) -> None:
    upstream.dies("hang")
    async with dispatcher(postgres_dsn, nats_url, redis_url, acts) as first:
        asked = asyncio.get_running_loop().create_task(first.client.dispatch("act_reconciled", {"port": upstream.port}, cap_s=PATIENT_S))
        await eventually(lambda: upstream.acted)
        await first.kill()
        await asyncio.wait([asked])
        asked.exception()
    upstream.children[-1].kill()
    async with dispatcher(postgres_dsn, nats_url, redis_url, acts) as second:
        await eventually(lambda: _settled(second, upstream))
    assert upstream.acted == ["key_1"]


@pytest.mark.parametrize("effect", EFFECTS)
async def test_x07_a_dispatcher_that_was_paused_past_its_lease_is_fenced_off(
    effect: str, postgres_dsn: str, nats_url: str, redis_url: str, acts: Path, upstream: Upstream
) -> None:
    upstream.dies("hang")
    async with (
        dispatcher(postgres_dsn, nats_url, redis_url, acts) as first,
        dispatcher(postgres_dsn, nats_url, redis_url, acts) as second,
    ):
        asked = asyncio.get_running_loop().create_task(first.client.dispatch(f"act_{effect}", {"port": upstream.port}, cap_s=PATIENT_S))
        await eventually(lambda: upstream.acted)
        paused = psutil.Process(first.pid)
        paused.send_signal(signal.SIGSTOP)
        hung = upstream.children[-1]
        hung.kill()
        response = await second.client.dispatch(f"act_{effect}", {"port": upstream.port}, epoch=2, cap_s=PATIENT_S)
        paused.send_signal(signal.SIGCONT)
        late = await asyncio.gather(asked, return_exceptions=True)
        final = await second.client.dispatch(f"act_{effect}", {"port": upstream.port}, epoch=2, cap_s=PATIENT_S)
    assert final.recorded
    if effect == "non_idempotent":
        assert (response.failure.category, final.failure.category) == (UNKNOWN, UNKNOWN)
        assert upstream.acted == ["key_1"]
    else:
        assert response.HasField("result"), response
        assert response.result.text == final.result.text == '{"done":"key_1"}'
    [answer] = late
    if not isinstance(answer, BaseException):  # it woke up, lost its claim, and tells what its successor recorded
        assert answer.SerializeToString(deterministic=True)
        assert answer.result.text == final.result.text

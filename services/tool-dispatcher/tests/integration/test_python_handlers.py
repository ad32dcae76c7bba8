"""Python handlers in real worker processes, friendly and hostile ones."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.adapters.python_handlers.code import CategoryCode, category_code
from plimsoll_tool_dispatcher.adapters.python_handlers.executor import PythonHandlers
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import Limits
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Stopped
from plimsoll_tool_dispatcher.ports import Executor
from tool_dispatcher_behaviour import HANDLER_NAMES, HANDLERS, ExecutorBehaviour, invocation
from tool_dispatcher_hostile import NAMES, WORK
from tool_dispatcher_samples import tool

PATH = "/tools/shop.py"
SECRET = "postgresql://shop:hunter22@db/shop"
ENVIRONMENT = {**os.environ, "PLIMSOLL_TOOL_DISPATCHER_POSTGRES_DSN": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET}
LIMITS = Limits(memory_bytes=512 * 1024 * 1024, result_bytes=100_000, load_s=120, environment=ENVIRONMENT)


class Shelf:
    """One file of code that a test can exchange."""

    def __init__(self) -> None:
        self.present: CategoryCode | None = None

    def put(self, text: str, *functions: str, missing: tuple[str, ...] = (), path: str = PATH) -> CategoryCode:
        secrets = {"shop_database": SECRET}
        self.present = category_code(path=path, category="shop", text=text, functions=functions, credentials=secrets, missing=missing)
        return self.present

    def code(self, path: str) -> CategoryCode | None:
        return self.present


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def handlers(shelf: Shelf) -> AsyncIterator[PythonHandlers]:
    async with PythonHandlers(shelf, LIMITS, logs.get("test")) as handlers:
        yield handlers


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    lines: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record)

    keep = Keep()
    logger = logging.getLogger("plimsoll.test")
    logger.addHandler(keep)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(keep)


class TestPythonHandlers(ExecutorBehaviour):
    @pytest.fixture
    def path(self) -> str:
        return PATH

    @pytest.fixture
    def executor(self, handlers: PythonHandlers, shelf: Shelf) -> Executor:
        shelf.put(HANDLERS, *HANDLER_NAMES)
        return handlers


async def run(
    handlers: PythonHandlers, name: str, *, timeout_s: float = 60.0, effect: EffectClass = EffectClass.KEYED, **words: str
) -> Attempt:
    return await handlers.execute(tool(effect, name=name, path=PATH), invocation(timeout_s=timeout_s, **words))


def children() -> list[psutil.Process]:
    """The worker processes that live."""
    living = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile, or a zombie about to be buried
            if "python_handlers.child" in " ".join(child.cmdline()):
                living.append(child)
    return living


def stopped(attempt: Attempt) -> tuple[Category, str, Mishap | None]:
    assert isinstance(attempt, Stopped)
    return attempt.failure.category, attempt.failure.reason, attempt.mishap


@pytest.fixture
def work(shelf: Shelf) -> CategoryCode:
    return shelf.put(WORK, *NAMES)


async def pid_of(handlers: PythonHandlers) -> int:
    attempt = await run(handlers, "pid")
    assert isinstance(attempt, Answered)
    assert isinstance(attempt.result, dict)
    pid = attempt.result["pid"]
    assert isinstance(pid, int)
    return pid


pytestmark = pytest.mark.usefixtures("work")


async def test_no_process_runs_before_the_first_call_and_one_serves_many(handlers: PythonHandlers) -> None:
    assert children() == []
    pids = {await pid_of(handlers) for _ in range(3)} | {child.pid for child in children()}
    assert len(pids) == 1


async def test_setup_runs_once_before_the_first_calls(handlers: PythonHandlers) -> None:
    attempts = await asyncio.gather(*(run(handlers, "pid") for _ in range(5)))
    assert {attempt.result["setups"] for attempt in attempts if isinstance(attempt, Answered)} == {1}  # type: ignore[index, call-overload]


async def test_a_worker_gets_its_credentials_and_nothing_else_of_ours(handlers: PythonHandlers) -> None:
    attempt = await run(handlers, "environment")
    assert isinstance(attempt, Answered)
    assert isinstance(attempt.result, dict)
    assert attempt.result["credentials"] == {"shop_database": SECRET}
    assert attempt.result["file"] == PATH
    assert SECRET not in str(attempt.result["env"]) + str(attempt.result["argv"])
    [child] = children()
    assert SECRET not in str(child.environ()) + str(child.cmdline())
    assert not [name for name in child.environ() if name.startswith(("PLIMSOLL", "AWS"))]


async def test_calls_run_side_by_side_in_one_process(handlers: PythonHandlers) -> None:
    await pid_of(handlers)
    attempts = await asyncio.gather(*(run(handlers, "meet", guests="20") for _ in range(20)))
    assert all(isinstance(attempt, Answered) for attempt in attempts)


async def test_a_handler_that_blocks_is_killed_and_the_next_call_gets_a_new_process(handlers: PythonHandlers) -> None:
    before = await pid_of(handlers)
    assert stopped(await run(handlers, "block", timeout_s=0.3)) == (Category.TIMEOUT, "TOOL_TIMEOUT", Mishap.LOST)
    assert await pid_of(handlers) != before


async def test_the_neighbours_of_a_killed_call_are_told(handlers: PythonHandlers) -> None:
    await pid_of(handlers)
    neighbour, _ = await asyncio.gather(run(handlers, "nap", seconds="30"), run(handlers, "block", timeout_s=0.3))
    assert stopped(neighbour) == (Category.TOOL_ERROR, "WORKER_DIED", Mishap.LOST)


async def test_a_handler_that_ignores_its_cancellation_is_killed(handlers: PythonHandlers) -> None:
    before = await pid_of(handlers)
    assert stopped(await run(handlers, "stubborn", timeout_s=0.3)) == (Category.TIMEOUT, "TOOL_TIMEOUT", Mishap.LOST)
    assert await pid_of(handlers) != before


async def test_a_handler_that_obeys_its_cancellation_keeps_its_process(handlers: PythonHandlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_tool_dispatcher.adapters.python_handlers.worker._STOP_GRACE_S", 60.0)  # it obeys, but on a slow machine
    before = await pid_of(handlers)
    assert stopped(await run(handlers, "nap", timeout_s=0.3, seconds="30")) == (Category.TIMEOUT, "TOOL_TIMEOUT", Mishap.LOST)
    assert await pid_of(handlers) == before


async def test_a_handler_that_eats_memory_meets_the_limit_and_its_process_is_replaced(handlers: PythonHandlers) -> None:
    before = await pid_of(handlers)
    assert stopped(await run(handlers, "eat")) == (Category.TOOL_ERROR, "OUT_OF_MEMORY", None)
    assert await pid_of(handlers) != before
    await eventually(lambda: len(children()) == 1)


async def test_a_handler_that_eats_memory_and_may_have_acted_leaves_a_doubt(handlers: PythonHandlers) -> None:
    assert stopped(await run(handlers, "eat", effect=EffectClass.NON_IDEMPOTENT)) == (Category.TOOL_ERROR, "OUT_OF_MEMORY", Mishap.LOST)


async def test_what_a_handler_prints_is_logged_within_bounds_without_secrets_and_breaks_nothing(
    handlers: PythonHandlers, logged: list[logging.LogRecord]
) -> None:
    assert await run(handlers, "print_garbage") == Answered(result={"said": True})
    await pid_of(handlers)
    lines = [record.fields["line"] for record in logged if record.getMessage() == "tool.output"]  # type: ignore[attr-defined]
    assert 1 <= len(lines) < 100
    assert all(len(line) <= 500 and SECRET not in line for line in lines)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("odd", "RESULT_NOT_JSON"),
        ("not_finite", "RESULT_NOT_JSON"),
        ("surrogate", "RESULT_NOT_JSON"),
        ("large_number", "RESULT_NOT_JSON"),
        ("huge", "RESULT_TOO_LARGE"),
    ],
)
async def test_a_result_that_cannot_travel_is_malformed(handlers: PythonHandlers, name: str, reason: str) -> None:
    before = await pid_of(handlers)
    assert stopped(await run(handlers, name)) == (Category.MALFORMED_RESULT, reason, None)
    assert await pid_of(handlers) == before


async def test_a_process_killed_in_mid_call_loses_the_call_and_is_replaced(handlers: PythonHandlers, tmp_path: Path) -> None:
    before, note = await pid_of(handlers), tmp_path / "note"
    async with asyncio.TaskGroup() as group:
        call = group.create_task(run(handlers, "nap", seconds="30", note=str(note)))
        await eventually(note.exists)
        os.kill(before, signal.SIGKILL)
    assert stopped(call.result()) == (Category.TOOL_ERROR, "WORKER_DIED", Mishap.LOST)
    assert await pid_of(handlers) != before


async def test_a_handler_that_kills_its_process_loses_its_call(handlers: PythonHandlers) -> None:
    assert stopped(await run(handlers, "die")) == (Category.TOOL_ERROR, "WORKER_DIED", Mishap.LOST)
    assert await pid_of(handlers)


async def test_a_handler_that_exits_does_not_end_its_process(handlers: PythonHandlers) -> None:
    before = await pid_of(handlers)
    assert stopped(await run(handlers, "leave")) == (Category.TOOL_ERROR, "HANDLER_RAISED", None)
    assert await pid_of(handlers) == before


async def test_a_broken_connection_is_lost_and_its_text_is_not_shown(handlers: PythonHandlers) -> None:
    attempt = await run(handlers, "reset")
    assert stopped(attempt) == (Category.UPSTREAM_UNAVAILABLE, "CONNECTION_BROKEN", Mishap.LOST)
    assert isinstance(attempt, Stopped)
    assert attempt.failure.message.startswith("the connection to the upstream broke: ConnectionResetError at line ")


async def test_an_error_names_its_line_and_keeps_arguments_to_itself(handlers: PythonHandlers) -> None:
    attempt = await run(handlers, "spill", word="confidential")
    assert isinstance(attempt, Stopped)
    line = next(number for number, text in enumerate(WORK.splitlines(), 1) if text.startswith("async def spill"))
    assert attempt.failure.message == f"the tool raised ValueError at line {line}"


async def test_secrets_are_masked_in_what_a_handler_tells(handlers: PythonHandlers) -> None:
    attempt = await run(handlers, "tell")
    assert isinstance(attempt, Stopped)
    assert attempt.failure.message == "cannot use •••"


async def test_what_authors_say_is_made_fit_to_be_stored(handlers: PythonHandlers) -> None:
    rejected, unavailable = await run(handlers, "zero"), await run(handlers, "later")
    assert isinstance(rejected, Stopped)
    assert isinstance(unavailable, Stopped)
    assert (rejected.failure.reason, rejected.failure.message) == ("UNSPECIFIED", "a\N{REPLACEMENT CHARACTER}b")
    assert unavailable.failure.retry_after_s is None


async def test_changed_code_runs_in_a_new_process_while_calls_in_the_old_one_finish(
    handlers: PythonHandlers, shelf: Shelf, tmp_path: Path
) -> None:
    before, note = await pid_of(handlers), tmp_path / "note"
    async with asyncio.TaskGroup() as group:
        old = group.create_task(run(handlers, "nap", seconds="2", note=str(note)))
        await eventually(note.exists)
        shelf.put(WORK + "\n# changed", *NAMES)
        after = await pid_of(handlers)
        assert (after != before, old.done()) == (True, False)
    assert old.result() == Answered(result={"napped": "2"})
    await eventually(lambda: [child.pid for child in children()] == [after])


async def test_a_missing_credential_is_told_by_name(handlers: PythonHandlers, shelf: Shelf) -> None:
    shelf.put(WORK, *NAMES, missing=("billing_key",))
    attempt = await run(handlers, "pid")
    assert stopped(attempt) == (Category.TOOL_ERROR, "CREDENTIAL_MISSING", None)
    assert "billing_key" in str(attempt)
    assert children() == []


async def test_a_file_that_went_away_was_never_called(handlers: PythonHandlers, shelf: Shelf) -> None:
    shelf.present = None
    assert stopped(await run(handlers, "pid")) == (Category.UNKNOWN_TOOL, "HANDLERS_GONE", Mishap.REFUSED)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError at line 1"),
        ("x = 1\n\nraise SystemExit(0)", "SystemExit at line 3"),
        ("pid = 7", "has no async function pid"),
        ("import os\nos._exit(0)", "ended the process"),
        ("import os\nos.close(int(__import__('sys').argv[1]))", "ended the process"),
    ],
)
async def test_code_that_does_not_load_is_told_with_its_line(handlers: PythonHandlers, shelf: Shelf, text: str, problem: str) -> None:
    code = shelf.put(text, "pid")
    attempt = await run(handlers, "pid")
    assert stopped(attempt) == (Category.TOOL_ERROR, "HANDLERS_NOT_LOADED", None)
    assert isinstance(attempt, Stopped)
    assert problem in attempt.failure.message
    assert problem in await handlers.check(code)
    await eventually(lambda: children() == [])


async def test_code_can_be_tried_without_a_call(handlers: PythonHandlers, work: CategoryCode) -> None:
    assert await handlers.check(work) == ""
    await eventually(lambda: children() == [])


async def test_code_that_loads_for_ever_is_given_up(shelf: Shelf) -> None:
    impatient = Limits(memory_bytes=LIMITS.memory_bytes, result_bytes=1000, load_s=0.5, environment=ENVIRONMENT)
    code = shelf.put("import time\ntime.sleep(60)", "pid")
    async with PythonHandlers(shelf, impatient, logs.get("test")) as handlers:
        assert "did not load within 0.5 s" in await handlers.check(code)
        assert stopped(await run(handlers, "pid", timeout_s=0.1)) == (Category.TIMEOUT, "WORKER_NOT_READY", Mishap.REFUSED)
    assert children() == []


async def test_a_setup_that_fails_says_that_nothing_was_done_and_is_tried_again(handlers: PythonHandlers, shelf: Shelf) -> None:
    text = "tries = []\nasync def setup(context):\n    tries.append(1)\n    if len(tries) < 3: raise OSError('no')\nasync def pid(a, c): return len(tries)"
    shelf.put(text, "pid")
    for _ in range(2):
        assert stopped(await run(handlers, "pid")) == (Category.UPSTREAM_UNAVAILABLE, "SETUP_FAILED", Mishap.NOT_ACTED)
    assert await run(handlers, "pid") == Answered(result=3)


async def test_nothing_is_left_running_at_the_end(shelf: Shelf) -> None:
    async with PythonHandlers(shelf, LIMITS, logs.get("test")) as handlers:
        attempt = await run(handlers, "fork")
        assert isinstance(attempt, Answered)
        assert isinstance(attempt.result, int)
        assert psutil.pid_exists(attempt.result)
    assert children() == []
    gone = attempt.result
    await eventually(lambda: not psutil.pid_exists(gone) or psutil.Process(gone).status() == psutil.STATUS_ZOMBIE)


async def test_a_call_whose_caller_goes_away_is_stopped(handlers: PythonHandlers, tmp_path: Path, shelf: Shelf) -> None:
    note = tmp_path / "note"
    text = (
        "import asyncio, pathlib\n"
        "async def pid(a, c):\n"
        "    path = pathlib.Path(a['path'])\n"
        "    try:\n        path.write_text('begun'); await asyncio.sleep(60)\n"
        "    finally:\n        path.write_text('stopped')\n"
    )
    shelf.put(text, "pid")
    call = asyncio.get_running_loop().create_task(run(handlers, "pid", path=str(note)))
    await eventually(lambda: note.exists() and note.read_text() == "begun")
    call.cancel()
    await eventually(lambda: note.read_text() == "stopped")
    await asyncio.wait([call])
    assert call.cancelled()

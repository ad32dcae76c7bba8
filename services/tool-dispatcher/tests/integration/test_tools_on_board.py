"""The tools on board and a declared source in the running service, in real worker processes."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.config import Settings
from tool_dispatcher_running import Client, running

ON_BOARD = Path(__file__).resolve().parents[4] / "deploy" / "tools"


@pytest.fixture
async def on_board(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Client, Path]]:
    folder, credentials = tmp_path / "tools", tmp_path / "secrets"
    shutil.copytree(ON_BOARD, folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    credentials.mkdir()
    given = {"workspace_directory": str(tmp_path / "workspaces"), "smtp_server": "smtp://127.0.0.1:1/a@b.example"}
    for name, value in (given | {"mail_recipients": "allow: *"}).items():
        (credentials / name).write_text(value)
    async with running(replace(settings, tool_dirs=(str(folder),), credentials_dir=str(credentials))) as client:
        yield client, folder


async def test_a_file_that_one_tool_writes_another_one_reads(on_board: tuple[Client, Path]) -> None:
    client, _ = on_board
    text = "a,b\n1,2\n"
    written = await client.dispatch("file_write", {"path": "t.csv", "text": text}, key="key_1")
    assert orjson.loads(written.result.text)["bytes"] == len(text)
    summed = await client.dispatch("sheet_summary", {"path": "t.csv"}, key="key_2")
    assert orjson.loads(summed.result.text)["rows"] == 1
    other = await client.dispatch("file_read", {"path": "t.csv"}, key="key_3", tenant="umbrella", run_id="run_2")
    assert other.failure.reason == "NO_SUCH_FILE"


async def test_sums_are_right_and_a_bomb_is_refused(on_board: tuple[Client, Path]) -> None:
    client, _ = on_board
    right = await client.dispatch("calculate", {"expression": "0.1 + 0.2"}, key="key_1")
    assert orjson.loads(right.result.text) == {"value": "0.3", "exact": True}
    bomb = await client.dispatch("calculate", {"expression": "9**9**9**9"}, key="key_2")
    assert bomb.failure.reason == "NOT_AN_EXPRESSION"


async def test_what_lacks_its_credential_says_so_and_hides_nothing(on_board: tuple[Client, Path]) -> None:
    client, _ = on_board
    refused = await client.dispatch("web_fetch", {"url": "https://example.com/"}, key="key_1")
    assert refused.failure.reason == "CREDENTIAL_MISSING"


async def test_deleting_and_mailing_wait_for_a_person(on_board: tuple[Client, Path]) -> None:
    client, _ = on_board
    for number, (name, arguments) in enumerate(
        (("file_delete", {"path": "a"}), ("mail_send", {"to": ["ann@example.com"], "subject": "x", "text": "y"}))
    ):
        asked = await client.dispatch(name, arguments, key=f"key_{number}")
        assert asked.WhichOneof("outcome") == "approval_required"


async def test_an_api_that_is_declared_while_the_service_runs_can_be_called(on_board: tuple[Client, Path]) -> None:
    client, folder = on_board
    async with HostileHttp().serving() as server:
        (folder / "sources" / "city.json").write_bytes(
            orjson.dumps({"openapi": "3.1.0", "paths": {"/echo": {"get": {"operationId": "echo"}, "post": {"operationId": "change"}}}})
        )
        (folder / "sources" / "city.yaml").write_text(
            f"source: city\nkind: openapi\ndocument: city.json\nserver: {server.url}\noperations: {{echo: {{}}, change: {{}}}}\n"
            "networks: [127.0.0.1/32]\n"
        )

        async def called() -> bool:
            answer = await client.dispatch("city_echo", {}, key="key_echo")
            assert answer.WhichOneof("outcome") == "result", answer.failure
            return True

        assert await eventually(called)
        asked = await client.dispatch("city_change", {}, key="key_change")
        assert asked.WhichOneof("outcome") == "approval_required"
        assert server.paths() == ["/echo"]

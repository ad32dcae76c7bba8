"""The tools of the example agents, as they are deployed: every file is good, every category loads, and they do what they say."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from plimsoll.common.v1 import failure_pb2
from plimsoll_runtime import logs
from plimsoll_runtime.json_types import parse_object
from plimsoll_tool_dispatcher.adapters.python_handlers.executor import PythonHandlers
from plimsoll_tool_dispatcher.adapters.python_handlers.files import ToolFiles
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import Limits
from plimsoll_tool_dispatcher.config import Settings
from tool_dispatcher_running import Client, running
from tool_dispatcher_samples import ACME

AGENTS = Path(__file__).parents[4] / "deploy" / "agents"


async def test_the_tools_of_the_example_agents_load_without_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    files = ToolFiles([str(AGENTS / "*" / "tools")], None, logs.get("test"))
    await files.scan()
    tools = files.list(ACME)
    assert len(tools) >= 10
    assert not [record.fields for record in caplog.records if record.levelname == "ERROR"]  # type: ignore[attr-defined]
    limits = Limits(memory_bytes=1024**3, result_bytes=1024**2, load_s=20, environment={})
    async with PythonHandlers(files, limits, logs.get("test")) as handlers:
        for path in sorted({tool.source.path for tool in tools}):
            code = files.code(path)
            assert code is not None
            assert await handlers.check(code) == "", path


@pytest.fixture
async def shop(settings: Settings, postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A dispatcher with the tools of the example agents, and the database that they keep their things in."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "examples_database").write_text(postgres_dsn)
    examples = replace(settings, tool_dirs=(str(AGENTS / "*" / "tools"),), credentials_dir=str(credentials), lease_s=10.0)
    async with running(examples) as client:
        yield client


async def test_orders_are_found_in_a_database_that_was_empty(shop: Client) -> None:
    response = await shop.dispatch("list_orders", {"customer_id": "CUS-1001"})
    assert response.HasField("result"), response
    assert parse_object(response.result.text)["orders"]
    missing = await shop.dispatch("get_order", {"customer_id": "CUS-1001", "order_id": "ORD-00000"}, key="key_2")
    assert (missing.failure.category, missing.failure.reason) == (failure_pb2.FAILURE_CATEGORY_UPSTREAM_REJECTED, "ORDER_UNKNOWN")


async def test_tools_of_one_file_called_at_once_set_it_up_once(shop: Client) -> None:
    answers = await asyncio.gather(
        *(shop.dispatch("list_orders", {"customer_id": "CUS-1001"}, key=f"key_{number}") for number in range(12))
    )
    assert {answer.WhichOneof("outcome") for answer in answers} == {"result"}


async def test_a_ticket_is_opened_once_however_often_it_is_asked_for(shop: Client) -> None:
    ticket = {"subject": "Lost parcel", "message": "Where is it?", "urgency": "high", "customer_id": None, "note": "tracking is silent"}
    first, again = [await shop.dispatch("open_ticket", ticket) for _ in range(2)]
    assert (first.recorded, again.recorded, first.result.text) == (False, True, again.result.text)


async def test_a_large_refund_asks_a_person(shop: Client) -> None:
    refund = {"customer_id": "CUS-1001", "order_id": "ORD-10203", "amount_cents": 6000, "reason": "faulty_or_damaged"}
    assert (await shop.dispatch("issue_large_refund", refund)).WhichOneof("outcome") == "approval_required"

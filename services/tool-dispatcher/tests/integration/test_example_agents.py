"""The tools of the example agents, as they are deployed: every file is good and every category loads."""

from pathlib import Path

import pytest
from plimsoll_runtime import logs
from plimsoll_tool_dispatcher.adapters.python_handlers.executor import PythonHandlers
from plimsoll_tool_dispatcher.adapters.python_handlers.files import ToolFiles
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import Limits
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

"""Sources as files: taken, changed, removed, and none delayed by another."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.failures import Category
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_testkit.hostile_mcp import HostileMcp, served_tool
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.adapters.sources.declared import DeclaredSources
from plimsoll_tool_dispatcher.adapters.sources.opening import SourceOpener
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.registry import Offering
from plimsoll_tool_dispatcher.domain.sources import McpSource
from plimsoll_tool_dispatcher.domain.tool import Tool


class FakeCatalogue:
    """Keeps what is offered."""

    def __init__(self) -> None:
        self.offerings: dict[str, Offering] = {}

    async def offer(self, offering: Offering) -> None:
        self.offerings[offering.origin] = offering

    async def withdraw(self, origin: str) -> None:
        self.offerings.pop(origin, None)

    def tools(self, origin: str) -> dict[str, Tool]:
        offering = self.offerings.get(origin)
        return {tool.name: tool for tool in offering.tools} if offering else {}


@pytest.fixture
def catalogue() -> FakeCatalogue:
    return FakeCatalogue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools" / "sources").mkdir(parents=True)
    return tmp_path / "tools" / "sources"


@pytest.fixture
async def sources(folder: Path, catalogue: FakeCatalogue) -> AsyncIterator[DeclaredSources]:
    opener = SourceOpener({}, TlsSettings(), SystemClock(), logs.get("test"))
    async with DeclaredSources([str(folder.parent)], folder.parent / "credentials", opener, catalogue, logs.get("test")) as sources:
        yield sources


def api(server: HostileHttp, operation: str = "echo") -> str:
    return (
        f"source: city\nkind: openapi\ndocument: city.json\nserver: {server.url}\noperations: {{{operation}: {{risk: low}}}}\n"
        "networks: [127.0.0.1/32]\npoll: 100ms\n"
    )


def mcp(server: HostileMcp, name: str = "words") -> str:
    return f"source: {name}\nkind: mcp\nurl: {server.url}\ntools: all\nnetworks: [127.0.0.1/32]\npoll: 100ms\n"


def document(*operations: str) -> bytes:
    return orjson.dumps({"openapi": "3.0.0", "paths": {f"/{one}": {"get": {"operationId": one}} for one in operations}})


def invocation(timeout_s: float = 5.0) -> Invocation:
    return Invocation(tenant="acme", call_key="key_1", arguments={}, timeout_s=timeout_s)


async def test_a_file_becomes_tools_that_run_and_its_removal_ends_them(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path
) -> None:
    async with HostileHttp().serving() as server:
        (folder / "city.json").write_bytes(document("echo"))
        (folder / "city.yaml").write_text(api(server))
        await sources.scan()
        tool = (await eventually(lambda: catalogue.tools("http:city")))["city_echo"]
        assert isinstance(await sources.execute(tool, invocation()), Answered)
        (folder / "city.yaml").unlink()
        await sources.scan()
        assert catalogue.offerings == {}
        attempt = await sources.execute(tool, invocation())
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.UNKNOWN_TOOL, Mishap.REFUSED)


async def test_a_document_that_changes_is_offered_anew(sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path) -> None:
    async with HostileHttp().serving() as server:
        (folder / "city.json").write_bytes(document("echo"))
        (folder / "city.yaml").write_text(api(server, "echo: {risk: low}, cookie"))
        await sources.scan()
        await eventually(lambda: set(catalogue.tools("http:city")) == {"city_echo"})
        assert "is not in the document" in str(catalogue.offerings["http:city"].problems)
        (folder / "city.json").write_bytes(document("echo", "cookie"))
        await eventually(lambda: set(catalogue.tools("http:city")) == {"city_echo", "city_cookie"})


async def test_a_file_with_a_mistake_leaves_its_earlier_version_at_work(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path
) -> None:
    async with HostileHttp().serving() as server:
        (folder / "city.json").write_bytes(document("echo"))
        (folder / "city.yaml").write_text(api(server))
        (folder / "bad.yaml").write_text("kind: soap")
        await sources.scan()
        tool = (await eventually(lambda: catalogue.tools("http:city")))["city_echo"]
        (folder / "city.yaml").write_text(api(server) + "nonsense: 1\n")
        await sources.scan()
        assert isinstance(await sources.execute(tool, invocation()), Answered)
        assert set(catalogue.offerings) == {"http:city"}


@pytest.mark.parametrize("listing", ["slow", "broken"])
async def test_x15_a_source_that_is_slow_or_broken_delays_no_other(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path, listing: str
) -> None:
    async with HostileMcp(listing=listing).serving() as slow, HostileMcp().serving() as quick:
        (folder / "aslow.yaml").write_text(mcp(slow, "aslow"))
        (folder / "words.yaml").write_text(mcp(quick))
        await sources.scan()
        tool = (await eventually(lambda: catalogue.tools("mcp:words")))["words_fine"]
        await eventually(lambda: slow.messages)
        async with asyncio.timeout(5):
            assert await sources.execute(tool, invocation()) == Answered(result={"found": True})
        assert "mcp:aslow" not in catalogue.offerings
        slow.hung.set()


async def test_t07_a_bad_tool_is_offered_as_a_problem_beside_the_good_ones(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path
) -> None:
    tools = [served_tool("fine"), served_tool("bad", inputSchema={"type": "object", "$ref": "https://canary.test/x"})]
    async with HostileMcp(tools=tools).serving() as server, HostileHttp().serving() as canary:
        tools.append(served_tool("worse", outputSchema={"$ref": canary.url + "/schema"}))
        (folder / "words.yaml").write_text(mcp(server))
        await sources.scan()
        await eventually(lambda: set(catalogue.tools("mcp:words")) == {"words_fine"})
        offering = catalogue.offerings["mcp:words"]
        assert {problem.field.split(".")[1] for problem in offering.problems} == {"bad", "worse"}
        assert canary.received == []
    assert not offering.trusted


async def test_what_is_left_out_of_a_source_is_logged_once_with_its_reason(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"operationId": "echo", "parameters": [{"name": "a", "in": "query", "style": "deepObject"}]}
    async with HostileHttp().serving() as server:
        (folder / "city.json").write_bytes(orjson.dumps({"openapi": "3.0.0", "paths": {"/echo": {"get": odd}}}))
        (folder / "city.yaml").write_text(api(server, "echo: {risk: low}, cookie"))
        await sources.scan()
        await eventually(lambda: catalogue.tools("http:city"))
        assert "deepObject" in str(catalogue.offerings["http:city"].notes["echo"])
        (folder / "city.json").write_bytes(
            orjson.dumps({"openapi": "3.0.0", "info": {}, "paths": {"/echo": {"get": {**odd, "summary": "b"}}}})
        )
        await eventually(lambda: catalogue.tools("http:city")["city_echo"].description == "b")
    told = [record.getMessage() for record in caplog.records if "_left_out" in record.getMessage()]
    assert sorted(told) == ["source.part_left_out", "source.tool_left_out"]


async def test_a_tool_that_somebody_registered_reaches_neither_unlisted_tools_nor_another_tenants_source(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path
) -> None:
    async with HostileMcp(tools=[served_tool("fine"), served_tool("secret")]).serving() as server:
        (folder / "words.yaml").write_text(mcp(server).replace("tools: all", "tools: {fine: {}}") + "tenant: acme\n")
        await sources.scan()
        own = (await eventually(lambda: catalogue.tools("mcp:words")))["words_fine"]
        assert isinstance(await sources.execute(own, invocation()), Answered)
        unlisted = replace(own, source=McpSource(source="words", tool="secret"))
        for foreign in (unlisted, replace(own, tenant="umbrella"), replace(own, tenant="")):
            attempt = await sources.execute(foreign, invocation())
            assert isinstance(attempt, Stopped)
            assert (attempt.failure.category, attempt.mishap) == (Category.UNKNOWN_TOOL, Mishap.REFUSED)
        assert server.calls("secret") == []


async def test_a_file_whose_own_document_lies_beside_it_is_trusted(
    sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path
) -> None:
    async with HostileHttp().serving() as server:
        (folder / "city.json").write_bytes(document("echo"))
        (folder / "city.yaml").write_text(api(server))
        await sources.scan()
        assert await eventually(lambda: "http:city" in catalogue.offerings and catalogue.offerings["http:city"].trusted)


async def test_calls_in_flight_end_when_their_source_is_replaced(sources: DeclaredSources, catalogue: FakeCatalogue, folder: Path) -> None:
    async with HostileMcp(tools=[served_tool("hang"), served_tool("fine")]).serving() as server:
        (folder / "words.yaml").write_text(mcp(server))
        await sources.scan()
        tools = await eventually(lambda: catalogue.tools("mcp:words"))
        async with asyncio.TaskGroup() as group:
            call = group.create_task(sources.execute(tools["words_hang"], invocation(1.0)))
            await eventually(lambda: server.calls("hang"))
            (folder / "words.yaml").write_text(mcp(server) + "concurrency: 3\n")
            await sources.scan()
            assert await sources.execute(tools["words_fine"], invocation()) == Answered(result={"found": True})
        attempt = call.result()
    assert isinstance(attempt, Stopped)
    assert attempt.failure.category is Category.TIMEOUT

"""What every implementation of a port promises: run against the fakes and against the real adapters."""

from dataclasses import replace

from plimsoll_runtime.failures import Category
from plimsoll_tool_dispatcher.domain.definition import tool_of
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.registry import Standing
from plimsoll_tool_dispatcher.domain.sources import HttpSource
from plimsoll_tool_dispatcher.domain.tool import identified
from plimsoll_tool_dispatcher.ports import Executor, ResultCache, ToolRegistry, ToolShelf
from tool_dispatcher_samples import ACME, UMBRELLA, tool


class ResultCacheBehaviour:
    """Subclasses give the fixture `cache`."""

    async def test_the_last_result_comes_back_with_its_age(self, cache: ResultCache) -> None:
        for number in (1, 12345678901234567):
            await cache.put(ACME, "d1", "a1", {"n": number})
        found = await cache.get(ACME, "d1", "a1", 60.0)
        assert found is not None
        assert found[0] == {"n": 12345678901234567}
        assert 0 <= found[1] < 60

    async def test_a_result_that_is_too_old_is_none(self, cache: ResultCache) -> None:
        await cache.put(ACME, "d1", "a1", 1)
        assert await cache.get(ACME, "d1", "a1", 0.0) is None

    async def test_results_of_tenants_tools_and_arguments_do_not_meet(self, cache: ResultCache) -> None:
        await cache.put(ACME, "d1", "a1", 1)
        assert await cache.get(UMBRELLA, "d1", "a1", 60.0) is None
        assert await cache.get(ACME, "d2", "a1", 60.0) is None
        assert await cache.get(ACME, "d1", "a2", 60.0) is None


class ToolShelfBehaviour:
    """Subclasses give the fixture `shelf`."""

    async def test_versions_are_kept_for_ever_newest_first(self, shelf: ToolShelf) -> None:
        first, second = tool(description="First"), tool(description="Second")
        for one in (first, second, first):
            await shelf.keep([one], first_accepted=False)
        assert [version.digest for version in await shelf.versions(ACME, "look_up")] == [second.digest, first.digest]

    async def test_what_is_registered_is_loaded_as_it_was(self, shelf: ToolShelf) -> None:
        one = replace(tool(), source=HttpSource(source="crm", tool="find", shape="s"), tenant=ACME, origin="api")
        await shelf.register([identified(one)], "ada")
        [definition] = (await shelf.load()).registered
        assert tool_of(definition, None) == identified(one)

    async def test_a_name_means_what_was_registered_last(self, shelf: ToolShelf) -> None:
        tools = [identified(replace(tool(description=word), tenant=ACME)) for word in ("First", "Second")]
        for one in tools:
            await shelf.register([one], "ada")
        [definition] = (await shelf.load()).registered
        assert definition["digest"] == tools[1].digest
        assert await shelf.unregister(ACME, "look_up", "ada")
        assert not await shelf.unregister(ACME, "look_up", "ada")
        assert (await shelf.load()).registered == []

    async def test_decisions_are_loaded_and_raise_the_revision(self, shelf: ToolShelf) -> None:
        one = tool()
        await shelf.keep([one], first_accepted=False)
        before = await shelf.revision()
        await shelf.decide(ACME, "look_up", Standing(disabled=True, pinned=one.digest), "ada")
        loaded = await shelf.load()
        assert loaded.revision == await shelf.revision() > before
        assert loaded.standings == {(ACME, "look_up"): Standing(disabled=True, pinned=one.digest)}
        assert [definition["digest"] for definition in loaded.pinned] == [one.digest]

    async def test_the_first_definition_of_an_untrusted_source_is_accepted_and_no_other(self, shelf: ToolShelf) -> None:
        first, second = tool(description="First"), tool(description="Second")
        await shelf.keep([first], first_accepted=True)
        await shelf.keep([second], first_accepted=True)
        assert (await shelf.load()).standings == {("", "look_up"): Standing(accepted=first.digest)}


HANDLERS = """
import asyncio
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable

async def answer(arguments, context):
    return {"arguments": arguments, "tenant": context.tenant, "call_key": context.call_key, "in_time": 0 < context.deadline_s <= 60}

async def reject(arguments, context):
    raise ToolRejected("SOLD_OUT", "no more of these")

async def unavailable(arguments, context):
    raise ToolUnavailable("MAINTENANCE", "back soon", retry_after_s=1.5)

async def fall_over(arguments, context):
    return arguments["nothing of this name"]

async def dawdle(arguments, context):
    await asyncio.sleep(60)
"""
HANDLER_NAMES = ("answer", "reject", "unavailable", "fall_over", "dawdle")


def invocation(*, timeout_s: float = 60.0, **arguments: str) -> Invocation:
    return Invocation(tenant=ACME, call_key="key_1", arguments=dict(arguments), timeout_s=timeout_s)


class ExecutorBehaviour:
    """Subclasses give the fixtures `executor`, with the functions of HANDLERS, and `path`, where these are."""

    async def test_a_result_comes_back(self, executor: Executor, path: str) -> None:
        attempt = await executor.execute(tool(name="answer", path=path), invocation(word="ünï"))
        assert attempt == Answered(result={"arguments": {"word": "ünï"}, "tenant": ACME, "call_key": "key_1", "in_time": True})

    async def test_a_rejection_is_definite(self, executor: Executor, path: str) -> None:
        attempt = await executor.execute(tool(name="reject", path=path), invocation())
        assert isinstance(attempt, Stopped)
        assert (attempt.failure.category, attempt.failure.reason, attempt.mishap) == (Category.UPSTREAM_REJECTED, "SOLD_OUT", None)
        assert attempt.failure.message == "no more of these"

    async def test_unavailable_says_that_nothing_was_done(self, executor: Executor, path: str) -> None:
        attempt = await executor.execute(tool(name="unavailable", path=path), invocation())
        assert isinstance(attempt, Stopped)
        assert (attempt.failure.category, attempt.failure.retry_after_s) == (Category.UPSTREAM_UNAVAILABLE, 1.5)
        assert attempt.mishap is Mishap.NOT_ACTED

    async def test_a_fault_of_the_code_is_an_error_of_the_tool(self, executor: Executor, path: str) -> None:
        attempt = await executor.execute(tool(name="fall_over", path=path), invocation())
        assert isinstance(attempt, Stopped)
        assert (attempt.failure.category, attempt.failure.reason, attempt.mishap) == (Category.TOOL_ERROR, "HANDLER_RAISED", None)

    async def test_a_fault_of_code_that_may_have_acted_leaves_a_doubt(self, executor: Executor, path: str) -> None:
        attempt = await executor.execute(tool(EffectClass.NON_IDEMPOTENT, name="fall_over", path=path), invocation())
        assert isinstance(attempt, Stopped)
        assert attempt.mishap is Mishap.LOST

    async def test_a_call_that_takes_too_long_is_lost(self, executor: Executor, path: str) -> None:
        await executor.execute(tool(name="answer", path=path), invocation())  # its process is up then: only what was begun can be lost
        attempt = await executor.execute(tool(name="dawdle", path=path), invocation(timeout_s=0.5))
        assert isinstance(attempt, Stopped)
        assert (attempt.failure.category, attempt.mishap) == (Category.TIMEOUT, Mishap.LOST)


class ToolRegistryBehaviour:
    """Subclasses give the fixture `registry`, which holds the tools `answer` and `reject`."""

    def test_a_tool_is_found_by_its_name(self, registry: ToolRegistry) -> None:
        found = registry.find(ACME, "answer")
        assert found is not None
        assert found.name == "answer"

    def test_what_is_not_there_is_not_found(self, registry: ToolRegistry) -> None:
        assert registry.find(ACME, "nothing") is None

    def test_all_are_listed_by_name(self, registry: ToolRegistry) -> None:
        assert [one.name for one in registry.list(ACME)] == ["answer", "reject"]

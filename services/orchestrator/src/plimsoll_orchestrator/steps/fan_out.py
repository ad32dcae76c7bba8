"""Map: the same small step for every element of a list, some at a time."""

import asyncio
from dataclasses import replace
from typing import assert_never

from plimsoll_graph.expression import ExpressionFailed
from plimsoll_graph.graph import MapNode, ModelNode, RetrieveNode, SetNode, ToolNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.decide import Done, Failed
from plimsoll_orchestrator.domain.journal import NO_USAGE
from plimsoll_orchestrator.steps.outcome import Ask
from plimsoll_orchestrator.steps.single import ask_model, call_tool, filled, retrieve
from plimsoll_orchestrator.steps.site import Site

_ITEMS_CAP = 10_000


async def map_items(site: Site, kind: MapNode) -> Done | Failed:
    """The result is {items, failures}; items that failed are null in `items`. With `on_item_failure: fail` the first failure is the step's."""
    items = kind.over.evaluate(site.scope)
    if not isinstance(items, list):
        return _invalid(site, "NOT_A_LIST", "`over` is not a list")
    if len(items) > _ITEMS_CAP:
        return _invalid(site, "TOO_MANY_ITEMS", f"`over` has {len(items)} items; the limit is {_ITEMS_CAP}")
    slots = asyncio.Semaphore(kind.concurrency)

    async def one(place: int, item: JsonValue) -> Done | Failed:
        async with slots:
            return await _item(replace(site, place=place, item=item), kind)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(place, item)) for place, item in enumerate(items)]
    outcomes = [task.result() for task in tasks]
    usage = sum((outcome.usage for outcome in outcomes), NO_USAGE)
    failures = [(place, outcome.failure) for place, outcome in enumerate(outcomes) if isinstance(outcome, Failed)]
    if failures and not kind.collect_failures:
        return Failed(failure=failures[0][1], usage=usage)
    return _collected(outcomes, failures, usage)


def _collected(outcomes: list[Done | Failed], failures: list[tuple[int, Failure]], usage: Usage) -> Done:
    shown: list[JsonValue] = [
        {"index": place, "category": failure.category.value, "reason": failure.reason, "message": failure.message}
        for place, failure in failures
    ]
    result: JsonObject = {"items": [outcome.result if isinstance(outcome, Done) else None for outcome in outcomes], "failures": shown}
    rehearsal = any(isinstance(outcome, Done) and outcome.rehearsal for outcome in outcomes)
    return Done(result=result, usage=usage, rehearsal=rehearsal, facts={"items": len(outcomes), "failed": len(failures)})


async def _item(site: Site, kind: MapNode) -> Done | Failed:
    try:
        match kind.body:
            case ModelNode() as body:
                return await ask_model(site, body)
            case ToolNode() as body:
                outcome = await call_tool(site, body)
                return _no_questions(site) if isinstance(outcome, Ask) else outcome
            case RetrieveNode() as body:
                return await retrieve(site, body)
            case SetNode(fields=fields):
                return Done(result=filled(fields, site))
            case _:
                assert_never(kind.body)
    except ExpressionFailed as error:
        return _invalid(site, "EXPRESSION_FAILED", str(error))


def _no_questions(site: Site) -> Failed:
    message = "a call inside a map needs approval; propose it in a node of its own"
    return Failed(failure=Failure(category=Category.POLICY_DENIED, reason="APPROVAL_INSIDE_MAP", message=message, where=site.node.name))


def _invalid(site: Site, reason: str, message: str) -> Failed:
    return Failed(failure=Failure(category=Category.CONTEXT_INVALID, reason=reason, message=message, where=site.node.name))

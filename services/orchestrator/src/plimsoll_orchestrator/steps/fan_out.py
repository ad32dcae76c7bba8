"""Map: the same small step for every element of a list, some at a time."""

import asyncio
from dataclasses import replace
from typing import assert_never

from plimsoll_graph.expression import ExpressionFailed
from plimsoll_graph.graph import FailurePolicy, MapNode, ModelNode, RetrieveNode, SetNode, SubgraphNode, ToolNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.children import collected, list_problem
from plimsoll_orchestrator.domain.journal import NO_USAGE
from plimsoll_orchestrator.steps.outcome import Ask
from plimsoll_orchestrator.steps.single import ask_model, call_tool, filled, retrieve
from plimsoll_orchestrator.steps.site import Site

_ITEMS_CAP = 10_000


async def map_items(site: Site, kind: MapNode) -> Done | Failed:
    """The result is {items, failures}; items that failed are null in `items`. With `on_item_failure: fail` the first failure is the step's."""
    items = kind.over.evaluate(site.scope)
    problem = list_problem(items, _ITEMS_CAP)
    if problem is not None:
        return _invalid(site, *problem)
    assert isinstance(items, list)
    slots = asyncio.Semaphore(kind.concurrency)

    async def one(place: int, item: JsonValue) -> Done | Failed:
        async with slots:
            return await _item(replace(site, place=place, item=item), kind)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(place, item)) for place, item in enumerate(items)]
    outcomes = [task.result() for task in tasks]
    usage = sum((outcome.usage for outcome in outcomes), NO_USAGE)
    failures = [(place, outcome.failure) for place, outcome in enumerate(outcomes) if isinstance(outcome, Failed)]
    ending = _ending(site, kind, len(items), failures)
    if ending is not None:
        return Failed(failure=ending, usage=usage, unsettled=any(isinstance(outcome, Failed) and outcome.unsettled for outcome in outcomes))
    results = [outcome.result if isinstance(outcome, Done) else None for outcome in outcomes]
    rehearsal = any(isinstance(outcome, Done) and outcome.rehearsal for outcome in outcomes)
    prompts = {name: digest for outcome in outcomes if isinstance(outcome, Done) for name, digest in outcome.prompts.items()}
    labels = tuple({label: None for outcome in outcomes if isinstance(outcome, Done) for label in outcome.labels})
    return replace(collected(site.run, kind, results, failures), usage=usage, rehearsal=rehearsal, prompts=prompts, labels=labels)


def _ending(site: Site, kind: MapNode, total: int, failures: list[tuple[int, Failure]]) -> Failure | None:
    """Why the whole step fails."""
    if not failures or kind.policy is FailurePolicy.COLLECT:
        return None
    if kind.policy is FailurePolicy.FAIL:
        return failures[0][1]
    if total - len(failures) >= kind.quorum * total:
        return None
    message = f"{len(failures)} of {total} items failed; {kind.quorum:.0%} have to come out well. The first: {failures[0][1].message}"
    return Failure(category=failures[0][1].category, reason="QUORUM_MISSED", message=message, where=site.node.name)


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
            case SubgraphNode():
                raise TypeError("a map over runs is tended, not performed")
            case _:
                assert_never(kind.body)
    except ExpressionFailed as error:
        return _invalid(site, "EXPRESSION_FAILED", str(error))


def _no_questions(site: Site) -> Failed:
    message = "a call inside a map needs approval; propose it in a node of its own"
    return Failed(failure=Failure(category=Category.POLICY_DENIED, reason="APPROVAL_INSIDE_MAP", message=message, where=site.node.name))


def _invalid(site: Site, reason: str, message: str) -> Failed:
    return Failed(failure=Failure(category=Category.CONTEXT_INVALID, reason=reason, message=message, where=site.node.name))

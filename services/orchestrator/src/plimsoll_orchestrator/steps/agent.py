"""The reason–act loop: a model's turn, then its tools side by side, each turn kept before the next begins."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from plimsoll_graph.graph import AgentNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.failing import STATE_CAP_BYTES, TURN_CAP_BYTES
from plimsoll_orchestrator.domain.journal import NO_USAGE, ModelTurn, ToolAnswer, ToolCall, ToolTurn, Turn
from plimsoll_orchestrator.domain.run import last_calls_open
from plimsoll_orchestrator.ports import Answer, NeedsApproval, NoAnswer, Question, Refused, Returned
from plimsoll_orchestrator.steps.outcome import Ask, Outcome, Progressed
from plimsoll_orchestrator.steps.single import ask_for, dispatched, filled, model_facts, prompts_of
from plimsoll_orchestrator.steps.site import Site

_PARALLEL_CALLS = 16
_LARGE_BYTES = 16 * 1024


async def take_turn(site: Site, kind: AgentNode) -> Outcome:
    """Answer the calls that are open, or let the model speak; a turn without calls ends the step. One that is too large to be kept fails it."""
    outcome = await _take_turn(site, kind)
    problem = _too_large(site.step.turns, outcome.turn) if isinstance(outcome, Progressed) else None
    if problem is None or not isinstance(outcome, Progressed):
        return outcome
    failure = Failure(category=Category.CONTEXT_INVALID, reason="TURN_TOO_LARGE", message=problem, where=site.node.name)
    return Failed(failure=failure, usage=outcome.usage)


def _too_large(before: Sequence[Turn], turn: Turn) -> str | None:
    """Why a turn cannot be kept: a turn has a limit, and the conversation another."""
    size = len(msgspec.json.encode(turn))
    if size > TURN_CAP_BYTES:
        what = "the model's turn has" if isinstance(turn, ModelTurn) else "the answers of its tools have"
        return f"{what} {size} bytes; the limit is {TURN_CAP_BYTES}"
    if size > _LARGE_BYTES:  # many small ones are bounded by the number of turns
        whole = size + sum(len(msgspec.json.encode(one)) for one in before)
        if whole > STATE_CAP_BYTES:
            return f"the conversation would have {whole} bytes; the limit is {STATE_CAP_BYTES}"
    return None


async def _take_turn(site: Site, kind: AgentNode) -> Outcome:
    if last_calls_open(site.step):
        last = site.step.turns[-1]
        assert isinstance(last, ModelTurn)
        return await _call_tools(site, kind, last.calls)
    spoken = sum(isinstance(turn, ModelTurn) for turn in site.step.turns)
    if spoken >= kind.turns:
        message = f"the agent did not come to an end within {kind.turns} turns"
        return Failed(failure=Failure(category=Category.BUDGET_EXCEEDED, reason="TURNS_USED_UP", message=message, where=site.node.name))
    answer = await site.models.generate(await _question(site, kind, spoken), site.hear)
    if isinstance(answer, NoAnswer):
        return Failed(failure=answer.failure, usage=answer.usage)
    if answer.calls:
        turn = ModelTurn(message=answer.message, calls=tuple(answer.calls))
        return Progressed(turn=turn, usage=answer.usage, rehearsal=answer.rehearsal, prompts=prompts_of(kind.prompt, answer))
    return replace(_done(site, answer, spoken + 1), prompts=prompts_of(kind.prompt, answer))


async def _question(site: Site, kind: AgentNode, spoken: int) -> Question:
    return Question(
        request_key=site.key("turn", len(site.step.turns)),
        prompt=kind.prompt,
        prompt_digest=site.pinned(kind.prompt),
        variables=filled(kind.variables, site),
        conversation=site.step.turns,
        tools=await site.tools.definitions(kind.tools),
        output_schema=kind.output,
        task=kind.task,
        max_tokens=kind.max_tokens,
        work=site.work,
    )


async def _call_tools(site: Site, kind: AgentNode, calls: tuple[ToolCall, ...]) -> Outcome:
    """All calls of a turn; when one needs leave, ask for it: the others' results are recorded under their keys and come back free."""
    slots = asyncio.Semaphore(_PARALLEL_CALLS)
    turn = len(site.step.turns)

    async def one(position: int, call: ToolCall) -> ToolAnswer | Ask:
        async with slots:
            return await _call(site, kind, call, site.key("turn", turn, position))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(position, call)) for position, call in enumerate(calls)]
    outcomes = [task.result() for task in tasks]
    question = next((outcome for outcome in outcomes if isinstance(outcome, Ask)), None)
    if question is not None:
        return question
    return Progressed(turn=ToolTurn(answers=tuple(outcome for outcome in outcomes if isinstance(outcome, ToolAnswer))), usage=NO_USAGE)


async def _call(site: Site, kind: AgentNode, call: ToolCall, key: str) -> ToolAnswer | Ask:
    """One call; what goes wrong is told to the model, which may mend it."""
    if not any(call.tool == name or (name.endswith("*") and call.tool.startswith(name[:-1])) for name in kind.tools):
        return _error(call, Category.UNKNOWN_TOOL, f"there is no tool {call.tool!r} here; there is {', '.join(kind.tools)}")
    if not isinstance(call.arguments, dict):
        return _error(call, Category.INVALID_ARGUMENTS, "arguments are not an object")
    outcome = await dispatched(site, key, call.tool, call.arguments)
    match outcome:
        case Returned(result=result, degraded=degraded, labels=labels):
            return ToolAnswer(call_id=call.call_id, tool=call.tool, content=result, degraded=degraded, labels=labels)
        case Refused(failure=failure, unsettled=unsettled):
            return _error(call, failure.category, f"{failure.message}; it may have acted" if unsettled else failure.message)
        case NeedsApproval(proposal=proposal):
            question = ask_for(site, key, proposal)
            return question if isinstance(question, Ask) else _error(call, question.failure.category, question.failure.message)


def _error(call: ToolCall, category: Category, message: str) -> ToolAnswer:
    content: JsonObject = {"error": category.value, "message": message}
    return ToolAnswer(call_id=call.call_id, tool=call.tool, content=content, is_error=True)


def _done(site: Site, answer: Answer, spoken: int) -> Done:
    calls: list[JsonValue] = []
    asked: dict[str, ToolCall] = {}
    for turn in site.step.turns:
        match turn:
            case ModelTurn(calls=found):
                asked = {call.call_id: call for call in found}
            case ToolTurn(answers=answers):
                calls += [
                    {"tool": item.tool, "arguments": asked[item.call_id].arguments, "ok": not item.is_error, "content": item.content}
                    | ({"degraded": item.degraded} if item.degraded else {})
                    for item in answers
                    if item.call_id in asked
                ]
    result: JsonObject = {
        "text": answer.text,
        "output": answer.output,
        "turns": spoken,
        "calls": calls,
        "confidence": answer.confidence,
        "model": answer.model,
        "rehearsal": answer.rehearsal,
    }
    facts = model_facts(answer) | {"turns": spoken, "calls": len(calls)}
    return Done(result=result, usage=answer.usage, rehearsal=answer.rehearsal, facts=facts)

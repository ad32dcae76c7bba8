"""Steps that start runs of their own: branches, subgraphs, items of a distributed map. Started in windows, joined one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, overload

from plimsoll_graph.expression import fill
from plimsoll_graph.graph import FailurePolicy, Graph, MapNode, Merge, Node, ParallelNode, SubgraphNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json

from plimsoll_orchestrator.domain.actions import Begin, Birth, Done, Failed, Park
from plimsoll_orchestrator.domain.failing import STATE_CAP_BYTES, overspent
from plimsoll_orchestrator.domain.journal import Child, ChildrenStarted, ChildrenStopped, Joined, RunStarted, RunStatus
from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Run, Step
from plimsoll_orchestrator.domain.scope import scope_of

_ITEMS_CAP = 100_000
_WINDOW_CAP = 256  # runs started with one commit
_DEPTH_CAP = 8

Parent: TypeAlias = ParallelNode | SubgraphNode | MapNode


def parent_kind(node: Node) -> Parent | None:
    """The node's kind when it starts runs of its own."""
    match node.kind:
        case ParallelNode() | SubgraphNode():
            return node.kind
        case MapNode(distributed=True):
            return node.kind
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the children under way to stop, then fail."""

    entry: ChildrenStopped


def tend(run: Run, graph: Graph, node: Node, kind: Parent, step: Step, now: datetime) -> Begin | Stop | Park | Done | Failed:
    """The one next thing to do for a step with children. Raises ExpressionFailed."""
    ending = step.stopped or _ending(node, kind, step, now)
    if ending is None and 0 <= step.started < step.total:
        ending = overspent(run, graph)
    if ending is not None:
        if not step.open:
            return Failed(failure=ending)
        return Park(None, RunStatus.WAITING) if step.stopped else Stop(ChildrenStopped(node=node.name, failure=ending))
    places = _places(run, kind, step)
    if isinstance(places, Failure):
        return Failed(failure=places)
    window = kind.concurrency if isinstance(kind, MapNode) else len(places.names)
    more = min(window - len(step.open), len(places.names) - step.started, _WINDOW_CAP)
    if more > 0:
        return _begin(run, node, kind, step, places, more)
    if step.open:
        return Park(step.at + timedelta(seconds=node.timeout_s) if node.timeout_s else None, RunStatus.WAITING)
    return _collected(run, graph, node, kind, places.names, step)


def _ending(node: Node, kind: Parent, step: Step, now: datetime) -> Failure | None:
    """Why the step can only fail from here."""
    if node.timeout_s and now >= step.at + timedelta(seconds=node.timeout_s):
        message = f"the step took longer than {node.timeout_s:g} s"
        return Failure(category=Category.TIMEOUT, reason="DEADLINE_EXPIRED", message=message, retryable=True, where=node.name)
    if step.received > STATE_CAP_BYTES:
        message = f"the outputs of its runs have {step.received} bytes together so far; the limit is {STATE_CAP_BYTES}"
        return Failure(category=Category.CONTEXT_INVALID, reason="OUTPUTS_TOO_LARGE", message=message, where=node.name)
    if not step.lost:
        return None
    first = next(child for batch in step.joined for child in batch if child.status is not RunStatus.SUCCEEDED)
    match kind:
        case MapNode(policy=FailurePolicy.COLLECT) | ParallelNode(policy=FailurePolicy.COLLECT):
            return None
        case MapNode(policy=FailurePolicy.QUORUM, quorum=quorum):
            if step.total - step.lost >= quorum * step.total:
                return None
            message = f"{step.lost} of {step.total} items failed; {quorum:.0%} have to come out well. The first: {_failure(first).message}"
            return Failure(category=_failure(first).category, reason="QUORUM_MISSED", message=message, where=node.name)
        case _:
            return _failure(first)


def _failure(child: Joined) -> Failure:
    if child.failure is not None:
        return child.failure
    return Failure(category=Category.INTERNAL, reason="CHILD_LOST", message=f"run {child.run_id} {child.status.value}", where=child.place)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where children go: their names, and what each works on: the first node of a branch, or an item."""

    names: Sequence[str]
    items: Sequence[JsonValue]


def _places(run: Run, kind: Parent, step: Step) -> _Places | Failure:
    """The places of every child there will be."""
    if run.origin.depth >= _DEPTH_CAP:
        message = f"runs start runs {_DEPTH_CAP} deep already"
        return Failure(category=Category.BUDGET_EXCEEDED, reason="TOO_DEEP", message=message, where=run.node)
    match kind:
        case ParallelNode(branches=branches):
            return _Places(list(branches), list(branches.values()))
        case SubgraphNode(agent=agent):
            return _Places([agent], [None])
        case MapNode(over=over):
            if step.items is not None:
                return _Places(_Numbers(len(step.items)), step.items)
            items = over.evaluate(scope_of(run))
            problem = list_problem(items, _ITEMS_CAP) or _size_problem(items)
            if problem is not None:
                return Failure(category=Category.CONTEXT_INVALID, reason=problem[0], message=problem[1], where=run.node)
            assert isinstance(items, list)
            return _Places(_Numbers(len(items)), items)


class _Numbers(Sequence[str]):
    """0, 1, 2 … as texts, without making them all for one."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        numbers = range(self._count)[place]
        return str(numbers) if isinstance(numbers, int) else [str(number) for number in numbers]


def _size_problem(items: JsonValue) -> tuple[str, str] | None:
    """Reason and message when a list is too long to be kept in the journal."""
    size = len(dump_json(items))
    return ("ITEMS_TOO_LARGE", f"`over` has {size} bytes; the limit is {STATE_CAP_BYTES}") if size > STATE_CAP_BYTES else None


def list_problem(items: JsonValue, most: int) -> tuple[str, str] | None:
    """Reason and message when a map cannot go over a value."""
    if not isinstance(items, list):
        return "NOT_A_LIST", "`over` is not a list"
    if len(items) > most:
        return "TOO_MANY_ITEMS", f"`over` has {len(items)} items; the limit is {most}"
    return None


def _begin(run: Run, node: Node, kind: Parent, step: Step, places: _Places, more: int) -> Begin:
    numbers = range(step.started, step.started + more)
    births = tuple(_birth(run, kind, step, number, places.names[number], places.items[number]) for number in numbers)
    children = tuple(Child(run_id=birth.run_id, place=birth.first.origin.place, agent=birth.agent) for birth in births)
    kept = tuple(places.items) if isinstance(kind, MapNode) and not step.started else None
    return Begin(ChildrenStarted(node=node.name, children=children, total=len(places.names), items=kept), births)


def _birth(run: Run, kind: Parent, step: Step, number: int, place: str, item: JsonValue) -> Birth:
    """The child's id follows from the parent's journal: started twice, it is the same run."""
    options = RunOptions(priority=run.options.priority, deadline=run.options.deadline)
    branch = isinstance(kind, ParallelNode)
    origin = RunOrigin(
        parent_run_id=run.run_id,
        parent_seq=step.seq,
        place=place,
        branch=branch,
        depth=run.origin.depth + 1,
        requested_by=run.origin.requested_by,
        thread_id=run.thread_id if branch else "",
    )
    run_id = f"{run.run_id}.{step.seq}.{number}"
    if isinstance(kind, ParallelNode):
        first = RunStarted(
            input=run.input,
            options=options,
            origin=origin,
            state=run.state,
            node=str(item),
            prompts=dict(run.prompts),
            labels=run.labels,
        )
        return Birth(run_id=run_id, agent=run.agent, agent_digest=run.agent_digest, first=first)
    body = kind.body if isinstance(kind, MapNode) else kind
    assert isinstance(body, SubgraphNode)
    scope = scope_of(run, item=item, index=number if isinstance(kind, MapNode) else None)
    value: JsonObject = {name: fill(template, scope) for name, template in body.input.items()}
    first = RunStarted(input=value, options=options, origin=origin, labels=run.labels)
    return Birth(run_id=run_id, agent=body.agent, agent_digest=body.digest, first=first)


def _collected(run: Run, graph: Graph, node: Node, kind: Parent, places: Sequence[str], step: Step) -> Done | Failed:
    """What the children come to. Their usage is the run's already."""
    outcomes = {child.place: child for batch in step.joined for child in batch}
    match kind:
        case SubgraphNode(agent=agent):
            return Done(result=outcomes[agent].output, facts={"child": outcomes[agent].run_id})
        case MapNode():
            children = [outcomes[place] for place in places]
            results = [child.output if child.status is RunStatus.SUCCEEDED else None for child in children]
            failures = [(index, _failure(child)) for index, child in enumerate(children) if child.status is not RunStatus.SUCCEEDED]
            return collected(run, kind, results, failures)
        case ParallelNode(branches=branches):
            merged = _merged(run, kind, [outcomes[name] for name in branches])
            if isinstance(merged, str):
                message = f"several branches changed {merged}, and the node does not say how to merge it"
                return Failed(
                    failure=Failure(category=Category.CONTEXT_INVALID, reason="BRANCH_CONFLICT", message=message, where=node.name)
                )
            shown: JsonObject = {name: _shown(outcomes[name]) for name in branches}
            lost: list[JsonValue] = [
                {"branch": name, **told(_failure(outcomes[name]))} for name in branches if outcomes[name].status is not RunStatus.SUCCEEDED
            ]
            result: JsonObject = {"branches": shown, "failures": lost}
            return Done(result=result, delta=merged, facts={"branches": len(branches), "failed": len(lost)})


def collected(run: Run, kind: MapNode, results: list[JsonValue], failures: list[tuple[int, Failure]]) -> Done:
    """The result of a map: {items, failures}, and `reduced` when the node has a reducer; items that failed are null."""
    lost: list[JsonValue] = [{"index": index, **told(failure)} for index, failure in failures]
    result: JsonObject = {"items": results, "failures": lost}
    if kind.reduce is not None:
        gone = {index for index, _ in failures}
        acc = kind.reduce.initial.evaluate(scope_of(run))
        for index, item in enumerate(results):
            if index not in gone:
                acc = kind.reduce.each.evaluate(scope_of(run, item=item, index=index, acc=acc))
        result["reduced"] = acc
    return Done(result=result, facts={"items": len(results), "failed": len(failures)})


def told(failure: Failure) -> JsonObject:
    """A failure as results show it."""
    return {"category": failure.category.value, "reason": failure.reason, "message": failure.message}


def _shown(child: Joined) -> JsonObject:
    return {"status": child.status.value, **({"failure": told(_failure(child))} if child.status is not RunStatus.SUCCEEDED else {})}


def _merged(run: Run, kind: ParallelNode, children: Sequence[Joined]) -> JsonObject | str:
    """What the branches changed, joined field by field; the field's name when two changed one that has no way to be merged."""
    changes: dict[str, list[JsonValue]] = {}
    for child in children:
        if child.status is RunStatus.SUCCEEDED and isinstance(child.output, dict):
            for name, value in child.output.items():
                changes.setdefault(name, []).append(value)
    delta: JsonObject = {}
    for name, values in changes.items():
        how = kind.merge.get(name)
        if how is None and len(values) > 1:
            return name
        delta[name] = values[0] if how is None else _merge(how, run.state.get(name), values)
    return delta


def _merge(how: Merge, base: JsonValue, values: list[JsonValue]) -> JsonValue:
    match how:
        case Merge.APPEND:
            before = base if isinstance(base, list) else []
            return [*before, *(item for value in values for item in _added(before, value))]
        case Merge.SUM:
            start = base if isinstance(base, int | float) else 0
            return start + sum(value - start for value in values if isinstance(value, int | float))
        case Merge.MERGE:
            merged: JsonObject = dict(base) if isinstance(base, dict) else {}
            for value in values:
                merged |= value if isinstance(value, dict) else {}
            return merged
        case Merge.LEAST | Merge.GREATEST:
            numbers = [value for value in values if isinstance(value, int | float)]
            return (min if how is Merge.LEAST else max)(numbers, default=None)


def _added(before: list[JsonValue], value: JsonValue) -> Iterator[JsonValue]:
    if isinstance(value, list):
        yield from value[len(before) :] if value[: len(before)] == before else value

"""Whether a run that is under way could go on with another version of its agent's graph."""

from collections.abc import Iterator

from plimsoll_graph.graph import END, JOIN, Graph, HandleNode, MapNode, Node, ParallelNode

from plimsoll_orchestrator.domain.run import Run, Step

_FIELDS_TOLD = 5


def misfits(run: Run, old: Graph, new: Graph) -> Iterator[str]:
    """What would break, in words; nothing when the run fits. `old` is the version that it has."""
    name = run.step.node if run.step is not None else run.node
    node = new.nodes.get(name)
    if node is None and name not in {END, JOIN}:
        yield f"it is at node {name!r}, which the new version does not have"
    if node is not None and run.step is not None and not run.step.undo:
        yield from _step_misfits(run, run.step, old.nodes[name], node)
    if node is not None and isinstance(node.kind, HandleNode) and run.failed is not None and run.failed.node not in new.nodes:
        yield f"it handles a failure of node {run.failed.node!r}, which the new version does not have"
    undoing = run.compensation.nodes if run.compensation is not None else ()
    for undone in undoing:
        there = new.nodes.get(undone)
        if there is None or there.undo is None:
            yield f"it has still to undo node {undone!r}, which the new version cannot undo"
    problems = new.delta_problems(run.state)
    for path, problem in problems[:_FIELDS_TOLD]:
        yield f"its state does not fit the new schema: {path} {problem}"
    if len(problems) > _FIELDS_TOLD:
        yield f"{len(problems) - _FIELDS_TOLD} more places of its state do not fit the new schema"


def _step_misfits(run: Run, step: Step, old: Node, new: Node) -> Iterator[str]:
    """What breaks in the middle of a step."""
    match old.kind, new.kind:
        case ParallelNode(branches=before), ParallelNode(branches=after):
            missing = [branch for branch in before if branch not in after]
            if missing:
                yield f"it is in the branches of node {old.name!r}, and the new version has no branch {', '.join(map(repr, missing))}"
            elif list(before)[: step.started] != list(after)[: step.started]:
                yield f"it is in the branches of node {old.name!r}, and the new version has others before them"
        case MapNode(distributed=before), MapNode(distributed=after) if before != after:
            yield f"it is in the middle of node {old.name!r}, which {_items(before)} and then {_items(after)}"
        case before, after if type(before) is not type(after):
            yield f"it {_doing(run, step)} node {old.name!r}, which is {_kind(old)} and becomes {_kind(new)}"


def _items(distributed: bool) -> str:
    return "has a run for each item" if distributed else "goes over its items in one run"


def _doing(run: Run, step: Step) -> str:
    if run.pending is not None:
        return "asks a question at"
    if step.waiting:
        return "waits at"
    return "waits for the runs of" if step.open else "is in the middle of"


def _kind(node: Node) -> str:
    words = {"TimerNode": "a wait for a time", "SignalNode": "a wait for a signal", "RecallNode": "a retrieve from the thread"}
    return words.get(type(node.kind).__name__, f"{'an' if node.kind_name[0] in 'ae' else 'a'} {node.kind_name} node")

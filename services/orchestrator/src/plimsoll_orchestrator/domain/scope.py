"""What expressions see of a run."""

from plimsoll_graph.expression import Scope
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_orchestrator.domain.run import Run


def scope_of(
    run: Run, *, result: JsonValue = None, item: JsonValue = None, index: int | None = None, signal: JsonValue = None, acc: JsonValue = None
) -> Scope:
    """The names that expressions may use, and their values now."""
    failed = run.failed
    failure: JsonValue = None
    if failed is not None:
        failure = {
            "category": failed.failure.category.value,
            "reason": failed.failure.reason,
            "message": failed.failure.message,
            "retryable": failed.failure.retryable,
            "where": failed.failure.where,
            "node": failed.node,
        }
    facts: JsonObject = {
        "id": run.run_id,
        "agent": run.agent,
        "tenant": run.tenant,
        "attempt": run.step.attempt if run.step else 1,
        "thread": run.thread_id,
    }
    return {
        "state": run.state,
        "input": run.input,
        "run": facts,
        "result": result,
        "item": item,
        "index": index,
        "failure": failure,
        "attempts": failed.attempts if failed else 0,
        "signal": signal,
        "acc": acc,
    }

"""Steps that write into memory, and that recall a thread."""

from plimsoll_graph.expression import Expression
from plimsoll_graph.graph import RecallNode, RememberNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, dump_json

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.ports import Fact, Note, Turned
from plimsoll_orchestrator.steps.single import OF_MEMORY
from plimsoll_orchestrator.steps.site import Site


async def note(site: Site, kind: RememberNode) -> Done | Failed:
    """Write into the run's thread, or facts into a collection; the result is {turns, facts, left_out}."""
    thread_id = "" if kind.collection else site.run.thread_id
    if not thread_id and not kind.collection:
        return Failed(failure=_no_thread(site))
    remembered = await site.memory.remember(
        Note(
            key=site.key("note"),
            thread_id=thread_id,
            collection=kind.collection,
            turns=[Turned(origin=turn.origin, text=_text(turn.text, site)) for turn in kind.turns],
            facts=[
                Fact(
                    subject=_text(fact.subject, site) if fact.subject is not None else "",
                    attribute=fact.attribute,
                    text=_text(fact.text, site),
                    origin=fact.origin,
                )
                for fact in kind.facts
            ],
            learn=kind.learn,
        ),
        site.work,
    )
    result: JsonObject = {
        "turns": remembered.turns,
        "facts": remembered.facts,
        "left_out": list(remembered.left_out),
    }
    return Done(result=result, facts={"turns": remembered.turns, "facts": remembered.facts})


async def recall(site: Site, kind: RecallNode) -> Done | Failed:
    """Read the run's thread; the result is {turns, summary, facts, recalled}. A thread that holds nothing yet is no failure."""
    if not site.run.thread_id:
        return Failed(failure=_no_thread(site))
    query = _text(kind.query, site) if kind.query is not None else ""
    recalled = await site.memory.recall(site.run.thread_id, kind.max_tokens, query)
    return Done(result=recalled, labels=OF_MEMORY if any(recalled.values()) else ())


def _text(expression: Expression, site: Site) -> str:
    """What is no text is remembered as JSON."""
    value = expression.evaluate(site.scope)
    return value if isinstance(value, str) else dump_json(value)


def _no_thread(site: Site) -> Failure:
    message = "the run belongs to no thread; submit it with a thread, or name a collection"
    return Failure(category=Category.CONTEXT_INVALID, reason="NO_THREAD", message=message, where=site.node.name)

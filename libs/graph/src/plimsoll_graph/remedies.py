"""Reading `handle` nodes: which failure gets which remedy."""

from plimsoll_graph.graph import ESCALATIONS, Case, Compensate, Escalate, GiveUp, GoTo, HandleNode, Remedy, Retry
from plimsoll_graph.reader import Reader, shown

_REMEDIES = ("retry", "next", "escalate", "compensate", "fail")


def read_handle(parent: Reader, key: str) -> HandleNode:
    cases = []
    items = parent.items(key)
    for position, item in enumerate(items):
        when = item.optional("when")
        if when is None and position < len(items) - 1:
            item.note("", "has no `when` and hides the cases behind it", "move it to the end")
        if when is not None and position == len(items) - 1:
            item.note("when", "stands on the last case", "end with a case without `when`: what to do in all other cases")
        cases.append(Case(when=when, remedy=_remedy(item)))
        item.finish()
    return HandleNode(cases=tuple(cases))


def _remedy(item: Reader) -> Remedy:
    found = [key for key in _REMEDIES if item.has(key)]
    if len(found) != 1:
        for key in found:
            item.raw(key)
        remedy = "one of retry: true, next: NODE, escalate: SUMMARY, compensate: {next: NODE}, fail: true"
        item.note("", "does not have exactly one remedy", remedy)
        return GiveUp()
    match found[0]:
        case "retry":
            _is_true(item, "retry")
            return Retry(limit=item.whole("limit", default=2, least=1, most=100))
        case "next":
            return GoTo(next=item.text("next"))
        case "escalate":
            return Escalate(summary=item.expression("escalate"), limit=item.whole("limit", default=ESCALATIONS, least=1, most=100))
        case "compensate":
            steps = item.reader("compensate")
            compensate = Compensate(next=steps.text("next", default=""))
            steps.finish()
            return compensate
        case _:
            _is_true(item, "fail")
            return GiveUp()


def _is_true(item: Reader, key: str) -> None:
    if item.raw(key) is not True:
        item.note(key, f"is {shown(item.raw(key))}", f"write `{key}: true`")

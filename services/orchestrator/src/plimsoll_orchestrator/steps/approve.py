"""Steps that wait for people: the approve node, and a handler that escalates."""

from plimsoll_graph.graph import ApproveNode, Escalate, HandleNode
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.computing import remedy_of
from plimsoll_orchestrator.domain.journal import ApprovalStatus
from plimsoll_orchestrator.steps.outcome import Ask
from plimsoll_orchestrator.steps.single import APPROVAL_EXPIRES_S, filled, rejection
from plimsoll_orchestrator.steps.site import Site


def gate(site: Site, kind: ApproveNode) -> Done | Failed | Ask:
    """Ask, then go on as people decided; the result is {decision, by, comment}."""
    if not site.approvals:
        summary = kind.summary.evaluate(site.scope)
        return Ask(summary=str(summary), details=filled(kind.details, site), expires_s=kind.expires_s)
    answer = site.approvals[-1]
    result: JsonObject = {"decision": answer.status.value, "by": answer.decided_by, "comment": answer.comment}
    match answer.status:
        case ApprovalStatus.APPROVED:
            return Done(result=result, facts={"decision": "approved"})
        case ApprovalStatus.EXPIRED if kind.on_expired:
            return Done(result=result, next=kind.on_expired, facts={"decision": "expired"})
        case ApprovalStatus.REJECTED if kind.on_rejected:
            return Done(result=result, next=kind.on_rejected, facts={"decision": "rejected"})
        case _:
            return Failed(failure=rejection(answer.status, answer.comment, site.node.name))


def escalate(site: Site, kind: HandleNode) -> Done | Failed | Ask:
    """Show people the failure: yes means try the failed node again, no means that the failure stands."""
    failed = site.run.failed
    if failed is None:
        return Failed(
            failure=Failure(category=Category.INTERNAL, reason="NOTHING_TO_HANDLE", message="there is no failure", where=site.node.name)
        )
    if not site.approvals:
        remedy = remedy_of(site.run, site.node, kind)
        said = remedy.summary.evaluate(site.scope) if isinstance(remedy, Escalate) else f"{failed.node} failed: {failed.failure.message}"
        summary = str(said)
        details: JsonObject = {
            "node": failed.node,
            "category": failed.failure.category.value,
            "reason": failed.failure.reason,
            "message": failed.failure.message,
        }
        return Ask(summary=summary, details=details, expires_s=APPROVAL_EXPIRES_S)
    if site.approvals[-1].status is ApprovalStatus.APPROVED:
        return Done(result=None, next=failed.node, facts={"decision": "approved"})
    return Failed(failure=failed.failure)

"""What one person's answer to a question means, by the terms of the approval."""

from datetime import datetime

from plimsoll_orchestrator.domain.decide import decided
from plimsoll_orchestrator.domain.journal import ApprovalDecided, ApprovalGiven, ApprovalStatus
from plimsoll_orchestrator.domain.run import Approval, Run
from plimsoll_orchestrator.errors import ApproverNotAllowed


def approved(approval: Approval, requested_by: str, by: str, comment: str, now: datetime) -> ApprovalGiven | ApprovalDecided | None:
    """The entry that a yes leaves: the last one needed decides. None when this person has said so before. Raises ApproverNotAllowed."""
    terms = approval.terms
    if not by and (terms.four_eyes or terms.quorum > 1):
        raise ApproverNotAllowed("nobody is named who approves", remedy="approve with a key of your own")
    if terms.four_eyes and by == requested_by:
        raise ApproverNotAllowed(f"{by} asked for the run and may not approve what it does", remedy="ask somebody else to decide")
    if terms.four_eyes and by == approval.proposed_by:
        raise ApproverNotAllowed(f"{by} proposed these arguments and may not approve them", remedy="ask somebody else to decide")
    if by and by in approval.approved_by:
        return None
    everybody = (*approval.approved_by, by)
    if len(everybody) < terms.quorum:
        return ApprovalGiven(approval_id=approval.approval_id, node=approval.node, decided_by=by, comment=comment)
    return decided(
        approval, ApprovalStatus.APPROVED, now, decided_by=by, comment=comment, approved_by=everybody if terms.quorum > 1 else ()
    )


def unused_grants(run: Run) -> tuple[str, ...]:
    """What the step under way was allowed to do and may not have done: to be taken back when the run ends here."""
    asked = run.step.approvals if run.step is not None else ()
    known = (run.approvals[approval_id] for approval_id in asked)
    return tuple(one.approval_id for one in known if one.proposal is not None and one.status is ApprovalStatus.APPROVED)

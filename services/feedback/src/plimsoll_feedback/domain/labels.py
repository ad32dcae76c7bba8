"""The first label of a failure: which category, and on what evidence. People correct it later by a signal."""

from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.failures import Category, Failure

from plimsoll_feedback.domain.events import Decision, Receipt, RunEnd
from plimsoll_feedback.domain.operation import OperationId, RunId

STATED = "stated by the service that reported it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A failure with its category, and why it bears that one."""

    failure: Failure
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A label that was given to an operation afterwards: by a rule, or, with the rule `person`, by somebody. A person's wins."""

    tenant: str
    run_id: RunId
    operation_id: OperationId
    category: Category
    rule: str
    evidence: str
    agent: str
    started_at: datetime
    created_at: datetime


def label_stated(failure: Failure | None) -> Label | None:
    """Whoever reports a failure also says what kind it is."""
    return None if failure is None else Label(failure=failure, evidence=STATED)


def label_search(failure: Failure | None, receipt: Receipt, collection: str) -> Label | None:
    """A search that worked and returned nothing is a failure of retrieval, whatever the graph makes of it."""
    if failure is not None or receipt.returned > 0:
        return label_stated(failure)
    empty = Failure(
        category=Category.RETRIEVAL_EMPTY,
        reason="NOTHING_RETURNED",
        message=f"nothing in {collection} answers the query",
        where=collection,
    )
    return Label(failure=empty, evidence=f"the receipt says 0 of {receipt.requested} passages")


def label_decision(decision: Decision, node: str) -> Label | None:
    """A refusal is `approval_rejected`, silence until the end is `timeout`; a withdrawn question is nobody's failure."""
    match decision:
        case Decision.REJECTED:
            refused = Failure(category=Category.APPROVAL_REJECTED, reason="APPROVAL_REJECTED", message="a person said no", where=node)
            return Label(failure=refused, evidence="the decision")
        case Decision.EXPIRED:
            expired = Failure(category=Category.TIMEOUT, reason="APPROVAL_EXPIRED", message="nobody decided in time", where=node)
            return Label(failure=expired, evidence="the decision")
        case Decision.APPROVED | Decision.WITHDRAWN:
            return None


def label_run_end(end: RunEnd, failure: Failure | None) -> Label | None:
    """A cancelled run did what it was told: no failure. A failed one that does not say why is a fault of ours."""
    match end:
        case RunEnd.SUCCEEDED | RunEnd.CANCELLED:
            return None
        case RunEnd.FAILED if failure is None:
            unsaid = Failure(category=Category.INTERNAL, reason="FAILURE_NOT_STATED", message="the run failed without saying why")
            return Label(failure=unsaid, evidence="the run ended as failed and stated no failure")
        case RunEnd.FAILED:
            return label_stated(failure)

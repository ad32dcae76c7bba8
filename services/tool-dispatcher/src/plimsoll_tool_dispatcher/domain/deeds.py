"""What the audit log is told: the deeds of people about tools, grants and calls, and what policy refused. Names and digests, no values."""

from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.json_types import JsonObject

from plimsoll_tool_dispatcher.domain.ledger import Acted, Completed, Doubt, Finding, Reservation
from plimsoll_tool_dispatcher.domain.registry import Standing
from plimsoll_tool_dispatcher.domain.tool import Tool


def registered(tool: Tool, by: str) -> AuditRecord:
    details: JsonObject = {"version": tool.version, "digest": tool.digest, "effect": tool.effect.value, "risk": tool.risk.value}
    return AuditRecord(tenant=tool.tenant, actor=by, action="tool.registered", subject=f"tool:{tool.name}", details=details)


def unregistered(tenant: str, name: str, by: str) -> AuditRecord:
    return AuditRecord(tenant=tenant, actor=by, action="tool.unregistered", subject=f"tool:{name}")


def decided(tenant: str, name: str, standing: Standing, by: str) -> AuditRecord:
    details: JsonObject = {"disabled": standing.disabled, "pinned": standing.pinned, "accepted": standing.accepted}
    return AuditRecord(tenant=tenant, actor=by, action="tool.decided", subject=f"tool:{name}", details=details)


def quarantined(tool: Tool, accepted: str) -> AuditRecord:
    """Its source, which is not trusted, offers another definition than the one that may run."""
    details: JsonObject = {"offered": tool.digest, "accepted": accepted}
    return AuditRecord(tenant=tool.tenant, actor=tool.origin, action="tool.quarantined", subject=f"tool:{tool.name}", details=details)


def grant_spent(reservation: Reservation) -> AuditRecord | None:
    """None for a call that needed no grant."""
    call, grant = reservation.call, reservation.grant
    if grant is None:
        return None
    details: JsonObject = {
        "tool": reservation.tool.name,
        "call_key": call.key,
        "call_digest": grant.call_digest,
        "run_id": call.work.run_id,
        "approved_by": [*sorted(grant.approvers)],
        "policy": reservation.ruling.policy,
    }
    return AuditRecord(
        tenant=call.tenant, actor=f"agent:{call.work.agent}", action="grant.spent", subject=f"grant:{grant.id}", details=details
    )


def grant_revoked(tenant: str, grant_id: str, by: str) -> AuditRecord:
    return AuditRecord(tenant=tenant, actor=by, action="grant.revoked", subject=f"grant:{grant_id}")


def call_resolved(doubt: Doubt, finding: Finding, by: str) -> AuditRecord:
    """Somebody said what became of a call that nobody knew the outcome of."""
    details: JsonObject = {"tool": doubt.tool, "call_key": doubt.claim.call_key, "acted": isinstance(finding, Acted)}
    subject = f"call:{doubt.claim.call_id}"
    return AuditRecord(tenant=doubt.claim.tenant, actor=by, action="call.resolved", subject=subject, details=details)


def call_denied(completed: Completed) -> AuditRecord:
    """Policy, or a grant that does not hold, kept a call from running."""
    details: JsonObject = {
        "tool_digest": completed.tool_digest,
        "call_key": completed.call_key,
        "run_id": completed.work.run_id,
        "reason": completed.failure.reason if completed.failure else "",
        "policy": completed.policy,
        "rules": list(completed.rules),
    }
    actor = f"agent:{completed.work.agent}"
    return AuditRecord(tenant=completed.tenant, actor=actor, action="call.denied", subject=f"tool:{completed.tool}", details=details)

"""What the audit log is told: what people decide about datasets and plans, and what they take out. Names, counts and digests, no contents."""

from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.json_types import JsonObject

from plimsoll_feedback.domain.learning.datasets import DatasetName, DatasetSpec, ExampleId, ItemId
from plimsoll_feedback.domain.learning.exporting import Export
from plimsoll_feedback.domain.learning.improvements import Plan


def dataset_put(tenant: str, spec: DatasetSpec, by: str) -> AuditRecord:
    details: JsonObject = {
        "prompt": spec.prompt,
        "rules": len(spec.rules),
        "redactions": len(spec.redactions),
        "annotators": spec.annotators,
        "agreement": spec.agreement,
        "retention_s": spec.retention_s,
    }
    return AuditRecord(tenant=tenant, actor=by, action="dataset.put", subject=f"dataset:{spec.name}", details=details)


def dataset_exported(tenant: str, name: DatasetName, export: Export, by: str) -> AuditRecord:
    details: JsonObject = {key: export.header[key] for key in ("version", "format", "lines", "sha256")}
    return AuditRecord(tenant=tenant, actor=by, action="dataset.exported", subject=f"dataset:{name}", details=details)


def example_deleted(tenant: str, name: DatasetName, example_id: ExampleId, by: str) -> AuditRecord:
    return AuditRecord(tenant=tenant, actor=by, action="example.deleted", subject=f"example:{example_id}", details={"dataset": name})


def item_discarded(tenant: str, name: DatasetName, item_id: ItemId, annotators: tuple[str, ...], by: str) -> AuditRecord:
    """`by` is whose word was the last that it took."""
    details: JsonObject = {"dataset": name, "annotators": list(annotators)}
    return AuditRecord(tenant=tenant, actor=by, action="item.discarded", subject=f"item:{item_id}", details=details)


def plan_put(tenant: str, plan: Plan, by: str) -> AuditRecord:
    details: JsonObject = {
        "dataset": plan.dataset,
        "label": plan.label,
        "every_s": plan.every_s,
        "on_alert": plan.on_alert,
        "no_rollback": plan.no_rollback,
        "reflection": plan.reflection,
    }
    return AuditRecord(tenant=tenant, actor=by, action="plan.put", subject=f"prompt:{plan.prompt}", details=details)

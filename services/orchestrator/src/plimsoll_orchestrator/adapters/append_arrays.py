"""A batch of appends as the arrays of one statement."""

from collections.abc import Sequence

import msgspec
from plimsoll_runtime.json_types import dump_json

from plimsoll_orchestrator.domain.journal import ApprovalAsked, ApprovalDecided, encode_entry
from plimsoll_orchestrator.ports import Append


def append_arguments(batch: Sequence[Append]) -> tuple[list[object], ...]:
    """Arguments $1..$32 of statements.APPEND."""
    usages = [append.run.usage for append in batch]
    entries = [(append.run_id, append.expected_seq + place, entry) for append in batch for place, entry in enumerate(append.entries, 1)]
    asked = [(run_id, entry) for run_id, _, entry in entries if isinstance(entry, ApprovalAsked)]
    decided = [(run_id, entry) for run_id, _, entry in entries if isinstance(entry, ApprovalDecided)]
    return (
        [append.run_id for append in batch],
        [append.tenant for append in batch],
        [append.epoch for append in batch],
        [append.expected_seq for append in batch],
        [append.expected_seq + len(append.entries) for append in batch],
        [(append.release.status if append.release else append.run.status).value for append in batch],
        [append.release is not None for append in batch],
        [append.release.wake_at if append.release else None for append in batch],
        [append.run.node for append in batch],
        [append.run.steps for append in batch],
        [usage.input_tokens for usage in usages],
        [usage.output_tokens for usage in usages],
        [usage.cached_input_tokens for usage in usages],
        [usage.reasoning_tokens for usage in usages],
        [usage.cost_micros for usage in usages],
        [append.run.rehearsal for append in batch],
        [append.run.is_final for append in batch],
        [run_id for run_id, _, _ in entries],
        [seq for _, seq, _ in entries],
        [encode_entry(entry) for _, _, entry in entries],
        [entry.approval_id for _, entry in asked],
        [run_id for run_id, _ in asked],
        [entry.node for _, entry in asked],
        [entry.summary for _, entry in asked],
        [dump_json(entry.details) for _, entry in asked],
        [msgspec.json.encode(entry.proposal).decode() if entry.proposal else None for _, entry in asked],
        [entry.expires_at for _, entry in asked],
        [run_id for run_id, _ in decided],
        [entry.approval_id for _, entry in decided],
        [entry.status.value for _, entry in decided],
        [entry.decided_by for _, entry in decided],
        [entry.comment for _, entry in decided],
    )

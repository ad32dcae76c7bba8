"""A batch of appends as the arrays of one statement."""

from collections.abc import Sequence

from plimsoll_orchestrator.ports import Append


def append_arguments(batch: Sequence[Append]) -> tuple[list[object], ...]:
    """Arguments $1..$21 of statements.APPEND: 18 with an element per run, 3 with an element per entry."""
    usages = [append.run.usage for append in batch]
    places = [(append.run_id, append.expected_seq + place) for append in batch for place in range(1, len(append.entries) + 1)]
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
        [append.mail for append in batch],
        [run_id for run_id, _ in places],
        [seq for _, seq in places],
        [text for append in batch for text in append.encoded],
    )

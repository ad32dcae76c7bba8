"""The statement that commits a batch of appends, in two forms: any number of runs as arrays, and a run that only goes on as plain values.

The second is what a run that is alone takes at each step: without the arrays, their join, and the columns that change only when a run is
let go of or ends, the server has half as much to do.
"""

from collections.abc import Sequence
from typing import Final

from plimsoll_orchestrator.ports import Append

_OF_A_RUN: Final = {
    "run_id": "text",
    "tenant": "text",
    "epoch": "bigint",
    "expected": "bigint",
    "new_seq": "bigint",
    "status": "text",
    "released": "boolean",
    "wake_at": "timestamptz",
    "node": "text",
    "steps": "bigint",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cached_input_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "cost_micros": "bigint",
    "rehearsal": "boolean",
    "finished": "boolean",
    "mail": "bigint",
}
_PLACES: Final = {name: place for place, name in enumerate(_OF_A_RUN, 1)}
_NEXT: Final = len(_OF_A_RUN) + 1  # the first place of what is there once per entry

_SET: Final = """
    update runs r
    set seq = b.new_seq, node = b.node, status = b.status, steps = b.steps,
        input_tokens = b.input_tokens, output_tokens = b.output_tokens, cached_input_tokens = b.cached_input_tokens,
        reasoning_tokens = b.reasoning_tokens, cost_micros = b.cost_micros, rehearsal = b.rehearsal,
        epoch = case when b.released then r.epoch + 1 else r.epoch end,
        worker = case when b.released then null else r.worker end,
        wake_at = case when not b.released then r.wake_at
                       when r.gated and b.epoch < 0 then null
                       when b.finished then null
                       when r.mail > b.mail then now()
                       when b.epoch < 0 and b.status = 'paused' and r.mail > 0 then now()  -- a demand to stop may be among them
                       else b.wake_at end,
        gated = r.gated and not b.finished,
        abandoned = case when b.new_seq > b.expected then '{}' else r.abandoned end,
        finished_at = case when b.finished then now() else r.finished_at end
"""
_WHERE: Final = """
    where r.run_id = b.run_id and r.tenant = b.tenant and r.seq = b.expected and r.finished_at is null
      and (r.epoch = b.epoch or b.epoch < 0)
      and not (b.status = 'succeeded' and r.mail > b.mail)  -- what was said to it before its end is read first
    returning r.run_id, r.tenant, greatest(b.epoch, 0) as epoch, b.expected as expected, b.new_seq as new_seq, r.mail
"""
_NOTE: Final = """
noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs)
    select array_agg(run_id), array_agg(expected + 1), array_agg(new_seq) from moved where new_seq > expected having count(*) > 0
)
select run_id, mail, now() as at from moved
"""


_OF_MANY: Final = f"""
with batch as (
    select * from unnest({", ".join(f"${place}::{_OF_A_RUN[name]}[]" for name, place in _PLACES.items())}) as b ({", ".join(_OF_A_RUN)})
), moved as ({_SET} from batch b {_WHERE}), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select e.run_id, e.seq, m.tenant, m.epoch, e.entry
    from unnest(${_NEXT}::bigint[], ${_NEXT + 1}::text[], ${_NEXT + 2}::text[]) as e (seq, entry, run_id) join moved m using (run_id)
), {_NOTE}
"""

# One that its holder keeps, and that has got on: all else stays as it is.
_ONWARD: Final = """
with moved as (
    update runs
    set seq = $4, node = $5, status = $6, steps = $7, input_tokens = $8, output_tokens = $9, cached_input_tokens = $10,
        reasoning_tokens = $11, cost_micros = $12, rehearsal = $13, abandoned = '{}'
    where run_id = $1::text and tenant = $2 and epoch = $3::bigint and seq = $4::bigint - cardinality($14::text[]) and finished_at is null
    returning run_id, mail
), written as (
    insert into journal (run_id, seq, tenant, epoch, entry)
    select $1, $4 - cardinality($14) + e.place, $2, $3, e.entry from moved, unnest($14) with ordinality as e (entry, place)
), noted as (
    insert into journal_outbox (run_ids, first_seqs, last_seqs)
    select array[$1], array[$4 - cardinality($14) + 1], array[$4] from moved
)
select run_id, mail, now() as at from moved
"""


def append_statement(batch: Sequence[Append]) -> tuple[str, tuple[object, ...]]:
    """The statement that commits the batch, and its arguments."""
    if len(batch) == 1 and _goes_on(batch[0]):
        return _ONWARD, _of_one_that_goes_on(batch[0])
    seqs = [append.expected_seq + place for append in batch for place in range(1, len(append.entries) + 1)]
    entries = [text for append in batch for text in append.encoded]
    run_ids = [append.run_id for append in batch for _ in append.entries]
    return _OF_MANY, (*map(list, zip(*map(_of_a_run, batch), strict=True)), seqs, entries, run_ids)


def _goes_on(append: Append) -> bool:
    return append.release is None and append.epoch >= 0 and bool(append.entries) and not append.run.is_final


def _of_one_that_goes_on(append: Append) -> tuple[object, ...]:
    run, usage = append.run, append.run.usage
    return (
        append.run_id,
        append.tenant,
        append.epoch,
        append.expected_seq + len(append.entries),
        run.node,
        run.status.value,
        run.steps,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        usage.cost_micros,
        run.rehearsal,
        append.encoded,
    )


def _of_a_run(append: Append) -> tuple[object, ...]:
    """In the order of _OF_A_RUN."""
    run, release, usage = append.run, append.release, append.run.usage
    return (
        append.run_id,
        append.tenant,
        append.epoch,
        append.expected_seq,
        append.expected_seq + len(append.entries),
        (release.status if release else run.status).value,
        release is not None,
        release.wake_at if release else None,
        run.node,
        run.steps,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        usage.cost_micros,
        run.rehearsal,
        run.is_final,
        append.mail,
    )

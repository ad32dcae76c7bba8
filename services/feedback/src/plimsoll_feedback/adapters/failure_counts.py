"""Counting failures by category: the statement, and why it counts as it does.

A failure is often reported at several levels: by the call, the step around it and the run that ends with it. Within a run each category
counts as often as the level that saw it most. A label that was given afterwards moves what it is about from one category to another, a
person's before a rule's, the latest before earlier ones; what had worked and was found wrong afterwards counts anew. Calls that judge versions are no part of production.
"""

from typing import Final

REASONS_CAP: Final = 5

COUNT_FAILURES: Final = """
with failed as (
    select category, reason, kind, started_at, case when run_id = '' then operation_id else run_id end as subject
    from operations
    where tenant = $1 and started_at >= $2 and started_at < $3 and ($4::text is null or agent = $4) and category is not null
        and facts ->> 'purpose' is null
), levels as (
    select category, subject, kind, count(*) as seen, max(started_at) as last_at from failed group by category, subject, kind
), reported as (
    select category, subject, max(seen) as seen, max(last_at) as last_at from levels group by category, subject
), said as (
    select run_id, operation_id, category, 'CORRECTED' as reason, 0 as rank, created_at from signals
    where tenant = $1 and kind = 'category' and created_at >= $2
    union all
    select run_id, operation_id, category, upper(rule), 1, created_at from labels where tenant = $1 and started_at >= $2 and started_at < $3
), given as (
    select distinct on (run_id, operation_id) * from said order by run_id, operation_id, rank, created_at desc
), moved as (
    select operations.category as before, given.category as after, given.reason, operations.run_id as subject, operations.kind, count(*) as seen,
        max(started_at) as last_at
    from given join operations on operations.tenant = $1 and operations.run_id = given.run_id
        and (operations.operation_id = given.operation_id or given.operation_id is null and operations.kind = 'run')
    where started_at >= $2 and started_at < $3 and ($4::text is null or agent = $4)
    group by 1, 2, 3, 4, 5
), moves as (
    select before, after, reason, subject, max(seen) as seen, max(last_at) as last_at from moved group by before, after, reason, subject
), subjects as (
    select category, reported.seen - coalesce((
        select sum(moves.seen) from moves where moves.subject = reported.subject and moves.before = reported.category
    ), 0) as seen, last_at from reported
    union all
    select after, seen, last_at from moves
), reasons as (
    select category, reason, count(*) as seen from failed group by category, reason
    union all
    select after, reason, count(*) from moves group by after, reason
), ranked as (
    select category, reason, row_number() over (partition by category order by seen desc, reason) as place from reasons
)
select category, sum(greatest(seen, 0))::bigint as seen, max(last_at) as last_at,
    array(select reason from ranked where ranked.category = subjects.category and place <= $5 order by place) as reasons
from subjects group by category having sum(greatest(seen, 0)) > 0 order by seen desc, category
"""

COUNT_ALL: Final = """
select count(*) from operations where tenant = $1 and started_at >= $2 and started_at < $3 and ($4::text is null or agent = $4)
    and facts ->> 'purpose' is null
"""

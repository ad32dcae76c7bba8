"""Conversations in PostgreSQL: threads, turns, facts, and the keys under which they were remembered."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import asyncpg
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext

from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.conversation import (
    NEVER_LEARNED,
    Claim,
    Fact,
    Forgotten,
    Origin,
    Remembered,
    Remembering,
    Summary,
    ThreadHead,
    Turn,
    tokens_of,
)
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.errors import KeyReused

_TURN = "number, origin, body, tokens, work, created_at"
_FACT = "fact_id, subject, attribute, body, origin, thread_id, turn, work, metadata, superseded_by, times, created_at, last_at"
_MOST_TURNS, _MOST_FACTS = 10_000, 1_000  # of a thread, of a subject
_MOST_READ = 5_000  # turns
_KNOWN = 50

_TAKE_KEY = """
    insert into remembered (tenant, place, key, digest, outcome, created_at) values ($1, $2, $3, $4, '{}', $5)
    on conflict do nothing returning true
"""
_FIND_KEY = "select digest, outcome from remembered where tenant = $1 and place = $2 and key = $3"
_KEEP_OUTCOME = "update remembered set outcome = $4 where tenant = $1 and place = $2 and key = $3"
_FORGET_KEYS = "delete from remembered where tenant = $1 and place = $2"

# Holds the thread's row until the end: its turns are numbered one request at a time.
_PUT_THREAD = """
    insert into threads as thread (tenant, thread_id, turns, created_at, updated_at) values ($1, $2, $3, $4, $4)
    on conflict (tenant, thread_id) do update set turns = thread.turns + $3, updated_at = $4
    returning turns
"""
_PUT_TURNS = f"""
    insert into turns (tenant, thread_id, number, origin, body, tokens, work, lexemes, created_at)
    select $1, $2, one.number, one.origin, one.body, one.tokens, $3, to_tsvector($4::text::regconfig, one.body), $5
    from unnest($6::bigint[], $7::text[], $8::text[], $9::bigint[]) as one (number, origin, body, tokens)
    returning {_TURN}
"""
_TRIM_TURNS = "delete from turns where tenant = $1 and thread_id = $2 and number <= $3"
_PUT_SUMMARY = """
    update threads set summary = $3, summary_through = $4, summary_by = $5
    where tenant = $1 and thread_id = $2 and summary_through <= $4 and turns >= $4 and ($6::bigint is null or summary_through = $6)
    returning true
"""
# Who learns about one subject takes turns with others who do: what is new and what supersedes is decided by one at a time.
_LOCK_SUBJECT = "select pg_advisory_xact_lock(hashtextextended($1 || E'\\n' || $2, 0))"
_SAID_AGAIN = f"""
    update facts set times = times + 1, last_at = $5
    where tenant = $1 and subject = $2 and attribute = $3 and canonical = $4 and superseded_by = ''
    returning {_FACT}
"""
_SUPERSEDE = """
    update facts set superseded_by = $4 where tenant = $1 and subject = $2 and attribute = $3 and attribute <> '' and superseded_by = ''
"""
_PUT_FACT = f"""
    insert into facts (tenant, fact_id, subject, attribute, body, canonical, origin, thread_id, turn, work, metadata, lexemes, created_at, last_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, to_tsvector($12::text::regconfig, $4 || ' ' || $5), $13, $13)
    returning {_FACT}
"""
# Over the limit go those that no longer hold, then those said least lately.
_TRIM_FACTS = """
    delete from facts where tenant = $1 and fact_id in (
        select fact_id from facts where tenant = $1 and subject = $2 order by superseded_by <> '', last_at desc, fact_id desc offset $3
    )
"""
_HEAD = "select turns, summary, summary_through, summary_by from threads where tenant = $1 and thread_id = $2"
_LATEST = f"""
    select {_TURN} from (
        select *, sum(tokens) over (order by number desc) - tokens as before
        from (select {_TURN} from turns where tenant = $1 and thread_id = $2 and number > $4 order by number desc limit {_MOST_READ}) as latest
    ) as counted
    where before < $3 order by number desc
"""
_MATCHING = f"""
    select {_TURN} from turns
    where tenant = $1 and thread_id = $2 and lexemes @@ any_word($3, $4) and origin <> all ($5::text[])
    order by ts_rank(lexemes, any_word($3, $4)) desc, number desc limit $6
"""
_HOLDING = f"""
    select {_FACT} from facts
    where tenant = $1 and subject = any ($2::text[]) and superseded_by = ''
    order by coalesce(ts_rank(lexemes, any_word($3, $4)), 0) desc, last_at desc, fact_id limit $5
"""
_FACTS_OF = f"""
    select {_FACT} from facts
    where tenant = $1 and (case when $2 <> '' then subject = $2 else thread_id = $3 end) and ($4 or superseded_by = '')
      and ($5 = '' or fact_id < $5)
    order by fact_id desc limit $6
"""
_CHAIN = """
    with recursive chain as (
        select fact_id from facts where tenant = $1 and fact_id = $2
        union select facts.fact_id from facts join chain on facts.tenant = $1 and facts.superseded_by = chain.fact_id
    )
    delete from facts where tenant = $1 and fact_id in (select fact_id from chain) returning 1
"""
_KNOWN_TEXTS = """
    select body from turns where tenant = $1 and thread_id = $2 and origin = any ($3::text[]) order by number desc limit $4
"""


class PostgresThreads:
    """A ThreadStore."""

    def __init__(
        self, pool: asyncpg.Pool, ids: Ids, language: str, *, most_turns: int = _MOST_TURNS, most_facts: int = _MOST_FACTS
    ) -> None:
        self._most_turns = most_turns
        self._most_facts = most_facts
        self._pool = pool
        self._ids = ids
        self._language = language

    async def find(self, tenant: str, request: Remembering) -> Remembered | None:
        async with working_for(self._pool, tenant) as connection:
            return await _replayed(connection, tenant, request)

    async def keep_key(self, tenant: str, request: Remembering, at: datetime) -> None:
        async with working_for(self._pool, tenant) as connection:
            await connection.execute(_TAKE_KEY, tenant, request.place, request.key, request.digest, at)
            await connection.execute(_KEEP_OUTCOME, tenant, request.place, request.key, _outcome([], [], ()))

    async def remember(
        self, tenant: str, request: Remembering, claims: Sequence[Claim], left_out: Sequence[str], at: datetime
    ) -> Remembered:
        thread_id = request.thread_id
        async with working_for(self._pool, tenant) as connection:
            if not await connection.fetchval(_TAKE_KEY, tenant, request.place, request.key, request.digest, at):
                replayed = await _replayed(connection, tenant, request)
                assert replayed is not None
                return replayed
            writing = _Writing(connection=connection, tenant=tenant, request=request, language=self._language, at=at)
            turns = await writing.put_turns()
            if turns:
                await connection.execute(_TRIM_TURNS, tenant, thread_id, turns[-1].number - self._most_turns)
            kept = list(left_out)
            if request.summary and not await _put_summary(connection, tenant, thread_id, request.summary):
                kept.append("summary: covers less than the one that is kept, or turns that are not there")
            facts = [await writing.put_fact(claim, turns, self._ids.new("fact")) for claim in await writing.in_turn(claims)]
            for subject in {fact.subject for fact in facts}:
                await connection.execute(_TRIM_FACTS, tenant, subject, self._most_facts)
            outcome = _outcome([turn.number for turn in turns], [fact.fact_id for fact in facts], kept)
            await connection.execute(_KEEP_OUTCOME, tenant, request.place, request.key, outcome)
        return Remembered(turns=turns, facts=facts, changed=True, left_out=tuple(kept))

    async def head(self, tenant: str, thread_id: str) -> ThreadHead:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_HEAD, tenant, thread_id)
        if row is None:
            return ThreadHead(turns=0, summary=Summary(text="", through=0, made_by=""))
        return ThreadHead(
            turns=row["turns"], summary=Summary(text=row["summary"], through=row["summary_through"], made_by=row["summary_by"])
        )

    async def latest(self, tenant: str, thread_id: str, *, tokens: int, after: int = 0) -> Sequence[Turn]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_LATEST, tenant, thread_id, tokens, after)
        return [_turn(row) for row in rows]

    async def matching(self, tenant: str, thread_id: str, query: str, limit: int) -> Sequence[Turn]:
        never = [origin.value for origin in NEVER_LEARNED]
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_MATCHING, tenant, thread_id, self._language, query, never, limit)
        return [_turn(row) for row in rows]

    async def holding(self, tenant: str, subjects: Sequence[str], query: str, limit: int) -> Sequence[Fact]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_HOLDING, tenant, list(subjects), self._language, query, limit)
        return [_fact(row) for row in rows]

    async def facts(self, tenant: str, subject: str, thread_id: str, page: PageRequest, *, superseded: bool) -> Sequence[Fact]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_FACTS_OF, tenant, subject, thread_id, superseded, page.after, page.size)
        return [_fact(row) for row in rows]

    async def known_texts(self, tenant: str, thread_id: str) -> Sequence[str]:
        never = [origin.value for origin in NEVER_LEARNED]
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_KNOWN_TEXTS, tenant, thread_id, never, _KNOWN)
        return [row["body"] for row in rows]

    async def put_summary(self, tenant: str, thread_id: str, summary: Summary, *, before: int) -> None:
        async with working_for(self._pool, tenant) as connection:
            await _put_summary(connection, tenant, thread_id, summary, before)

    async def forget_thread(self, tenant: str, thread_id: str, subject: str) -> Forgotten:
        async with working_for(self._pool, tenant) as connection:
            turns = await connection.fetch("delete from turns where tenant = $1 and thread_id = $2 returning 1", tenant, thread_id)
            await connection.execute("delete from threads where tenant = $1 and thread_id = $2", tenant, thread_id)
            facts = await connection.fetch(
                "delete from facts where tenant = $1 and (thread_id = $2 or subject = $3) returning 1", tenant, thread_id, subject
            )
            await connection.execute(_FORGET_KEYS, tenant, f"thread/{thread_id}")
        return Forgotten(turns=len(turns), facts=len(facts))

    async def forget_subject(self, tenant: str, subject: str) -> Forgotten:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch("delete from facts where tenant = $1 and subject = $2 returning 1", tenant, subject)
        return Forgotten(turns=0, facts=len(rows))

    async def forget_fact(self, tenant: str, fact_id: str) -> Forgotten:
        async with working_for(self._pool, tenant) as connection:
            return Forgotten(turns=0, facts=len(await connection.fetch(_CHAIN, tenant, fact_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """One request being written, in a transaction."""

    connection: asyncpg.Connection
    tenant: str
    request: Remembering
    language: str
    at: datetime

    async def put_turns(self) -> Sequence[Turn]:
        sayings, thread_id = self.request.sayings, self.request.thread_id
        last = await self.connection.fetchval(_PUT_THREAD, self.tenant, thread_id, len(sayings), self.at)
        if not sayings:
            return []
        rows = await self.connection.fetch(
            _PUT_TURNS,
            self.tenant,
            thread_id,
            _work(self.request.work),
            self.language,
            self.at,
            list(range(last - len(sayings) + 1, last + 1)),
            [saying.origin.value for saying in sayings],
            [saying.text for saying in sayings],
            [tokens_of(saying.text) for saying in sayings],
        )
        return [_turn(row) for row in rows]

    async def in_turn(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """The claims, once their subjects are ours alone; always locked in the same order."""
        for subject in sorted({claim.subject for claim in claims}):
            await self.connection.execute(_LOCK_SUBJECT, self.tenant, subject)
        return claims

    async def put_fact(self, claim: Claim, turns: Sequence[Turn], fact_id: str) -> Fact:
        said = (self.tenant, claim.subject, claim.attribute)
        row = await self.connection.fetchrow(_SAID_AGAIN, *said, claim.canonical, self.at)
        if row is None:
            await self.connection.execute(_SUPERSEDE, *said, fact_id)
            row = await self.connection.fetchrow(
                _PUT_FACT,
                self.tenant,
                fact_id,
                claim.subject,
                claim.attribute,
                claim.text,
                claim.canonical,
                claim.origin.value,
                self.request.thread_id,
                turns[claim.saying - 1].number if claim.saying else 0,
                _work(self.request.work),
                claim.metadata,
                self.language,
                self.at,
            )
        return _fact(row)


async def _put_summary(connection: asyncpg.Connection, tenant: str, thread_id: str, summary: Summary, before: int | None = None) -> bool:
    kept = await connection.fetchval(_PUT_SUMMARY, tenant, thread_id, summary.text, summary.through, summary.made_by, before)
    return kept is not None


async def _replayed(connection: asyncpg.Connection, tenant: str, request: Remembering) -> Remembered | None:
    """What the key stored, as far as it was not forgotten. Raises KeyReused when it stored something else."""
    row = await connection.fetchrow(_FIND_KEY, tenant, request.place, request.key)
    if row is None:
        return None
    if row["digest"] != request.digest:
        raise KeyReused(f"the key {request.key!r} stored something else before", remedy="use a key once, or send the same again")
    outcome = row["outcome"]
    turns = await connection.fetch(
        f"select {_TURN} from turns where tenant = $1 and thread_id = $2 and number = any ($3::bigint[]) order by number",
        tenant,
        request.thread_id,
        outcome["turns"],
    )
    facts = await connection.fetch(f"select {_FACT} from facts where tenant = $1 and fact_id = any ($2::text[])", tenant, outcome["facts"])
    order = {fact_id: at for at, fact_id in enumerate(outcome["facts"])}
    return Remembered(
        turns=[_turn(one) for one in turns],
        facts=sorted((_fact(one) for one in facts), key=lambda fact: order[fact.fact_id]),
        changed=False,
        left_out=tuple(outcome["left_out"]),
    )


def _outcome(turns: Sequence[int], facts: Sequence[str], left_out: Sequence[str]) -> JsonObject:
    return {"turns": list(turns), "facts": list(facts), "left_out": list(left_out)}


def _work(work: WorkContext | None) -> JsonObject | None:
    """What a turn or a fact came of. What the run had read by then is the run's to know."""
    return {name: value for name, value in asdict(work).items() if name != "labels"} if work else None


def _turn(row: asyncpg.Record) -> Turn:
    return Turn(
        number=row["number"],
        origin=Origin(row["origin"]),
        text=row["body"],
        tokens=row["tokens"],
        work=WorkContext(**row["work"]) if row["work"] else None,
        created_at=row["created_at"],
    )


def _fact(row: asyncpg.Record) -> Fact:
    return Fact(
        fact_id=row["fact_id"],
        subject=row["subject"],
        attribute=row["attribute"],
        text=row["body"],
        origin=Origin(row["origin"]),
        thread_id=row["thread_id"],
        turn=row["turn"],
        work=WorkContext(**row["work"]) if row["work"] else None,
        metadata=row["metadata"],
        superseded_by=row["superseded_by"],
        times=row["times"],
        created_at=row["created_at"],
        last_at=row["last_at"],
    )

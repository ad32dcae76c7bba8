"""Prompts in PostgreSQL: versions are inserted once and never updated, labels are moved."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.postgres import translating

from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Example, Prompt, PromptReference, Template
from plimsoll_model_router.errors import UnknownPrompt

_COLUMNS = """
    v.name, v.version, v.digest, v.description, v.content, v.created_at,
    array(select l.label from prompt_labels l where (l.tenant, l.name, l.version) = (v.tenant, v.name, v.version) order by l.label) as labels
"""
_BY_LABEL = f"""
    select {_COLUMNS} from prompt_labels wanted join prompt_versions v using (tenant, name, version)
    where wanted.tenant = $1 and wanted.name = $2 and wanted.label = $3
"""
_BY_VERSION = f"select {_COLUMNS} from prompt_versions v where v.tenant = $1 and v.name = $2 and v.version = $3"
_BY_DIGEST = f"select {_COLUMNS} from prompt_versions v where v.tenant = $1 and v.name = $2 and v.digest = $3"
_NEWEST = f"""
    select distinct on (v.name) {_COLUMNS} from prompt_versions v
    where v.tenant = $1 and v.name > $2 order by v.name, v.version desc limit $3
"""
_INSERT = """
    insert into prompt_versions (tenant, name, version, digest, description, content)
    values ($1, $2, (select coalesce(max(version), 0) + 1 from prompt_versions where tenant = $1 and name = $2), $3, $4, $5)
"""
_LABEL = """
    insert into prompt_labels (tenant, name, label, version) select $1, $2, unnest($3::text[]), $4
    on conflict (tenant, name, label) do update set version = excluded.version, moved_at = now()
    where prompt_labels.version <> excluded.version
"""


class PostgresPromptStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def register(self, tenant: str, template: Template, labels: Sequence[str]) -> tuple[Prompt, bool]:
        """Registrations of one name follow one another, so that versions have no gap and no twin."""
        name, digest = template.name, template.digest
        with translating():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"prompt {tenant} {name}")
                row = await connection.fetchrow(_BY_DIGEST, tenant, name, digest)
                created = row is None
                if created:
                    await connection.execute(_INSERT, tenant, name, digest, template.description, _content(template))
                    row = await connection.fetchrow(_BY_DIGEST, tenant, name, digest)
                if labels:
                    await connection.execute(_LABEL, tenant, name, list(dict.fromkeys(labels)), row["version"])
                    row = await connection.fetchrow(_BY_DIGEST, tenant, name, digest)
        return _prompt(row), created

    async def get(self, tenant: str, reference: PromptReference) -> Prompt:
        with translating():
            match reference.selector:
                case ByLabel(label=label):
                    row = await self._pool.fetchrow(_BY_LABEL, tenant, reference.name, label)
                case ByVersion(version=version):
                    row = await self._pool.fetchrow(_BY_VERSION, tenant, reference.name, version)
                case ByDigest(digest=digest):
                    row = await self._pool.fetchrow(_BY_DIGEST, tenant, reference.name, digest)
        if row is None:
            remedy = "register it, or name a version or label that exists"
            raise UnknownPrompt(problems=(FieldProblem("prompt", f"{reference} does not exist", remedy),))
        return _prompt(row)

    async def newest(self, tenant: str, after: str, limit: int) -> Sequence[Prompt]:
        with translating():
            return [_prompt(row) for row in await self._pool.fetch(_NEWEST, tenant, after, limit)]


def _content(template: Template) -> JsonObject:
    examples: list[JsonValue] = [{"user": example.user, "assistant": example.assistant} for example in template.examples]
    variables: list[JsonValue] = [*template.variables]
    return {"variables": variables, "system": template.system, "examples": examples, "user": template.user}


def _prompt(row: asyncpg.Record) -> Prompt:
    content = row["content"]
    template = Template(
        name=row["name"],
        description=row["description"],
        variables=tuple(content["variables"]),
        system=content["system"],
        examples=tuple(Example(user=example["user"], assistant=example["assistant"]) for example in content["examples"]),
        user=content["user"],
    )
    return Prompt(
        template=template, version=row["version"], created_at=row["created_at"], labels=tuple(row["labels"]), digest=row["digest"]
    )

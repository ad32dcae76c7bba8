"""The whole service under attack in mid-call: killed, cut off from its servers, raced; nothing is paid twice, no promise is lost."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from model_router_rooms import PROMPT, Stub, plain, running, settings_for, with_providers
from plimsoll.model_router.v1 import budget_pb2, registry_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_model_router.config import Settings
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Conflict, PlimsollError
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import RedisSettings, Secret, TlsSettings
from plimsoll_testkit.ports import free_port
from plimsoll_testkit.upstream import ANSWER, Outcome, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually

USED = 25 + 12  # what one answer of the scripted upstream takes
CAP = 1_000_000
WAITING = "select min(pid) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())"
BUDGET = budget_pb2.Budget(scope=budget_pb2.BUDGET_SCOPE_TENANT, period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=CAP)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("select set_config('search_path', 'model_router', false), set_config('plimsoll.tenant', 'acme', false)")
    yield connection
    await connection.close()


@pytest.fixture
def environ(postgres_dsn: str, nats_url: str, redis_url: str, upstream: ScriptedUpstream) -> Mapping[str, str]:
    """Of a process with the scripted upstream as its one provider."""
    address = f"127.0.0.1:{free_port()}"
    servers = {"POSTGRES_DSN": postgres_dsn, "NATS_URL": nats_url, "REDIS_URL": redis_url}
    provider = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{upstream.url}/v1", "OPENAI_MODEL": "fine"}
    return {"INSECURE": "true", "GRPC_LISTEN": address, **servers, **provider}


@contextmanager
def process(environ: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    told = {"PATH": os.environ["PATH"], **{f"PLIMSOLL_MODEL_ROUTER_{name}": value for name, value in environ.items()}}
    with log.open("ab") as output:
        child = subprocess.Popen([sys.executable, "-m", "plimsoll_model_router"], env=told, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.kill()
        child.wait(10)


@asynccontextmanager
async def served(address: str) -> AsyncIterator[Stub]:
    """A stub, once the process answers."""
    async with open_channel(address, TlsSettings(), "model-router") as channel:
        stub = rpc.ModelRouterServiceStub(channel)

        async def answers() -> bool:
            try:
                await call(stub.ListModels, pb.ListModelsRequest(), cap_s=2)
            except PlimsollError:
                return False
            return True

        with acting_for("acme"):
            await eventually(answers)
            yield stub


async def ask(stub: Stub, key: str = "", model: str = "") -> pb.GenerateResponse:
    asked = plain("Where is my parcel?", model)
    asked.request_key, asked.max_output_tokens = key, 200
    answered: pb.GenerateResponse = await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)
    return answered


async def status(stub: Stub) -> tuple[int, int]:
    [found] = (await call(stub.ListBudgets, pb.ListBudgetsRequest(), cap_s=60)).budgets
    return found.spent_tokens, found.reserved_tokens


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_router_killed_between_answer_and_settlement_charges_nothing_twice(
    environ: Mapping[str, str], upstream: ScriptedUpstream, database: asyncpg.Connection, tmp_path: Path, arrives: bool
) -> None:
    """What the dead one had sent to Postgres may still arrive there: then the repeat finds the answer. Otherwise its hold is spent."""
    address = environ["GRPC_LISTEN"]
    with process(environ, tmp_path / "log") as child:
        async with served(address) as stub, asyncio.TaskGroup() as group:
            await call(stub.SetBudget, pb.SetBudgetRequest(budget=BUDGET), cap_s=60)
            async with database.transaction():  # no call can be settled inside
                await database.execute("lock table calls in share mode")
                asking = group.create_task(failed(ask(stub, "k")))
                await eventually(lambda: [one.outcome for one in upstream.attempts] == [Outcome.ANSWERED])
                settling = await eventually(lambda: database.fetchval(WAITING))
                child.kill()
                child.wait(10)
                if not arrives:
                    assert await database.fetchval("select pg_terminate_backend($1)", settling)
            assert await asking
    await eventually(lambda: database.fetchval("select not exists (select 1 from pg_stat_activity where pid = $1)", settling))
    held = await database.fetchval("select coalesce(sum(tokens), 0) from open_calls")
    assert await database.fetchval("select count(*) from calls") == arrives
    assert bool(held) is not arrives
    await database.execute("update open_calls set lease_until = now() - interval '1 second'")
    with process(environ, tmp_path / "log"):
        async with served(address) as stub:
            first, again = (await ask(stub, "k")).answer, (await ask(stub, "k")).answer
            assert (first.recorded, again.recorded, again.call_id) == (arrives, True, first.call_id)
            assert await status(stub) == (held + USED, 0)
    assert len(upstream.attempts) == (1 if arrives else 2)
    assert await database.fetchval("select count(*) from calls") == 1


async def failed(asking: Awaitable[pb.GenerateResponse]) -> bool:
    try:
        await asking
    except PlimsollError:
        return True
    return False


async def test_a_call_outlives_the_loss_of_redis_and_of_every_connection_to_postgres(
    settings: Settings, upstream: ScriptedUpstream, database: asyncpg.Connection, redis_url: str
) -> None:
    async with running(with_providers(settings, upstream, "fine-paced", "fine")) as stub:
        await call(stub.SetBudget, pb.SetBudgetRequest(budget=BUDGET), cap_s=60)
        async with asyncio.TaskGroup() as group, open_redis(RedisSettings(url=Secret(redis_url))) as redis:
            asking = [group.create_task(ask(stub, key)) for key in ("", "k")]
            await eventually(lambda: len(upstream.attempts) == 2)
            await redis.flushdb()
            await database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%model-router%' and usename = user"
            )
        answers = [task.result().answer for task in asking]
        assert [answer.message.parts[0].text.text for answer in answers] == [ANSWER, ANSWER]
        assert (await ask(stub, "k")).answer.recorded

        async def settled() -> bool:
            return await status(stub) == (2 * USED, 0)

        await eventually(settled)
        assert len(upstream.attempts) == 2


async def test_of_two_replicas_that_move_one_label_at_once_one_wins_and_both_know(settings: Settings) -> None:
    async with running(settings) as one, running(settings) as other:
        versions = []
        for number in range(3):
            changed = type(PROMPT)()
            changed.CopyFrom(PROMPT)
            changed.system = f"Version {number}."
            labels = ["candidate"] if number == 0 else []
            made = await call(one.RegisterPrompt, pb.RegisterPromptRequest(prompt=changed, labels=labels), cap_s=60)
            versions.append(made.prompt.version)
        kind = registry_pb2.ENTRY_KIND_PROMPT

        async def move(stub: Stub, version: int) -> str:
            """Why it did not move; empty when it did."""
            target = registry_pb2.EntryReference(kind=kind, name=PROMPT.name, version=version)
            request = pb.MoveLabelRequest(target=target, label="candidate")
            try:
                await call(stub.MoveLabel, request, cap_s=60)
            except Conflict as error:
                return error.reason
            return ""

        async with asyncio.TaskGroup() as group:
            moving = [
                group.create_task(move(stub, version)) for _ in range(5) for stub, version in ((one, versions[1]), (other, versions[2]))
            ]
        assert "" in {task.result() for task in moving} <= {"", "LABEL_MOVED"}
        found = await call(one.ListLabelMoves, pb.ListLabelMovesRequest(kind=kind, name=PROMPT.name), cap_s=60)
        moves = list(found.moves)
        assert [late.from_version for late in moves[:-1]] == [early.to_version for early in moves[1:]]  # no move forgot another

"""The pytest plugin: fixtures for real servers, shared by all workers of a run, and for controlled time and ids."""

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from typing import Protocol, TypeVar

import hypothesis
import pytest

from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_testkit.ready import GUESTS, TEMPLATE, Ready
from plimsoll_testkit.shared import TestRun

T = TypeVar("T")

_RUN = pytest.StashKey[TestRun]()


class _WorkerNode(Protocol):
    """What xdist gives us of a worker about to start."""

    config: pytest.Config
    workerinput: dict[str, str]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The controller begins a run; a worker joins the one it was told of."""
    _settle_property_tests()
    told: dict[str, str] | None = getattr(config, "workerinput", None)
    config.stash[_RUN] = TestRun.begin() if told is None else TestRun.from_text(told["plimsoll_run"])


def _settle_property_tests() -> None:
    """A suite that judges changes has to say the same twice: the same examples each time. `make fuzz` explores others."""
    hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=False)
    hypothesis.settings.register_profile("explore", deadline=None, print_blob=True, max_examples=500)
    hypothesis.settings.load_profile("fixed")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _WorkerNode) -> None:
    """Tell each xdist worker which run it belongs to."""
    node.workerinput["plimsoll_run"] = node.config.stash[_RUN].to_text()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller leaves nothing running, whether the run ended well, badly or by Ctrl-C."""
    run = config.stash.get(_RUN, None)
    if run is not None and not hasattr(config, "workerinput"):
        run.end()


@pytest.fixture(scope="session")
def _servers(pytestconfig: pytest.Config) -> Ready:
    return pytestconfig.stash[_RUN].servers()


@pytest.fixture(scope="session")
def _guest(pytestconfig: pytest.Config) -> int:
    """Which of the guests this worker is."""
    worker: dict[str, str] = getattr(pytestconfig, "workerinput", {"workerid": "gw0"})
    number = int(worker["workerid"].removeprefix("gw"))
    if number >= len(GUESTS):
        pytest.fail(f"the test servers know {len(GUESTS)} workers; run with -n {len(GUESTS)} or fewer")
    return number


@pytest.fixture(scope="session")
def _postgres_role(_servers: Ready, _guest: int) -> str:
    """This worker's role: an ordinary one, so that no test passes by being superuser."""
    dsn = _servers.guests_postgres[_guest]
    password = dsn.split(":", 2)[2].split("@")[0]
    _complete(_statement(_servers.postgres, f"create role {GUESTS[_guest]} with login createrole password '{password}'"))
    return GUESTS[_guest]


@pytest.fixture
def postgres_dsn(_servers: Ready, _guest: int, _postgres_role: str) -> Iterator[str]:
    """An empty database of this test's own, with the vector extension in it; its role owns the database and is no superuser."""
    name = f"test_{_guest}_{secrets.token_hex(6)}"
    _complete(_statement(_servers.postgres, f"create database {name} template {TEMPLATE} owner {_postgres_role} strategy file_copy"))
    yield _servers.guests_postgres[_guest].rsplit("/", 1)[0] + f"/{name}"
    _complete(_statement(_servers.postgres, f"drop database {name} with (force)"))


@pytest.fixture
def postgres_superuser_dsn(postgres_dsn: str, _servers: Ready) -> str:
    """The same database for the superuser, to terminate sessions or make roles."""
    return _servers.postgres.rsplit("/", 1)[0] + "/" + postgres_dsn.rsplit("/", 1)[1]


@pytest.fixture
def nats_url(_servers: Ready, _guest: int) -> Iterator[str]:
    """A NATS account of this worker's own, without limits; every stream is gone after the test, so real stream names are fine."""
    yield _servers.guests_nats[_guest]
    _complete(_delete_streams(_servers.guests_nats[_guest]))


@pytest.fixture
def redis_url(_servers: Ready, _guest: int) -> Iterator[str]:
    """A Redis database of this worker's own, empty at the start of the test."""
    import redis  # noqa: PLC0415 - half a second, which a run without Redis should not pay

    url = _servers.guests_redis[_guest]
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
def ids() -> FakeIds:
    """Ids in sequence."""
    return FakeIds()


async def _statement(dsn: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415 - as below: only runs that need a server pay for its driver

    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close()


async def _delete_streams(url: str) -> None:
    import nats  # noqa: PLC0415 - a quarter of a second

    client = await nats.connect(url, connect_timeout=5)
    try:
        streams = client.jetstream()
        for info in await streams.streams_info():
            await streams.delete_stream(info.config.name or "")
    finally:
        await client.close()


def _complete(work: Coroutine[object, object, T]) -> T:
    """Run `work` on a loop of its own: fixtures serve tests with and without a loop, whatever its scope."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()

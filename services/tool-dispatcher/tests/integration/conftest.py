"""Fixtures that need real servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, Secret, ServerSettings, TlsSettings
from plimsoll_tool_dispatcher.config import Settings
from tool_dispatcher_running import Client, running, write_tools


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory with the tools that note what they do."""
    write_tools(tmp_path / "agents" / "acting" / "tools")
    return tmp_path / "agents" / "acting" / "tools"


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str, tools: Path) -> Settings:
    return Settings(
        server=ServerSettings(tls=TlsSettings(), insecure=True, drain_s=2.0),
        postgres=PostgresSettings(dsn=Secret(postgres_dsn)),
        nats=NatsSettings(url=Secret(nats_url)),
        redis=RedisSettings(url=Secret(redis_url)),
        tool_dirs=(str(tools.parent.parent / "*" / "tools"),),
        credentials_dir=str(tools.parent / "credentials"),
        scan_s=0.1,
        arguments_kib=16,
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with running(settings) as client:
        yield client

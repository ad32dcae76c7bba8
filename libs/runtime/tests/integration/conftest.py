"""A connection to the bus, and the server as it is without our code."""

from collections.abc import AsyncIterator

import nats
import pytest
from nats.js import JetStreamContext
from plimsoll_runtime.bus import Bus
from runtime_harbour import STREAM, connected


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with connected(nats_url) as opened:
        await opened.ensure_stream(STREAM)
        yield opened


@pytest.fixture
async def streams(nats_url: str) -> AsyncIterator[JetStreamContext]:
    """The server, seen without our code."""
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()

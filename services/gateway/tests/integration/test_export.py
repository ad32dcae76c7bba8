"""The export of a dataset through the door: lines as they were written, whole or visibly broken off."""

from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from gateway_door import Door, open_door
from plimsoll.feedback.v1 import dataset_service_pb2 as pb
from plimsoll.gateway.v1 import gateway_service_pb2_grpc, learning_pb2
from plimsoll_runtime.errors import NotFound, Unavailable

PATH = "/v1/datasets/hard:export?format=EXPORT_FORMAT_CHAT&version=3"
LINES = ['{"messages":[{"content":"1e2","n":12345678901234567890123}]}', '{"messages":[]}']
PIECES = [
    pb.ExportDatasetResponse(lineage={"text": '{"digest":"d","lines":2}'}),
    *(pb.ExportDatasetResponse(line=line) for line in LINES),
]


@pytest.fixture
async def door(postgres_dsn: str) -> AsyncIterator[Door]:
    async with open_door(postgres_dsn) as opened:
        yield opened


async def test_lines_come_as_they_were_written_over_rest_and_grpc(door: Door) -> None:
    door.peers["feedback"].journal = PIECES
    async with door.rest.get(PATH) as response:
        assert (response.status, response.content_type) == (200, "application/jsonl")
        lineage, *lines = (await response.text()).splitlines()
    assert orjson.loads(lineage) == {"lineage": {"digest": "d", "lines": 2}}
    assert lines == [f'{{"line":{line}}}' for line in LINES]
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    asked = learning_pb2.ExportDatasetRequest(dataset="hard", version=3, format=pb.EXPORT_FORMAT_CHAT)
    told = [piece async for piece in stub.ExportDataset(asked, metadata=(("authorization", f"Bearer {door.key}"),))]
    assert [piece.line.text for piece in told[1:]] == LINES
    for heard in door.peers["feedback"].heard:
        assert heard.request == pb.ExportDatasetRequest(dataset="hard", version=3, format=pb.EXPORT_FORMAT_CHAT)
        assert (heard.caller.tenant, heard.caller.principal[:9]) == ("acme", "console (")


async def test_what_is_refused_is_a_problem_and_no_file(door: Door) -> None:
    door.peers["feedback"].journal = [NotFound("no dataset has this name", reason="DATASET_NOT_FOUND")]
    async with door.rest.get(PATH) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["reason"]) == (404, "DATASET_NOT_FOUND")


async def test_half_a_file_never_looks_like_a_whole_one(door: Door) -> None:
    door.peers["feedback"].journal = [*PIECES[:2], Unavailable("the database went away")]
    with pytest.raises(aiohttp.ClientPayloadError):
        async with door.rest.get(PATH) as response:
            await response.read()

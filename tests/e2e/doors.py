"""The three doors of the mesh as a test uses them: REST, the gRPC client, the command line."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_testkit.waiting import eventually

PLIMSOLL = Path(sys.executable).parent / "plimsoll"
_CAP_S = 90.0


@dataclass(frozen=True, slots=True)
class Door:
    """The gateway as a client sees it."""

    url: str
    address: str
    key: str
    data: Path


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


async def cli(data: Path, *arguments: str, stdin: bytes = b"") -> Said:
    """Run the command line against the mesh of `data`."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(data), "PLIMSOLL_DATA_DIR": str(data), "NO_COLOR": "1", "COLUMNS": "200"}
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(PLIMSOLL, *arguments, env=env, **pipes)
    async with asyncio.timeout(_CAP_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def submit(http: aiohttp.ClientSession, agent: str, value: JsonObject, key: str = "") -> str:
    """Submit over REST; the run's id."""
    headers = {"Idempotency-Key": key} if key else {}
    async with http.post(f"/v1/agents/{agent}/runs", json={"input": value}, headers=headers) as response:
        body = await response.json()
        assert response.status == 200, body
        return str(body["run"]["runId"])


async def get(http: aiohttp.ClientSession, path: str) -> JsonObject:
    async with http.get(path) as response:
        body = parse_object(await response.read())
        assert response.status == 200, body
        return body


async def send(http: aiohttp.ClientSession, method: str, path: str, body: JsonObject | None = None, key: str = "") -> JsonObject:
    """Do something over REST."""
    status, answer = await ask(http, method, path, body, key)
    assert status == 200, answer
    return answer


async def ask(http: aiohttp.ClientSession, method: str, path: str, body: JsonObject | None = None, key: str = "") -> tuple[int, JsonObject]:
    """The same, when the answer may be a refusal."""
    async with http.request(method, path, json=body, headers={"Idempotency-Key": key} if key else {}) as response:
        return response.status, parse_object(await response.read())


async def until(http: aiohttp.ClientSession, run_id: str, *statuses: str) -> JsonObject:
    """The run, once it is in one of these states."""
    found: JsonObject = {}

    async def is_there() -> bool:
        run = (await get(http, f"/v1/runs/{run_id}"))["run"]
        assert isinstance(run, dict)
        found.update(run)
        return str(run["status"]).removeprefix("RUN_STATUS_") in statuses

    await eventually(is_there, within_s=_CAP_S)
    return found


async def reasons(http: aiohttp.ClientSession, run_id: str) -> list[str]:
    """What a run waits for."""
    obstacles = (await get(http, f"/v1/runs/{run_id}:explain"))["obstacles"]
    assert isinstance(obstacles, list)
    return [str(obstacle["reason"]) for obstacle in obstacles if isinstance(obstacle, dict)]


async def follow(http: aiohttp.ClientSession, run_id: str, after: int = 0) -> list[JsonObject]:
    """All entries after a position, as server-sent events, to the end of the run; a stream that ends without `end` was cut, and is resumed."""
    entries: list[JsonObject] = []
    async with asyncio.timeout(_CAP_S):
        while True:
            more, is_whole = await _stream(http, run_id, after + len(entries))
            entries += more
            if is_whole:
                return entries


async def _stream(http: aiohttp.ClientSession, run_id: str, after: int) -> tuple[list[JsonObject], bool]:
    """What one stream brings, and whether it came to its end."""
    headers = {"Last-Event-ID": str(after)} if after else {}
    async with http.get(f"/v1/runs/{run_id}/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        lines = [line async for line in response.content if line.startswith((b"data: ", b"event: "))]
    entries = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ") and line.strip() != b"data: {}"]
    return entries, any(line.strip() == b"event: end" for line in lines)


async def ended(http: aiohttp.ClientSession, run_id: str) -> JsonObject:
    """The run, once it is final."""
    await follow(http, run_id)
    run = (await get(http, f"/v1/runs/{run_id}"))["run"]
    assert isinstance(run, dict)
    return run

"""Peers: installed into an environment of their own, run as processes, never imported."""

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".plimsoll" / "peers"
_CAP_S = 300.0
_DBOS = ("dbos>=3.0", "uvloop>=0.22")
_RESTATE = ("restate-sdk>=0.8", "hypercorn>=0.17")
_RESTATE_SERVER = "@restatedev/restate-server@1"
_LANGGRAPH = ("langgraph>=1.0", "langgraph-checkpoint-postgres>=3.0", "psycopg[binary,pool]>=3.2", "httpx>=0.28", "uvloop>=0.22")


class _Quiet(TypedDict):
    stdout: int
    stderr: int


_QUIET: _Quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}


async def langgraph_figures(dsn: str, runs: int, at_once: int, steps: int) -> dict[str, float] | None:
    """steps_per_s and run_ms (median) of the same graph on LangGraph; None, with a line that says so, when it cannot be installed."""
    return await _figures("langgraph", _LANGGRAPH, "langgraph", dsn, runs, at_once, steps)


async def models_figures(dsn: str, runs: int, at_once: int, pairs: int, url: str, key: str) -> dict[str, float] | None:
    """runs_per_s of so many model calls and tool calls in turns on LangGraph, its models behind the proxy at `url`."""
    return await _figures("langgraph", _LANGGRAPH, "langgraph_models", dsn, runs, at_once, pairs, url, key)


async def dbos_figures(dsn: str, runs: int, at_once: int, steps: int) -> dict[str, float] | None:
    """The same of DBOS Transact."""
    return await _figures("dbos", _DBOS, "dbos", dsn, runs, at_once, steps)


async def _figures(name: str, requirements: tuple[str, ...], script: str, *arguments: str | int) -> dict[str, float] | None:
    """What the script prints at its end, run by the Python of the peer's environment."""
    python = python_of(name, requirements)
    if python is None:
        return None
    command = (python, Path(__file__).with_name(f"peer_{script}.py"), *(str(one) for one in arguments))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(_CAP_S):
        out, _ = await process.communicate()
    if process.returncode != 0:
        print(f"the run of {name} failed; measured without it")
        return None
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures


async def restate_figures(runs: int, at_once: int, steps: int) -> dict[str, float] | None:
    """The same of Restate, with a server of its own; None when it cannot be installed or does not come up."""
    python, server = python_of("restate", _RESTATE), _restate_server()
    if python is None or server is None:
        return None
    ingress, admin, node, service = _ports(4)
    environment = {
        **os.environ,
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RUST_LOG": "error",
        "DO_NOT_TRACK": "1",
    }
    with TemporaryDirectory(prefix="plimsoll-restate-") as folder:
        handler = await asyncio.create_subprocess_exec(python, Path(__file__).with_name("peer_restate.py"), str(service), **_QUIET)
        engine = await asyncio.create_subprocess_exec(server, "--base-dir", folder, env=environment, **_QUIET)
        try:
            async with asyncio.timeout(_CAP_S), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                await _register(session, admin, service)
                return await _drive(session, f"http://127.0.0.1:{ingress}/flow/run", runs, at_once, steps)
        except (TimeoutError, aiohttp.ClientError, RuntimeError) as error:
            print(f"Restate does not come up ({error or type(error).__name__}); measured without it")
            return None
        finally:
            for process in (engine, handler):
                process.kill()
                await process.wait()


async def _register(session: aiohttp.ClientSession, admin: int, service: int) -> None:
    """Tell the server of the handler, once both are up."""
    for _ in range(100):
        try:
            async with session.post(f"http://127.0.0.1:{admin}/deployments", json={"uri": f"http://127.0.0.1:{service}"}) as answer:
                if answer.status < 300:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.3)
    raise RuntimeError("it was not ready within 30 s")


async def _drive(session: aiohttp.ClientSession, url: str, runs: int, at_once: int, steps: int) -> dict[str, float]:
    slots, times = asyncio.Semaphore(at_once), list[float]()

    async def one() -> None:
        async with slots:
            started = time.perf_counter()
            async with session.post(url, json=steps) as answer:
                if answer.status != 200 or await answer.json() != steps:
                    raise RuntimeError(f"it answered {answer.status}")
            times.append(time.perf_counter() - started)

    for _ in range(20):
        await one()
    times.clear()
    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(runs)))
    elapsed = time.perf_counter() - started
    return {"steps_per_s": runs * steps / elapsed, "run_ms": statistics.median(times) * 1e3}


def _restate_server() -> Path | None:
    """The server's program, installed by npm."""
    folder = ENVIRONMENTS / "restate-server"
    program = folder / "node_modules" / ".bin" / "restate-server"
    if program.exists():
        return _native(folder)
    npm = shutil.which("npm")
    if npm is None:
        print("Restate's server needs npm; measured without it")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, _RESTATE_SERVER]
    if subprocess.run(command, check=False, cwd=folder, timeout=_CAP_S).returncode:
        print("Restate's server cannot be installed here; measured without it")
        return None
    return _native(folder)


def _native(folder: Path) -> Path | None:
    """The program itself, not npm's wrapper around it: the wrapper would outlive a kill."""
    return next((path for path in folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")), None)


def _ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def python_of(name: str, requirements: tuple[str, ...]) -> Path | None:
    """The Python of the peer's own environment, made when it is not there; None when the peer cannot be installed."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if python.exists():
        return python
    uv = Path(sys.executable).parent / "uv"
    print(f"installing {name} into an environment of its own …", flush=True)
    made = subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parent.parent], check=False)
    installed = subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *requirements], check=False)
    if made.returncode or installed.returncode:
        print(f"{name} cannot be installed here; measured without it")
        subprocess.run(["rm", "-rf", python.parent.parent], check=True)
        return None
    return python

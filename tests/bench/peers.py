"""Peers: installed into an environment of their own, run as processes, never imported."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".plimsoll" / "peers"
_CAP_S = 300.0
_LANGGRAPH = ("langgraph>=1.0", "langgraph-checkpoint-postgres>=3.0", "psycopg[binary,pool]>=3.2", "uvloop>=0.22")


async def langgraph_figures(dsn: str, runs: int, at_once: int) -> dict[str, float] | None:
    """steps_per_s and run_ms (median) of the same graph on LangGraph; None, with a line that says so, when it cannot be installed."""
    python = _environment("langgraph", _LANGGRAPH)
    if python is None:
        return None
    script = Path(__file__).with_name("peer_langgraph.py")
    process = await asyncio.create_subprocess_exec(python, script, dsn, str(runs), str(at_once), stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(_CAP_S):
        out, _ = await process.communicate()
    if process.returncode != 0:
        print("LangGraph's run failed; measured without it")
        return None
    figures: dict[str, float] = json.loads(out.splitlines()[-1])
    return figures


def _environment(name: str, requirements: tuple[str, ...]) -> Path | None:
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

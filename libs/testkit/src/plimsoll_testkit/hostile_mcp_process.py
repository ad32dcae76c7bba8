"""An MCP server on standard input and output, alone: `python hostile_mcp_process.py NOTE modern|legacy`. It imports nothing of ours.

The name of a called tool says what goes wrong; every call is noted as a line of the file NOTE.
"""

import json
import os
import sys
import time
from typing import Any

TOOLS = ("fine", "environment", "garbage", "die", "hang", "long_line", "flood", "close_output", "eat_memory", "spin", "many_files")


def _is_modern() -> bool:
    return sys.argv[2] == "modern"


def _say(asked: object, result: dict[str, Any]) -> None:
    whole = {"resultType": "complete"} if _is_modern() else {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked, "result": result | whole}) + "\n")
    sys.stdout.flush()


def _text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


def _take(name: str) -> None:
    """More than a process should get."""
    match name:
        case "flood":
            while True:
                sys.stdout.write('{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}\n')
        case "eat_memory":
            _ = [bytearray(16 * 1024 * 1024) for _ in range(1024)]
        case "spin":
            while True:
                pass
        case "many_files":
            _ = [os.open(os.devnull, os.O_RDONLY) for _ in range(5000)]


def _call(asked: object, name: str) -> None:
    match name:
        case "die":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "flood" | "eat_memory" | "spin" | "many_files":
            _take(name)
        case "garbage":
            sys.stdout.write("Starting up…\n\n{not json}\n[1, 2]\n")
        case "long_line":
            for _ in range(2000):
                sys.stdout.write("x" * 65536)
        case "close_output":
            sys.stdout.flush()
            os.close(1)
            time.sleep(600)
        case "environment":
            _say(asked, _text({"environment": dict(os.environ), "session": os.getsid(0) == os.getpid(), "cwd": os.getcwd()}))
            return
    _say(asked, _text("found"))


def main() -> None:
    """Answer until standard input ends."""
    sys.stderr.write("the secret is " + os.environ.get("TOKEN", "") + "\n")
    for line in sys.stdin:
        body = json.loads(line)
        asked, method = body.get("id"), body.get("method")
        if asked is None:
            continue
        about: dict[str, Any] = {"capabilities": {"tools": {}}, "serverInfo": {"name": "process", "version": "1"}}
        cacheable = {"ttlMs": 0, "cacheScope": "private"} if _is_modern() else {}
        if method == "server/discover" and _is_modern():
            _say(asked, {"supportedVersions": ["2026-07-28"], **about, **cacheable})
        elif method == "initialize" and not _is_modern():
            _say(asked, {"protocolVersion": "2025-06-18", **about})
        elif method == "tools/list":
            _say(asked, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS], **cacheable})
        elif method == "tools/call":
            with open(sys.argv[1], "a", encoding="utf-8") as note:
                note.write(body["params"]["name"] + "\n")
            _call(asked, body["params"]["name"])
        else:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked, "error": {"code": -32601, "message": "unknown"}}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

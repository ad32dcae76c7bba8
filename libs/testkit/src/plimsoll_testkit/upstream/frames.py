"""Server-sent events as bytes."""

from plimsoll_runtime.json_types import JsonObject, dump_json

DONE = b"data: [DONE]\n\n"
BROKEN = b'data: {"type": "content_block_del\n\n'  # JSON that ends in its middle


def bare(data: JsonObject) -> bytes:
    return f"data: {dump_json(data)}\n\n".encode()


def named(name: str, data: JsonObject) -> bytes:
    return f"event: {name}\ndata: {dump_json(data)}\n\n".encode()

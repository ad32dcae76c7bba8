"""Command lines run beside a gateway, and what they print."""

import asyncio
import os

import orjson
import pytest
from plimsoll_client.cli.main import invoke


class Shell:
    """Runs command lines beside the gateway and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    async def __call__(self, *argv: str) -> int:
        code = await asyncio.to_thread(invoke, argv, os.environ)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self) -> object:
        return orjson.loads(self.out)

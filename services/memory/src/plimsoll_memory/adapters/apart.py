"""A child process that is asked one thing: from its start to its end in one thread, and given up at any moment, also before it is there."""

import asyncio
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from subprocess import PIPE, Popen


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a child said before it ended; a negative code is the signal that ended it."""

    code: int
    answer: bytes
    complaint: bytes


class Apart:
    """One child of ours, a module with its arguments. It hears everything before it says anything."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-I", "-m", module, *arguments]
        self._environment = environment
        self._child: Popen[bytes] | None = None
        self._is_given_up = False

    async def ask(self, pieces: Iterable[bytes]) -> Said:
        """Say it piece by piece, then hear the answer. No child is left behind, also when the waiting is cancelled."""
        conversation = asyncio.get_running_loop().run_in_executor(None, self._converse, pieces)
        try:
            return await asyncio.shield(conversation)
        finally:
            self._give_up()
            await asyncio.wait([conversation])

    def _converse(self, pieces: Iterable[bytes]) -> Said:
        # In a thread and not by the event loop: Popen uses vfork, while uvloop forks, which gRPC's own fork hooks do not survive.
        with Popen(  # noqa: S603 - our own interpreter with our own module
            self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._environment
        ) as child:
            self._child = child
            if self._is_given_up:  # whichever of the two comes second sees the other
                child.kill()
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # it ended in the middle: its complaint says why
                child.stdin.writelines(pieces)
            answer, complaint = child.communicate()
        return Said(code=child.returncode, answer=answer, complaint=complaint)

    def _give_up(self) -> None:
        self._is_given_up = True
        if self._child is not None:
            self._child.kill()

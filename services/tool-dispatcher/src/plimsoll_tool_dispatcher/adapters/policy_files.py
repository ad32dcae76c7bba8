"""The policy: YAML files in directories, read at the start and again when they change; what is built in holds where there are none."""

import asyncio
import glob
import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.domain.condition import Conditions
from plimsoll_tool_dispatcher.domain.policy import Policy, Rule, Verb, policy_of
from plimsoll_tool_dispatcher.domain.policy_text import parse_policy

_MAX_FILE_BYTES = 1024 * 1024
_REPORTED = 20


class PolicyFiles:
    """All files together are one policy. A change with a mistake in it is reported, and what held before goes on to hold.

    Without a good version to hold on to, every call is denied until the file is mended: an error means deny.
    """

    def __init__(self, patterns: Sequence[str], log: Log) -> None:
        self._patterns = tuple(patterns)
        self._log = log
        self._conditions = Conditions()
        self._texts: dict[str, str] | None = None
        self._good: dict[str, tuple[Rule, ...]] = {}
        self._policy = self._policy_of({})

    def current(self) -> Policy:
        return self._policy

    async def scan(self) -> None:
        """Read the files; cheap when none changed."""
        texts = await asyncio.to_thread(_texts, self._patterns)
        if texts == self._texts:
            return
        self._texts = texts
        good: dict[str, tuple[Rule, ...]] = {}
        for path, text in texts.items():
            rules, problems = parse_policy(text, self._conditions)
            if problems:
                self._report(path, problems)
                rules = self._good.get(path) or (self._deny_all(path),)
            good[path] = rules
        self._good = good
        policy = self._policy_of(good)
        if policy.digest != self._policy.digest:
            self._log.info("policy.changed", {"digest": policy.digest, "rules": len(policy.rules), "files": len(good)})
        self._policy = policy

    async def watch(self, interval_s: float, stop: asyncio.Event) -> None:
        """Scan every `interval_s`, until `stop`."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await stop.wait()
            if not stop.is_set():
                await self.scan()

    def _policy_of(self, good: dict[str, tuple[Rule, ...]]) -> Policy:
        if not self._patterns:
            text = files("plimsoll_tool_dispatcher").joinpath("policies", "built_in.yaml").read_text(encoding="utf-8")
            return policy_of(parse_policy(text, self._conditions)[0])
        return policy_of([rule for rules in good.values() for rule in rules])

    def _deny_all(self, path: str) -> Rule:
        name = f"unreadable/{Path(path).name}"
        return Rule(
            name=name, verb=Verb.DENY, when=self._conditions.compiled("true"), message=f"policy file {Path(path).name} has mistakes"
        )

    def _report(self, path: str, problems: Sequence[FieldProblem]) -> None:
        for problem in problems[:_REPORTED]:
            fields = {"file": path, "field": problem.field, "problem": problem.problem, "remedy": problem.remedy}
            self._log.error("policy.file_broken", fields | {"earlier_version_kept": path in self._good})


def _texts(patterns: Sequence[str]) -> dict[str, str]:
    """The text of every policy file. Runs in a thread."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for directory in [pattern] if os.path.isdir(pattern) else sorted(glob.glob(pattern)):
            for path in sorted(glob.glob(f"{glob.escape(directory)}/*.yaml")):
                found[os.path.abspath(path)] = _text(Path(path))
    return found


def _text(path: Path) -> str:
    """An unreadable file is a file with mistakes, not one that is not there."""
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= _MAX_FILE_BYTES else "too large"
    except (OSError, ValueError):
        return "unreadable"

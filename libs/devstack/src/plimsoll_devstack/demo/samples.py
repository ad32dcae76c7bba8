"""The sample inputs that lie beside an agent: lines of a .jsonl file, or one file each."""

from dataclasses import dataclass, field
from pathlib import Path

import orjson
from plimsoll_client.bundles import Bundle
from plimsoll_client.errors import BadInput
from plimsoll_client.files import GivenFile, read_given, refused, text_of
from plimsoll_client.inputs import input_from_file
from plimsoll_client.models import Accepts
from plimsoll_runtime.json_types import JsonObject

_FILES = frozenset({".md", ".txt", ".pdf", ".csv", ".json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input to try. `expect` names what its run should find; empty when nobody said."""

    agent: str
    name: str
    given: JsonObject | GivenFile = field(repr=False)
    expect: JsonObject

    def input(self, accepts: Accepts) -> JsonObject:
        """What is submitted. Raises BadInput when the agent does not take such a file."""
        return input_from_file(self.given, accepts, self.agent) if isinstance(self.given, GivenFile) else self.given


def read_samples(bundle: Bundle) -> tuple[Sample, ...]:
    """Every sample of an agent, in the order of their names. Raises BadInput for one that cannot be read."""
    samples: list[Sample] = []
    for path in sorted((bundle.directory / "samples").glob("*")):
        if path.suffix == ".jsonl":
            samples.extend(_lines(bundle.agent, path))
        elif path.suffix in _FILES:
            samples.append(Sample(agent=bundle.agent, name=path.name, given=read_given(str(path)), expect={}))
    return tuple(samples)


def _lines(agent: str, path: Path) -> list[Sample]:
    text = text_of(read_given(str(path)))
    return [_sample(agent, f"{path}:{number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _sample(agent: str, where: str, line: str) -> Sample:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _not_a_sample(where, f"is not JSON: {error.msg}") from error
    if not isinstance(found, dict) or not isinstance(found.get("id"), str) or not isinstance(found.get("input"), dict):
        raise _not_a_sample(where, "is not a sample")
    expect = found.get("expect", {})
    if not isinstance(expect, dict):
        raise _not_a_sample(where, "has an expect that is not an object")
    return Sample(agent=agent, name=found["id"], given=found["input"], expect=expect)


def _not_a_sample(where: str, problem: str) -> BadInput:
    return refused(where, problem, 'Write {"id": "a-name", "input": {…}, "expect": {…}}')

"""The model-router in memory, for learning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from plimsoll_feedback.domain.learning.datasets import Body
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.errors import ReportNotFound
from plimsoll_feedback.ports.learning import Answered, ModelName, Replay, RouteCandidate, RouteVersion
from plimsoll_runtime.errors import Conflict, Unavailable
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonValue, digest


class LabelRefused(Conflict):
    """The registry says no."""

    reason = "REPORT_REFUSED"


@dataclass
class FakeModelRouter:
    """Answers what its prompt's examples say of the question, else `unknown`; `answers` may say otherwise. Labels move unless `refuses`."""

    answers: Callable[[Replay], Answered | None] = lambda _: None
    judge: JsonValue = None
    bodies: dict[str, Body] = field(default_factory=dict)
    prompts: dict[str, PromptVersion] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    routes: dict[str, RouteVersion] = field(default_factory=dict)
    known_models: Sequence[ModelName] = ()
    written: str | Failure = ""
    asked: list[Replay] = field(default_factory=list)
    moves: list[tuple[str, str, str]] = field(default_factory=list)
    rollbacks: list[str] = field(default_factory=list)
    refuses: bool = False
    away: bool = False

    def add(self, prompt: PromptVersion, *labels: str) -> PromptVersion:
        told: list[JsonValue] = [[one.user, one.assistant] for one in prompt.examples]
        known = replace(prompt, digest=digest([prompt.name, prompt.system, prompt.user, told]), version=len(self.prompts) + 1)
        self.prompts[known.digest] = known
        self.labels |= {(prompt.name, label): known.digest for label in labels}
        return known

    async def body(self, tenant: str, call_id: str) -> Body | None:
        self._reach()
        return self.bodies.get(call_id)

    async def replay(self, tenant: str, replay: Replay) -> Answered:
        self._reach()
        self.asked.append(replay)
        said = self.answers(replay)
        if said is not None:
            return said
        prompt, variables = self.prompts[replay.prompt_digest], replay.body.variables
        question = variables.get("question") if isinstance(variables, dict) else None
        known = {one.user: one.assistant for one in prompt.examples}
        label = next((one for one in known if str(question).startswith(one.rstrip("0123456789"))), None)
        return Answered(value="unknown" if label is None else known[label], cost_micros=5, latency_s=0.01)

    async def ask(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> Answered:
        return Answered(value=self.judge)

    async def write(self, tenant: str, prompt: str, label: str, variables: JsonValue, key: str) -> str | Failure:
        return self.written

    async def digest_of(self, tenant: str, kind: SubjectKind, name: str, label: str) -> str:
        self._reach()
        return self.labels.get((name, label), "")

    async def has(self, tenant: str, kind: SubjectKind, name: str, digest: str) -> bool:
        return digest in self.prompts or any(route.digest == digest for route in self.routes.values())

    async def prompt(self, tenant: str, name: str, digest: str) -> PromptVersion:
        if digest not in self.prompts:
            raise ReportNotFound(f"no version {digest}")
        return self.prompts[digest]

    async def register_prompt(
        self, tenant: str, prompt: PromptVersion, examples: Sequence[Shown], system: str, labels: Sequence[str]
    ) -> str:
        return self.add(replace(prompt, examples=tuple(examples), system=system), *labels).digest

    async def move_label(self, tenant: str, kind: SubjectKind, name: str, digest: str, label: str, report_digest: str) -> bool:
        self._reach()
        if self.refuses:
            raise LabelRefused
        self.moves.append((digest, label, report_digest))
        self.labels[name, label] = digest
        return True

    async def roll_back(self, tenant: str, kind: SubjectKind, name: str, label: str, reason: str) -> None:
        self.rollbacks.append(reason)

    async def models(self, tenant: str) -> Sequence[ModelName]:
        return self.known_models

    async def route(self, tenant: str, name: str, *, label: str = "", digest: str = "") -> RouteVersion | None:
        return next((one for one in self.routes.values() if one.name == name and digest in {"", one.digest}), None)

    async def register_route(self, tenant: str, name: str, present: RouteVersion | None, candidates: Sequence[RouteCandidate]) -> str:
        new = RouteVersion(name=name, digest=digest([one.model for one in candidates]), candidates=tuple(candidates))
        self.routes[new.digest] = new
        return new.digest

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("the model-router cannot be reached")

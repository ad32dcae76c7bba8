"""Instructions that a real model rewrites, through the real model-router: what an upstream does to them, and what becomes of that."""

from collections.abc import AsyncIterator
from dataclasses import replace
from types import MappingProxyType

import pytest
from feedback_gate import LABEL, Both, finished, learned, prompt, registered, router_settings, side_by_side
from feedback_learning_samples import NOON, example
from google.protobuf.duration_pb2 import Duration
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import prompt_pb2, routing_pb2
from plimsoll_feedback.adapters.model_router import GrpcModelRouter
from plimsoll_feedback.config import Settings
from plimsoll_feedback.domain.learning.datasets import DatasetName, Example
from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan, Progress
from plimsoll_feedback.service.improving import Proposer
from plimsoll_model_router.config import ProviderSettings
from plimsoll_model_router.config import Settings as RouterSettings
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.ports import free_address
from plimsoll_testkit.upstream import ANSWER, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually

REWRITTEN = "with instructions that a model rewrote"
NOTHING = "nothing was rewritten: "
PLAIN, BOUND = "Sort.", "Sort for a {{tone}} reader."
_ENDS = {
    improvement_pb.IMPROVEMENT_STATE_PROMOTED,
    improvement_pb.IMPROVEMENT_STATE_REFUSED,
    improvement_pb.IMPROVEMENT_STATE_NOTHING,
    improvement_pb.IMPROVEMENT_STATE_FAILED,
}
# What the upstream does with the question, the instructions before, those of the candidate, and what is noted.
CASES = MappingProxyType(
    {
        "fine": (PLAIN, ANSWER, REWRITTEN),
        "fine-paced": (BOUND, BOUND, "rewritten instructions are not used: they lose {{tone}}"),
        "html-200": (PLAIN, PLAIN, NOTHING),
        "malformed": (PLAIN, PLAIN, NOTHING),
        "capped": (PLAIN, PLAIN, NOTHING),
        "empty": (PLAIN, PLAIN, NOTHING),
        "tools": (PLAIN, PLAIN, NOTHING),
        "refusing": (PLAIN, PLAIN, NOTHING),
        "broken": (PLAIN, PLAIN, NOTHING),
        "silent": (PLAIN, PLAIN, NOTHING),
    }
)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def of_router(upstream: ScriptedUpstream, postgres_dsn: str, nats_url: str, redis_url: str) -> RouterSettings:
    told = router_settings(free_address(), free_address(), postgres_dsn, nats_url, redis_url)
    return replace(told, compatible=ProviderSettings(base_url=f"{upstream.url}/v1", model="fine"))


@pytest.fixture
async def both(settings: Settings, of_router: RouterSettings) -> AsyncIterator[Both]:
    async with side_by_side(settings, of_router) as both:
        yield both


class _OneMistake:
    """A training part with one corrected answer."""

    async def page(self, *_: object) -> list[Example]:
        return [example("where is my card", "card", answer="pin")]


async def test_what_an_upstream_does_to_a_reflection_is_used_or_told(
    both: Both, of_router: RouterSettings, upstream: ScriptedUpstream
) -> None:
    told: dict[str, tuple[str, str, str]] = {}
    async with open_channel(of_router.server.grpc_listen, TlsSettings(), "model-router") as channel:
        router = GrpcModelRouter(channel)
        for script, (system, _, expected) in CASES.items():
            with acting_for(script, "ada"):
                await _reflecting(both, script)
                present = await router.prompt(script, "sort", await registered(both, _sorting(system), LABEL))
            draft = await Proposer(_OneMistake(), router).draft(_improvement(script), present, 1)
            drafted = await router.prompt(script, "sort", draft.digest)
            assert [(one.user, one.assistant) for one in drafted.examples] == [("where is my card", "card")]
            told[script] = (system, drafted.system, expected if draft.note.startswith(expected) else draft.note)
    assert told == dict(CASES)
    asked = [str(attempt.body["messages"]) for attempt in upstream.attempts if attempt.model == "fine"]
    assert asked
    assert all("where is my card" in one for one in asked)  # the model is told what went wrong


async def test_a_candidate_with_rewritten_instructions_passes_the_gate_and_says_so(both: Both) -> None:
    await registered(both, prompt("card", "pin"), LABEL)
    await _reflecting(both, "fine")
    await _route(both, "default", "rehearsal/rehearsal")
    await learned(both, count=24)
    plan = improvement_pb.ImprovementPlan(
        prompt="sort",
        dataset="sorting",
        reflection_prompt=f"reflect@{LABEL}",
        rules=evaluation_pb.EvaluationRules(minimum_examples=10, must_be_better=True),
    )
    await call(both.improvements.PutImprovementPlan, improvement_pb.PutImprovementPlanRequest(plan=plan), cap_s=60)
    started = (await call(both.improvements.StartImprovement, improvement_pb.StartImprovementRequest(prompt="sort"), cap_s=60)).improvement
    request = improvement_pb.GetImprovementRequest(improvement_id=started.improvement_id)

    async def ended() -> list[improvement_pb.Improvement]:
        found = (await call(both.improvements.GetImprovement, request, cap_s=60)).improvement
        return [found] if found.state in _ENDS else []

    [promoted] = await eventually(ended, within_s=120)
    assert (promoted.state, promoted.reason) == (
        improvement_pb.IMPROVEMENT_STATE_PROMOTED,
        f"better on the held-out part; {REWRITTEN}",
    )
    assert (await finished(both, promoted.evaluation_id)).candidate_digest == promoted.candidate_digest
    reference = prompt_pb2.PromptReference(name="sort", label=LABEL)
    present = (await call(both.router.GetPrompt, router_pb.GetPromptRequest(reference=reference), cap_s=60)).prompt
    assert (present.digest, present.system) == (promoted.candidate_digest, ANSWER)


def _sorting(system: str) -> prompt_pb2.Prompt:
    variables = ["question", "tone"] if "{{tone}}" in system else ["question"]
    return prompt_pb2.Prompt(name="sort", variables=variables, system=system, user="{{question}}")


def _improvement(tenant: str) -> Improvement:
    plan = Plan(prompt="sort", dataset=DatasetName("sorting"), reflection=f"reflect@{LABEL}")
    return Improvement(
        id=ImprovementId(f"imp_{tenant}"), tenant=tenant, plan=plan, state=Progress.DRAFTING, created_at=NOON, changed_at=NOON
    )


async def _reflecting(both: Both, script: str) -> None:
    """The present tenant has a prompt that rewrites instructions, and a model behind it that follows the script."""
    template = "Rewrite: {{instructions}}\nMistakes: {{failures}}"
    await registered(both, prompt_pb2.Prompt(name="reflect", variables=["instructions", "failures"], user=template), LABEL)
    model = routing_pb2.ModelEntry(name="writer", provider="compatible", model=script)
    if script == "silent":
        model.timers.total.CopyFrom(Duration(nanos=300_000_000))
    await call(both.router.RegisterModel, router_pb.RegisterModelRequest(model=model, labels=[LABEL]), cap_s=60)
    await _route(both, "reasoning", "writer")


async def _route(both: Both, task: str, model: str) -> None:
    route = routing_pb2.Route(name=task, candidates=[routing_pb2.RouteCandidate(model=model)])
    await call(both.router.RegisterRoute, router_pb.RegisterRouteRequest(route=route, labels=[LABEL]), cap_s=60)

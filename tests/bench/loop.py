"""The learning loop on a real mesh: BANKING77 questions drift to intents that the desk's prompt never saw.

A desk sorts questions by a prompt that shows three examples of each of twelve intents. Then most questions come from twelve other intents.
Nobody does anything but answer what the annotation queue shows, with the true intent. The mesh has to notice, to build the dataset, to
draft a prompt, to prove it on the held-out part and to promote it; afterwards fresh questions are asked. A planted candidate, far better on
average and worse on one intent, must be refused. The data is not ours to ship: PLIMSOLL_BENCH_DATA names its folder.
"""

import asyncio
import csv
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from plimsoll.common.v1 import json_pb2
from plimsoll.feedback.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    improvement_service_pb2,
    improvement_service_pb2_grpc,
    monitor_service_pb2,
    monitor_service_pb2_grpc,
)
from plimsoll.model_router.v1 import model_router_service_pb2, model_router_service_pb2_grpc, prompt_pb2, registry_pb2
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.authority import certificate_files
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.servers import Servers
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import dump_json, parse_json
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.waiting import eventually
from results import Row

DATA: Final = Path(os.environ.get("PLIMSOLL_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SEEDS: Final = tuple(int(one) for one in os.environ.get("PLIMSOLL_BENCH_SEEDS", "1,2,3,4,5").split(","))
TENANT: Final = "default"
OLD, NEW, SHOWN, POPULAR = 12, 12, 3, 0.3
USUAL, BATCH, MOST, FRESH = 440, 50, 450, 240
NEW_SHARE: Final = 0.7
AT_ONCE: Final = 24
CAP_S: Final = 30.0

AGENT = """
agent: {agent}
description: Sorts a customer's question
input: {{type: object, additionalProperties: false, required: [question], properties: {{question: {{type: string}}}}}}
state: {{type: object, additionalProperties: false, properties: {{question: {{type: string}}, intent: {{type: string}}}}}}
start: sort
nodes:
  sort:
    model: {{prompt: {agent}-sort@production, variables: {{question: state.question}}, task: classification, max_tokens: 60}}
    save: {{intent: result.text}}
    next: end
output: {{intent: state.intent}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    text: str
    intent: str


@dataclass(slots=True)
class Desk:
    """One seed's desk: its name, its questions, and what came of them."""

    agent: str
    old: list[str]
    new: list[str]
    shown: dict[str, list[str]]
    questions: dict[str, list[str]]
    draw: random.Random
    truth: dict[str, str] = field(default_factory=dict)

    def usual(self) -> Question:
        """From the intents that the prompt shows; the first of them is the most popular."""
        intent = self.old[0] if self.draw.random() < POPULAR else self.draw.choice(self.old)
        return self.next(intent)

    def drifted(self) -> Question:
        return self.next(self.draw.choice(self.new)) if self.draw.random() < NEW_SHARE else self.usual()

    def next(self, intent: str) -> Question:
        """A question that was never asked; when an intent runs dry another one takes its place."""
        while not self.questions[intent]:
            intent = self.draw.choice(self.old if intent in self.old else self.new)
        question = Question(text=self.questions[intent].pop(), intent=intent)
        self.truth[question.text] = question.intent
        return question


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The mesh as a client and as its own gateway sees it."""

    client: Client
    datasets: "dataset_service_pb2_grpc.DatasetServiceAsyncStub"
    evaluations: "evaluation_service_pb2_grpc.EvaluationServiceAsyncStub"
    improvements: "improvement_service_pb2_grpc.ImprovementServiceAsyncStub"
    monitors: "monitor_service_pb2_grpc.MonitorServiceAsyncStub"
    router: "model_router_service_pb2_grpc.ModelRouterServiceAsyncStub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one seed came to."""

    before: float
    drifted: float
    after: float
    noticed_after: int
    promotions: list[int]
    examples: int
    refused: bool
    why_refused: str
    seconds: float

    @property
    def recovered(self) -> float:
        return (self.after - self.drifted) / (self.before - self.drifted)


async def measure(_: Servers) -> list[Row]:
    """Over five seeds: the share of the loss that was recovered, runs until the drift was noticed, planted candidates refused."""
    path = DATA / "banking77-train.csv"
    if not path.exists():
        print(f"BANKING77 is not in {DATA}: set PLIMSOLL_BENCH_DATA; not measured")
        return []
    with path.open() as file:
        rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    found = []
    with tempfile.TemporaryDirectory(prefix="plimsoll-loop-") as folder:
        desks = [_desk(rows, seed) for seed in SEEDS]
        for desk in desks:
            _write(Path(folder) / "agents", desk)
        async with _mesh(Path(folder)) as doors:
            for seed, desk in zip(SEEDS, desks, strict=True):
                told = await _one(doors, desk)
                found.append(told)
                print(
                    f"  seed {seed}: {told.before:.1%} usual, {told.drifted:.1%} drifted, {told.after:.1%} afterwards: {told.recovered:.0%} "
                    f"recovered; noticed after {told.noticed_after} runs, promoted after {told.promotions} with {told.examples} examples; "
                    f"planted candidate {'refused' if told.refused else 'NOT REFUSED'} ({told.why_refused}); {told.seconds:.0f} s",
                    flush=True,
                )
    return _rows(found)


def _rows(found: Sequence[Told]) -> list[Row]:
    recovered = [one.recovered * 100 for one in found]
    half = 2.776 * statistics.stdev(recovered) / len(recovered) ** 0.5 if len(recovered) == 5 else 0.0  # Student's t of four degrees
    mean = statistics.mean(recovered)
    print(f"  recovered {mean:.1f} % (95 %: {mean - half:.1f} to {mean + half:.1f}) over {len(found)} seeds")
    latest, refused = max(one.noticed_after for one in found), sum(one.refused for one in found)
    unnoticed = any(one.noticed_after < 0 for one in found)
    return [
        Row(name="loop", value=mean, unit="% recovered", target=">= 80", passed=min(recovered) >= 80, seed=SEEDS[0]),
        Row(name="loop-low", value=mean - half, unit="% recovered", target="95 % low", passed=None, seed=SEEDS[0]),
        Row(name="loop-notice", value=latest, unit="runs, worst", target="<= 200", passed=not unnoticed and latest <= 200, seed=SEEDS[0]),
        Row(name="loop-refused", value=refused, unit="planted", target=f"= {len(found)}", passed=refused == len(found), seed=SEEDS[0]),
    ]


def _desk(rows: Sequence[tuple[str, str]], seed: int) -> Desk:
    draw = random.Random(seed)
    by_intent: dict[str, list[str]] = defaultdict(list)
    for text, intent in dict(rows).items():
        by_intent[intent].append(text)
    intents = sorted(by_intent)
    draw.shuffle(intents)
    intents.sort(key=lambda intent: len(by_intent[intent]) < 100)  # enough questions for a popular one and for fresh ones
    old, new = intents[:OLD], intents[OLD : OLD + NEW]
    for texts in by_intent.values():
        draw.shuffle(texts)
    shown = {intent: [by_intent[intent].pop() for _ in range(SHOWN)] for intent in old}
    return Desk(agent=f"desk{seed}", old=old, new=new, shown=shown, questions={one: by_intent[one] for one in (*old, *new)}, draw=draw)


def _write(folder: Path, desk: Desk) -> None:
    bundle = folder / desk.agent
    (bundle / "prompts").mkdir(parents=True)
    (bundle / "agent.yaml").write_text(AGENT.format(agent=desk.agent))
    examples = [{"user": text, "assistant": intent} for intent, texts in desk.shown.items() for text in texts]
    prompt = {
        "prompt": f"{desk.agent}-sort",
        "description": "Sorts a question",
        "variables": ["question"],
        "system": "Sort the bank's customer's question. Answer with the intent alone.",
        "examples": examples,
        "user": "{{question}}",
        "labels": ["production"],
    }
    (bundle / "prompts" / f"{desk.agent}-sort.yaml").write_text(dump_json(prompt))


@asynccontextmanager
async def _mesh(folder: Path) -> AsyncIterator[Doors]:
    environ = {"PLIMSOLL_MODEL_ROUTER_PROTECTED_LABELS": "production", "PLIMSOLL_FEEDBACK_SELECT_EVERY_S": "0.5"}
    async with Mesh(Wanted(data=folder / "data", agents=folder / "agents", environ=environ)) as mesh:
        files = certificate_files(mesh.files.tls, "gateway")
        tls = TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))
        parts = {part.name: part.address for part in mesh.files.read().parts}
        async with (
            connect(address=mesh.grpc_address, api_key=mesh.api_key) as client,
            open_channel(parts["feedback"], tls, "feedback") as feedback,
            open_channel(parts["model-router"], tls, "model-router") as router,
        ):
            yield _doors(client, feedback, router)


def _doors(client: Client, feedback: grpc.aio.Channel, router: grpc.aio.Channel) -> Doors:
    return Doors(
        client=client,
        datasets=dataset_service_pb2_grpc.DatasetServiceStub(feedback),
        evaluations=evaluation_service_pb2_grpc.EvaluationServiceStub(feedback),
        improvements=improvement_service_pb2_grpc.ImprovementServiceStub(feedback),
        monitors=monitor_service_pb2_grpc.MonitorServiceStub(feedback),
        router=model_router_service_pb2_grpc.ModelRouterServiceStub(router),
    )


async def _one(doors: Doors, desk: Desk) -> Told:
    began = time.monotonic()
    with acting_for(TENANT, "bench"):
        await _set_up(doors, desk)
        before = await _ask(doors, desk, [desk.usual() for _ in range(USUAL)])
        await _settled(doors, desk)
        await _annotate(doors, desk)
        drifted: list[bool] = []
        noticed, too_soon = -1, await _alerts(doors, desk)
        promotions = list[int]()
        while len(drifted) < MOST:
            drifted += await _ask(doors, desk, [desk.drifted() for _ in range(BATCH)])
            await _settled(doors, desk)
            await _annotate(doors, desk)
            if noticed < 0 and await _alerts(doors, desk):
                noticed = len(drifted)
            done = await _promotions(doors, desk)
            promotions += [len(drifted)] * (done - len(promotions))
        after = await _ask(doors, desk, [desk.drifted() for _ in range(FRESH)])
        dataset = (await call(doors.datasets.GetDataset, dataset_service_pb2.GetDatasetRequest(name=desk.agent), cap_s=CAP_S)).dataset
        refused, why = await _plant(doors, desk)
    return Told(
        before=statistics.mean(before),
        drifted=statistics.mean(drifted[: promotions[0] if promotions else None]),  # before anything was mended
        after=statistics.mean(after),
        noticed_after=-1 if too_soon else noticed,  # an alarm before anything happened is none
        promotions=promotions,
        examples=dataset.training_examples + dataset.held_out_examples,
        refused=refused,
        why_refused=why,
        seconds=time.monotonic() - began,
    )


async def _set_up(doors: Doors, desk: Desk) -> None:
    """All that somebody has to decide, before anything happens."""
    rules = [dataset_pb2.SelectionRule(low_confidence=0.6), dataset_pb2.SelectionRule(sample=0.3)]
    dataset = dataset_pb2.Dataset(name=desk.agent, prompt=f"{desk.agent}-sort", rules=rules)
    await call(doors.datasets.PutDataset, dataset_service_pb2.PutDatasetRequest(dataset=dataset), cap_s=CAP_S)
    await _plan(doors, desk, on_alert=True)


async def _plan(doors: Doors, desk: Desk, *, on_alert: bool) -> None:
    plan = improvement_service_pb2.ImprovementPlan(
        prompt=f"{desk.agent}-sort", dataset=desk.agent, on_alert=on_alert, minimum_new_examples=80, example_tokens=20_000
    )
    await call(doors.improvements.PutImprovementPlan, improvement_service_pb2.PutImprovementPlanRequest(plan=plan), cap_s=CAP_S)


async def _ask(doors: Doors, desk: Desk, questions: Sequence[Question]) -> list[bool]:
    """Runs of the desk, a few at once; whether each was sorted right."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def asked(question: Question) -> bool:
        async with gate:
            run = await doors.client.runs.submit(desk.agent, {"question": question.text})
            ended = await doors.client.runs.wait(run.id, timeout_s=60)
            return isinstance(ended.output, dict) and ended.output.get("intent") == question.intent

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked(one)) for one in questions]
    return [task.result() for task in tasks]


async def _settled(doors: Doors, desk: Desk) -> None:
    """Until feedback has looked at all that was asked."""
    request = dataset_service_pb2.SelectCandidatesRequest(dataset=desk.agent)

    async def nothing_new() -> bool:
        found = await call(doors.datasets.SelectCandidates, request, cap_s=CAP_S)
        return not found.selected

    await eventually(nothing_new, within_s=30)


async def _annotate(doors: Doors, desk: Desk) -> None:
    """Answer what the queue shows, with the true intent; the only thing that people do."""
    while True:
        request = dataset_service_pb2.ClaimAnnotationsRequest(dataset=desk.agent, limit=100)
        items = (await call(doors.datasets.ClaimAnnotations, request, cap_s=CAP_S)).items
        if not items:
            return
        for item in items:
            shown = parse_json(item.input.text)
            text = shown.get("question") if isinstance(shown, dict) else ""
            intent = desk.truth.get(str(text))
            said = dataset_service_pb2.AnnotateRequest(item_id=item.item_id)
            if intent is None:  # redacted beyond recognition
                said.discard = True
            else:
                said.expected.CopyFrom(json_pb2.JsonValue(text=dump_json(intent)))
            await call(doors.datasets.Annotate, said, cap_s=CAP_S)


async def _alerts(doors: Doors, desk: Desk) -> bool:
    """Whether a monitor says that the prompt does worse than it used to."""
    request = monitor_service_pb2.ListAlertsRequest(subject=f"{desk.agent}-sort")
    return bool((await call(doors.monitors.ListAlerts, request, cap_s=CAP_S)).alerts)


async def _promotions(doors: Doors, desk: Desk) -> int:
    """How many versions were promoted; waits for what is under way."""
    request = improvement_service_pb2.ListImprovementsRequest(prompt=f"{desk.agent}-sort")
    under_way = {
        improvement_service_pb2.IMPROVEMENT_STATE_DRAFTING,
        improvement_service_pb2.IMPROVEMENT_STATE_EVALUATING,
        improvement_service_pb2.IMPROVEMENT_STATE_PROMOTING,
    }

    async def at_rest() -> list[int]:
        found = list((await call(doors.improvements.ListImprovements, request, cap_s=CAP_S)).improvements)
        count = sum(one.state == improvement_service_pb2.IMPROVEMENT_STATE_PROMOTED for one in found)
        return [] if found and found[0].state in under_way else [count]

    return (await eventually(at_rest, within_s=120))[0]


async def _plant(doors: Doors, desk: Desk) -> tuple[bool, str]:
    """Put the first version back, and ask for a candidate that is far better on average and wrong on the most popular intent."""
    name = f"{desk.agent}-sort"
    await _plan(doors, desk, on_alert=False)
    await _promotions(doors, desk)
    back = model_router_service_pb2.RollBackLabelRequest(kind=registry_pb2.ENTRY_KIND_PROMPT, name=name, label="production", reason="bench")
    good = weak = await _prompt(doors, name)
    while weak.version > 1:
        await call(doors.router.RollBackLabel, back, cap_s=CAP_S)
        weak = await _prompt(doors, name)
    for example in good.examples:
        if parse_json(example.assistant.text) == desk.old[0]:
            example.assistant.text = dump_json(desk.old[1])
    for told in ("digest", "version", "labels", "create_time"):
        good.ClearField(told)
    register = model_router_service_pb2.RegisterPromptRequest(prompt=good)
    planted = (await call(doors.router.RegisterPrompt, register, cap_s=CAP_S)).prompt
    evaluation = await _evaluated(doors, desk, planted.digest, weak.digest)
    first = next(iter((await _report(doors, evaluation.report_digest)).measures))
    target = registry_pb2.EntryReference(kind=registry_pb2.ENTRY_KIND_PROMPT, name=name, digest=planted.digest)
    move = model_router_service_pb2.MoveLabelRequest(target=target, label="production", report_digest=evaluation.report_digest)
    try:
        await call(doors.router.MoveLabel, move, cap_s=CAP_S)
    except PlimsollError as error:
        refused = (await _prompt(doors, name)).digest == weak.digest
        better = first.candidate > first.baseline
        return refused and better, f"{error.reason}: {first.candidate:.2f} against {first.baseline:.2f} on average"
    return False, "the label moved"


async def _prompt(doors: Doors, name: str) -> prompt_pb2.Prompt:
    request = model_router_service_pb2.GetPromptRequest(reference=prompt_pb2.PromptReference(name=name, label="production"))
    response: model_router_service_pb2.GetPromptResponse = await call(doors.router.GetPrompt, request, cap_s=CAP_S)
    return response.prompt


async def _evaluated(doors: Doors, desk: Desk, candidate: str, baseline: str) -> evaluation_service_pb2.Evaluation:
    start = evaluation_service_pb2.StartEvaluationRequest(
        dataset=desk.agent,
        subject=evaluation_service_pb2.EVALUATION_SUBJECT_PROMPT,
        name=f"{desk.agent}-sort",
        candidate_digest=candidate,
        baseline_digest=baseline,
    )
    started = (await call(doors.evaluations.StartEvaluation, start, cap_s=CAP_S)).evaluation
    request = evaluation_service_pb2.GetEvaluationRequest(evaluation_id=started.evaluation_id)

    async def done() -> list[evaluation_service_pb2.Evaluation]:
        evaluation = (await call(doors.evaluations.GetEvaluation, request, cap_s=CAP_S)).evaluation
        return [evaluation] if evaluation.state == evaluation_service_pb2.EVALUATION_STATE_DONE else []

    return (await eventually(done, within_s=120))[0]


async def _report(doors: Doors, digest: str) -> evaluation_service_pb2.EvaluationReport:
    request = evaluation_service_pb2.GetEvaluationReportRequest(digest=digest)
    response: evaluation_service_pb2.GetEvaluationReportResponse = await call(doors.evaluations.GetEvaluationReport, request, cap_s=CAP_S)
    return response.report

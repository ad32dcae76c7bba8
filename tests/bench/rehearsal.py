"""The rehearsal model on real questions: how many unseen ones it sorts right by the examples in its prompt, and how long each takes.

BANKING77 has 77 intents that are hard to tell apart. The data is not ours to ship: PLIMSOLL_BENCH_DATA names its folder, ../shared/data
by default. Which examples are shown matters by some percent, so the figure is the mean of several draws.
"""

import csv
import itertools
import json
import os
import random
import statistics
import time
from collections import defaultdict
from pathlib import Path

from plimsoll_devstack.servers import Servers
from plimsoll_model_router.adapters.providers.rehearsal import RehearsalUpstream
from plimsoll_model_router.domain.endpoints import Ask, Dialect, Endpoint
from plimsoll_model_router.domain.generation import Finished, Question, Reply
from plimsoll_model_router.domain.messages import Message, assistant, system, user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_runtime.json_types import JsonObject
from results import Row

DATA = Path(os.environ.get("PLIMSOLL_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SHOWN, ASKED_OF_EACH, DRAWS = (1, 3, 10, 20), 10, 3
TARGET_SHOWN = 10
HERE = Endpoint(provider="rehearsal", dialect=Dialect.REHEARSAL, model="rehearsal")


async def measure(_: Servers) -> list[Row]:
    """Share of unseen questions sorted right with ten examples for each intent, and processor time of one; other numbers are printed."""
    path = DATA / "banking77-train.csv"
    if not path.exists():
        print(f"BANKING77 is not in {DATA}: set PLIMSOLL_BENCH_DATA; not measured")
        return []
    with path.open() as file:
        questions = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    figures: dict[int, list[tuple[float, list[float]]]] = defaultdict(list)
    for seed in range(1, DRAWS + 1):
        for shown in SHOWN:
            figures[shown].append(await _drawn(questions, shown, random.Random(seed)))
    for shown, found in figures.items():
        shares = ", ".join(f"{share:.1%}" for share, _ in found)
        print(f"  {shown:>2} examples of each: {statistics.mean(share for share, _ in found):.1%} right ({shares})")
    found = figures[TARGET_SHOWN]
    right, took = statistics.mean(share for share, _ in found) * 100, [seconds for _, each in found for seconds in each]
    slow = statistics.quantiles(took, n=100)[98] * 1e3
    better = all(
        statistics.mean(share for share, _ in figures[less]) < statistics.mean(share for share, _ in figures[more])
        for less, more in itertools.pairwise(SHOWN)
    )
    return [
        Row(name="rehearsal-quality", value=right, unit="% right", target=">= 70, rising", passed=right >= 70 and better, seed=1),
        Row(name="rehearsal-time", value=slow, unit="ms p99", target="<= 20", passed=slow <= 20, seed=1),
    ]


async def _drawn(questions: list[tuple[str, str]], shown: int, draw: random.Random) -> tuple[float, list[float]]:
    """The share that was right, and the processor seconds that each answer took once the examples were learned."""
    by_intent: dict[str, list[str]] = defaultdict(list)
    for text, intent in questions:
        by_intent[intent].append(text)
    for texts in by_intent.values():
        draw.shuffle(texts)
    schema: JsonObject = {
        "type": "object",
        "additionalProperties": False,
        "required": ["intent"],
        "properties": {"intent": {"enum": sorted(by_intent)}},
    }
    messages: list[Message] = [system("Sort the questions of a bank's customers by their intent.")]
    for intent in sorted(by_intent):
        for text in by_intent[intent][:shown]:
            messages += [user(text), assistant(json.dumps({"intent": intent}))]
    upstream, right, took = RehearsalUpstream(Fits()), 0, list[float]()
    unseen = [(text, intent) for intent, texts in by_intent.items() for text in texts[max(SHOWN) : max(SHOWN) + ASKED_OF_EACH]]
    await _reply(upstream, Question(messages=(*messages, user("Hello?")), output_schema=schema))  # learns the examples
    for text, intent in unseen:
        started = time.process_time()
        reply = await _reply(upstream, Question(messages=(*messages, user(text)), output_schema=schema))
        took.append(time.process_time() - started)
        right += json.loads(reply.message.text)["intent"] == intent
    return right / len(unseen), took


async def _reply(upstream: RehearsalUpstream, question: Question) -> Reply:
    async for chunk in upstream.ask(Ask(question=question, endpoint=HERE)):
        if isinstance(chunk, Finished):
            return chunk.reply
    raise AssertionError("an answer always ends")

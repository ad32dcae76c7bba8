"""`plimsoll dataset`, `eval`, `improve`, `scoreboard`: tables for people, JSON for programs, and the exit codes of all commands."""

import pytest
from client_fakes import FakeGateway
from client_shell import Shell
from plimsoll.feedback.v1 import evaluation_service_pb2

PUT = ("dataset", "put", "hard", "--prompt", "answer", "--rule", "correction")


async def test_a_dataset_is_made_by_rules_shown_and_listed(gateway: FakeGateway, plimsoll: Shell) -> None:
    rules = ["--rule", "low_confidence=0.5", "--rule", "sample=0.25", "--rule", "category=timeout", "--rule", "disagreement"]
    assert await plimsoll(*PUT, *rules, "--agreement", "2", "--label-field", "intent") == 0
    kept = gateway.datasets["hard"]
    assert [rule.WhichOneof("kind") for rule in kept.rules] == ["correction", "low_confidence", "sample", "category", "disagreement"]
    assert (kept.prompt, kept.agreement, kept.label_field) == ("answer", 2, "intent")
    assert await plimsoll("dataset", "show", "hard") == 0
    assert "low_confidence=0.5, sample=0.25, category=timeout" in plimsoll.out
    assert await plimsoll("dataset", "list") == 0
    assert "hard" in plimsoll.out
    assert await plimsoll("dataset", "list", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, list)
    assert told[0]["rules"][0] == "correction"


@pytest.mark.parametrize("rule", ["luck", "sample=2", "sample", "low_confidence=x", "correction=1", "category=bad_luck"])
async def test_a_rule_that_is_none_is_refused_with_those_that_are(gateway: FakeGateway, plimsoll: Shell, rule: str) -> None:
    assert await plimsoll("dataset", "put", "hard", "--prompt", "answer", "--rule", rule) == 2
    assert "Use " in plimsoll.err
    assert gateway.datasets == {}


async def test_items_are_claimed_and_annotated(gateway: FakeGateway, plimsoll: Shell) -> None:
    await plimsoll(*PUT)
    assert await plimsoll("dataset", "claim", "hard") == 0
    assert "itm_1" in plimsoll.out
    assert await plimsoll("dataset", "annotate", "itm_1", "--answer", "return") == 0
    assert plimsoll.out == "itm_1: agreed, example exa_1\n"
    assert await plimsoll("dataset", "annotate", "itm_1", "--answer", '{"intent": "return"}') == 0
    assert await plimsoll("dataset", "annotate", "itm_1", "--discard", "--json") == 0
    assert plimsoll.json() == {"state": "discarded", "example_id": ""}
    said = gateway.annotations
    assert [one.expected.text for one in said[:2]] == ['"return"', '{"intent":"return"}']
    assert await plimsoll("dataset", "annotate", "itm_1") == 2
    assert await plimsoll("dataset", "annotate", "itm_1", "--answer", "x", "--discard") == 2
    assert len(said) == 3


async def test_an_evaluation_is_started_watched_and_read(gateway: FakeGateway, plimsoll: Shell) -> None:
    await plimsoll(*PUT)
    asked = "eval start answer --candidate c1 --dataset hard --scorer exact --scorer schema --against staging --key k"
    assert await plimsoll(*asked.split()) == 0
    assert "waiting, 0 of 60 answers" in plimsoll.out
    [request] = gateway.started
    assert (request.idempotency_key, request.candidate_digest, request.baseline_label) == ("k", "c1", "staging")
    assert list(request.rules.scorers) == ["exact", "schema"]
    done = gateway.evaluations["evl_1"]
    done.state, done.answered, done.report_digest = evaluation_service_pb2.EVALUATION_STATE_DONE, 60, "d1"
    done.verdict = evaluation_service_pb2.EVALUATION_VERDICT_PASSED
    assert await plimsoll("eval", "show", "evl_1") == 0
    assert "passed" in plimsoll.out
    assert "d1" in plimsoll.out
    assert await plimsoll("eval", "list") == 0
    assert "60/60" in plimsoll.out
    for form, told in (("text", "TEXT"), ("json", "JSON"), ("html", "HTML")):
        assert await plimsoll("eval", "report", "d1", "--format", form) == 0
        assert plimsoll.out == f"REPORT_FORMAT_{told}\n"


async def test_a_prompt_is_improved(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("improve", "start", "answer", "--dataset", "hard") == 0
    assert plimsoll.out == "imp_1: drafting\n"
    assert await plimsoll("improve", "list") == 0
    assert "imp_1" in plimsoll.out
    assert await plimsoll("improve", "show", "imp_1", "--json") == 0
    told = plimsoll.json()
    assert isinstance(told, dict)
    assert (told["prompt"], told["state"]) == ("answer", "drafting")


async def test_the_scoreboard_tells_how_models_stand(gateway: FakeGateway, plimsoll: Shell) -> None:
    assert await plimsoll("scoreboard", "--task", "answering") == 0
    assert "local/small" in plimsoll.out


@pytest.mark.parametrize(
    "argv",
    [
        ("dataset", "show", "x"),
        ("dataset", "claim", "x"),
        ("eval", "show", "x"),
        ("eval", "report", "x"),
        ("eval", "start", "answer", "--candidate", "c", "--dataset", "x"),
        ("improve", "show", "x"),
    ],
    ids=" ".join,
)
async def test_what_is_not_there_is_three_with_its_reason(gateway: FakeGateway, plimsoll: Shell, argv: tuple[str, ...]) -> None:
    assert await plimsoll(*argv) == 3
    assert "NOT_FOUND" in plimsoll.err

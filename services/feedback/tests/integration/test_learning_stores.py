"""Datasets, annotations and what is held out, on a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from feedback_learning_desk import SORTING, Desk, a_desk, questions
from feedback_learning_samples import ACME, UMBRELLA, spec
from plimsoll_feedback.adapters.postgres_audit import PostgresAuditLog
from plimsoll_feedback.adapters.postgres_parts import reading_part
from plimsoll_feedback.adapters.postgres_session import reading
from plimsoll_feedback.domain.learning.exporting import ExportFormat
from plimsoll_feedback.domain.learning.parts import Part, part_of
from plimsoll_feedback.domain.learning.rules import Correction, LowConfidence
from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.domain.signal import Demonstrated, SignalDraft
from plimsoll_feedback.errors import (
    DatasetNotFound,
    DatasetTaken,
    ItemClosed,
)
from plimsoll_feedback.service.exports import Exports
from plimsoll_runtime import audit
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.json_types import parse_object


@pytest.fixture
async def desk(postgres_dsn: str) -> AsyncIterator[Desk]:
    async with a_desk(postgres_dsn) as desk:
        yield desk


class TestDatasets:
    async def test_what_a_rule_selects_is_redacted_deduplicated_and_queued_once(self, desk: Desk) -> None:
        same = ["Where is it, ada@example.org?", "where is it,  ADA@example.org?", "I lost my PIN"]
        await desk.happened(same)
        await desk.happened(["never selected"], confidence=0.9)
        first, again = await desk.datasets.select(ACME, SORTING), await desk.datasets.select(ACME, SORTING)
        assert (first.selected, first.duplicates, first.lost) == (3, 1, 0)
        assert again.selected == 0
        items = await desk.datasets.claim(ACME, SORTING, "ada", 10, 60)
        assert {item.body.variables["question"].lower() for item in items} == {"where is it, [email]?", "i lost my pin"}  # type: ignore[index, call-overload, union-attr]
        stored = await desk.pool.fetchval("select string_agg(coalesce(body, ''), '') from dataset_items")
        assert stored is None  # nobody sees rows without saying for whom
        async with reading(desk.pool, ACME) as connection:
            assert "ada@" not in await connection.fetchval("select string_agg(body, '') from dataset_items")

    async def test_selection_gets_through_any_backlog(self, desk: Desk) -> None:
        """More at once than a page holds, all within the time that is looked at again."""
        await desk.happened(questions("card", count=450))
        assert (await desk.datasets.select(ACME, SORTING)).selected == 450
        await desk.happened(["one more question"])
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1

    async def test_a_body_that_nobody_keeps_is_noted_and_never_asked_for_again(self, desk: Desk) -> None:
        await desk.happened(["forgotten"])
        desk.router.bodies.clear()
        assert (await desk.datasets.select(ACME, SORTING)).lost == 1
        assert (await desk.datasets.select(ACME, SORTING)).selected == 0

    async def test_while_the_router_is_away_nothing_is_passed_over(self, desk: Desk) -> None:
        await desk.happened(["patient question"])
        desk.router.away = True
        with pytest.raises(Unavailable):
            await desk.datasets.select(ACME, SORTING)
        desk.router.away = False
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1

    async def test_a_correction_in_production_is_an_annotation(self, desk: Desk) -> None:
        await desk.happened(["refund my money"], confidence=0.9)
        draft = SignalDraft(
            run_id=RunId("run_refund my money"),
            operation_id=OperationId("op_refund my money"),
            value=Demonstrated(answer="refund"),
            comment="",
            source="bob",
        )
        signal = await desk.feedback.record_signal(ACME, draft, "")
        assert (await desk.datasets.select(ACME, SORTING)).selected == 1
        part = part_of(ACME, "run_refund my money")
        async with reading_part(desk.pool, ACME, part) as connection:
            row = await connection.fetchrow("select expected, lineage from examples")
        assert row["expected"] == '"refund"'
        assert (row["lineage"]["annotators"], row["lineage"]["signal_ids"]) == (["bob"], [signal.id])

    async def test_corrections_of_one_key_are_one_voice_whatever_sources_it_names(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(Correction(),), agreement=2, annotators=3), "ada")
        await desk.happened(["refund my money"], confidence=0.9)

        async def corrected(source: str, by: str) -> tuple[int, int]:
            draft = SignalDraft(
                run_id=RunId("run_refund my money"),
                operation_id=OperationId("op_refund my money"),
                value=Demonstrated(answer="refund"),
                comment="",
                source=source,
                recorded_by=by,
            )
            await desk.feedback.record_signal(ACME, draft, "")
            await desk.datasets.select(ACME, SORTING)
            counts = (await desk.datasets.get(ACME, SORTING)).counts
            return counts.pending, counts.training + counts.held_out

        for source in ("ada", "bob", "annotators"):
            assert await corrected(source, "console (key_1)") == (1, 0)
        assert await corrected("ada", "desk (key_2)") == (0, 1)

    async def test_annotators_never_get_the_same_item_and_contradiction_is_settled_by_a_third(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), agreement=2, annotators=3), "ada")
        await desk.happened(["one thing", "another matter"])
        await desk.datasets.select(ACME, SORTING)
        ada, bob = await asyncio.gather(*(desk.datasets.claim(ACME, SORTING, who, 1, 60) for who in ("ada", "bob")))
        assert len({ada[0].id, bob[0].id}) == 2
        item = ada[0].id
        assert (await desk.datasets.annotate(ACME, item, "ada", "card")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "bob", "pin")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "cy", "loan")).status == "disputed"
        [disputed] = await desk.datasets.disputed(ACME, SORTING)
        assert [one.expected for one in disputed.annotations] == ["card", "pin", "loan"]
        settled = await desk.datasets.annotate(ACME, item, "dora", "pin")
        assert (settled.status, bool(settled.example_id)) == ("agreed", True)
        assert (await desk.datasets.annotate(ACME, item, "dora", "pin")).example_id == settled.example_id
        with pytest.raises(ItemClosed):
            await desk.datasets.annotate(ACME, item, "eve", "card")

    async def test_an_item_is_discarded_by_as_many_as_must_agree_and_it_is_told_who_they_were(self, desk: Desk) -> None:
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), agreement=2, annotators=3), "ada")
        await desk.happened(["one thing", "another matter"])
        await desk.datasets.select(ACME, SORTING)
        item, other = [one.id for one in await desk.datasets.claim(ACME, SORTING, "ada", 2, 60)]
        for _ in range(3):  # one voice, however often it is raised
            assert (await desk.datasets.discard(ACME, item, "ada")).status == "pending"
        assert (await desk.datasets.annotate(ACME, item, "bob", None)).status == "pending"  # nothing is an answer, too
        assert await desk.datasets.claim(ACME, SORTING, "ada", 2, 60) != []
        assert (await desk.datasets.discard(ACME, item, "cy")).status == "discarded"
        assert (await desk.datasets.discard(ACME, item, "cy")).status == "discarded"
        for late in (desk.datasets.annotate(ACME, item, "bob", "card"), desk.datasets.discard(ACME, item, "dora")):
            with pytest.raises(ItemClosed):
                await late
        for who in ("ada", "bob"):
            agreed = await desk.datasets.annotate(ACME, other, who, "card")
        assert agreed.status == "agreed"
        with pytest.raises(ItemClosed, match="agreed"):
            await desk.datasets.discard(ACME, other, "ada")
        [told] = await audit.entries(desk.pool, ACME, action="item.discarded")
        assert (told.subject, told.actor) == (f"item:{item}", "cy")
        assert parse_object(told.details) == {"dataset": SORTING, "annotators": ["ada", "cy"]}

    async def test_a_claim_that_ran_out_is_free_again(self, desk: Desk) -> None:
        await desk.happened(["one thing"])
        await desk.datasets.select(ACME, SORTING)
        assert await desk.datasets.claim(ACME, SORTING, "ada", 1, 0.001)
        await asyncio.sleep(0.01)
        assert await desk.datasets.claim(ACME, SORTING, "bob", 1, 60)
        assert not await desk.datasets.claim(ACME, SORTING, "ada", 1, 60)

    async def test_agreed_answers_tell_monitors_what_they_were_worth(self, desk: Desk) -> None:
        await desk.learned(["card is right", "pin is wrong"])
        async with reading(desk.pool, ACME) as connection:
            rows = await connection.fetch("select run_id, verdict, demonstration from signals order by run_id")
        assert [tuple(row) for row in rows] == [("run_card is right", "good", None), ("run_pin is wrong", None, '"pin"')]

    async def test_another_tenant_has_none_of_it(self, desk: Desk) -> None:
        await desk.learned(["card"])
        for verb in (desk.datasets.get(UMBRELLA, SORTING), desk.datasets.claim(UMBRELLA, SORTING, "eve", 1, 60)):
            with pytest.raises(DatasetNotFound):
                await verb

    async def test_a_name_stays_with_its_prompt(self, desk: Desk) -> None:
        with pytest.raises(DatasetTaken):
            await desk.datasets.put(ACME, spec(prompt="another"), "ada")


class TestHeldOut:
    async def test_no_reader_of_training_sees_the_held_out_part_and_the_database_itself_refuses(self, desk: Desk) -> None:
        asked = questions("card", "pin", count=20)
        await desk.learned(asked)
        held_out = {question for question in asked if part_of(ACME, f"run_{question}") is Part.HELD_OUT}
        assert 0 < len(held_out) < len(asked)
        version = (await desk.datasets.get(ACME, SORTING)).counts.version
        learned = {one.body.variables["question"] for one in await desk.training.page(ACME, SORTING, version, "", 500)}  # type: ignore[index, call-overload]
        assert learned == set(asked) - held_out
        async with reading_part(desk.pool, ACME, Part.TRAINING) as connection:
            assert await connection.fetchval("select count(*) from examples where part = 'held_out'") == 0
            assert await connection.fetchval("select count(*) from held_out_examples") == 0
        async with reading(desk.pool, ACME) as connection:  # who names no part sees none
            assert await connection.fetchval("select count(*) from examples") == 0

    async def test_exports_and_proposals_never_hold_it(self, desk: Desk) -> None:
        asked = questions("refund", "loan", count=20)
        await desk.learned(asked)
        held_out = {question for question in asked if part_of(ACME, f"run_{question}") is Part.HELD_OUT}
        exports = Exports(desk.datasets, desk.router, PostgresAuditLog(desk.pool))
        for form in ExportFormat:
            text = "\n".join((await exports.export(ACME, SORTING, 0, form, "ada")).lines)
            assert text
            assert not [question for question in held_out if question in text]
        await desk.improvements.start(ACME, "sort", SORTING, "")
        await desk.improver.step()
        candidate = desk.router.prompts[desk.router.labels["sort", "candidate"]]
        shown = {one.user for one in candidate.examples}
        assert shown & (set(asked) - held_out)
        assert not shown & held_out

    async def test_what_is_deleted_or_kept_long_enough_is_in_no_export_of_any_version(self, desk: Desk) -> None:
        asked = questions("card", count=12)
        await desk.learned(asked)
        exports, before = (
            Exports(desk.datasets, desk.router, PostgresAuditLog(desk.pool)),
            (await desk.datasets.get(ACME, SORTING)).counts.version,
        )
        [first, *_] = await desk.training.page(ACME, SORTING, before, "", 500)
        lines = len((await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")).lines)
        assert await desk.datasets.delete(ACME, SORTING, first.id, "bob")
        assert not await desk.datasets.delete(ACME, SORTING, first.id, "bob")
        again = await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")
        assert len(again.lines) == lines - 1
        assert first.body.variables["question"] not in "".join(again.lines)  # type: ignore[index, call-overload, operator]
        await desk.datasets.put(ACME, spec(rules=(LowConfidence(below=0.5),), retention_s=0.001), "ada")
        assert await desk.datasets.expire(ACME, SORTING) == len(asked) - 1
        assert (await exports.export(ACME, SORTING, before, ExportFormat.CHAT, "ada")).lines == ()
        async with reading(desk.pool, ACME) as connection:
            assert await connection.fetchval("select count(*) from dataset_items where body is not null") == 0
            assert await connection.fetchval("select count(*) from annotations") == 0
        told = [(one.action, one.subject, one.actor) for one in reversed(await audit.entries(desk.pool, ACME))]
        of = f"dataset:{SORTING}"
        deleted = ("example.deleted", f"example:{first.id}", "bob")
        put, out = ("dataset.put", of, "ada"), ("dataset.exported", of, "ada")
        assert told == [put, out, deleted, out, put, out]  # what was not there to delete is not told
        [last, *_] = await audit.entries(desk.pool, ACME, action="dataset.exported", subject=of)
        assert parse_object(last.details)["lines"] == 0
        assert (await audit.verify(desk.pool, ACME)).is_intact

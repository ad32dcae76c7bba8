"""Labels over immutable versions: which move when, on which grounds, and what is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_router_fakes import FakeRegistryStore, FakeReports
from model_router_samples import ACME, MODEL, REFERENCE, ROUTE, TEMPLATE, UMBRELLA
from plimsoll.feedback.v1 import evaluation_service_pb2 as pb
from plimsoll_model_router.adapters.feedback_reports import content_digest, report_from_proto
from plimsoll_model_router.adapters.snapshot_file import SnapshotFile
from plimsoll_model_router.domain.differences import differences
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.entries import Content, Entry, Kind, digest_of, from_plain, kind_of, to_plain
from plimsoll_model_router.domain.labels import EntryReference, Move
from plimsoll_model_router.domain.prices import PriceTable
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion
from plimsoll_model_router.domain.registry_cache import Moved, RegistryCache
from plimsoll_model_router.domain.reports import Report, Verdict
from plimsoll_model_router.domain.routes import RouteCandidate
from plimsoll_model_router.domain.routing import Model, Supplier
from plimsoll_model_router.errors import (
    InvalidLabel,
    InvalidModel,
    LabelProtected,
    NothingBefore,
    ReportRefused,
    ReportUnverified,
    UnknownPrompt,
)
from plimsoll_model_router.service.catalogue import Catalogue, Configured
from plimsoll_model_router.service.registry import Registry
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.clock import FakeClock

LOG = logs.get("test")
OTHER = replace(TEMPLATE, system="Be brief.")
AT_PRODUCTION = EntryReference(kind=Kind.PROMPT, name=TEMPLATE.name, selector=ByLabel(label="production"))


@dataclass
class Office:
    """A registry on fakes; `told` are the moves that were announced."""

    registry: Registry
    reports: FakeReports
    store: FakeRegistryStore
    catalogue: Catalogue
    cache: RegistryCache
    told: list[Move]

    async def registered(self, content: Content, *labels: str) -> Entry:
        entry, _ = await self.registry.register(ACME, content, labels, "ann")
        return entry

    async def at(self, label: str = "production") -> int:
        return (await self.registry.get(ACME, replace(AT_PRODUCTION, selector=ByLabel(label=label)))).version

    async def moves(self) -> list[tuple[int, int, str]]:
        listed: Sequence[Move] = await self.registry.moves(ACME, Kind.PROMPT, TEMPLATE.name, 0, 100)
        return [(move.from_version, move.to_version, str(move.grounds)) for move in listed]


@pytest.fixture
def office(clock: FakeClock) -> Office:
    store, cache, reports, told = FakeRegistryStore(clock), RegistryCache(), FakeReports(), list[Move]()
    suppliers = {"openai": Supplier(name="openai", dialect=Dialect.OPENAI_CHAT)}
    models = [Model(provider="openai", name="strong"), Model(provider="openai", name="fast")]
    configured = Configured(suppliers=suppliers, models=models, routes={}, prices=PriceTable(version="", rows=[]))
    catalogue = Catalogue(store, cache, configured, clock, LOG)

    async def announce(tenant: str, move: Move) -> None:
        told.append(move)
        cache.note(Moved(position=move.position, tenant=tenant, kind=move.kind, name=move.name))

    registry = Registry(store, catalogue, reports, announce, protected=frozenset({"production"}))
    return Office(registry, reports, store, catalogue, cache, told)


def target(entry: Entry) -> EntryReference:
    return EntryReference(kind=entry.kind, name=entry.name, selector=ByVersion(version=entry.version))


def passing(candidate: Entry, baseline: Entry) -> Report:
    return Report(
        digest="r1",
        content="r1",
        kind=candidate.kind,
        name=candidate.name,
        candidate_digest=candidate.digest,
        baseline_digest=baseline.digest,
        verdict=Verdict.PASSED,
    )


async def test_a_first_label_is_free_and_the_same_place_again_is_no_move(office: Office) -> None:
    first = await office.registered(TEMPLATE, "production")
    again = await office.registered(TEMPLATE, "production")
    assert (first.labels, again.version) == (("production",), 1)
    assert await office.moves() == [(0, 1, "first")]
    assert [(move.label, move.moved_by) for move in office.told] == [("production", "ann")]


async def test_a_label_that_is_not_protected_moves_freely(office: Office) -> None:
    await office.registered(TEMPLATE, "candidate")
    second = await office.registered(OTHER, "candidate")
    assert await office.at("candidate") == second.version == 2
    assert await office.moves() == [(1, 2, "open"), (0, 1, "first")]


async def test_a_protected_label_does_not_move_without_a_report(office: Office) -> None:
    await office.registered(TEMPLATE, "production")
    with pytest.raises(LabelProtected, match="points at version 1, not 2"):
        await office.registered(OTHER, "production")
    second = await office.registered(OTHER)  # the version is there all the same
    assert second.version == 2
    with pytest.raises(LabelProtected):
        await office.registry.move_label(ACME, target(second), "production", "", "ann")
    assert (await office.at(), await office.moves()) == (1, [(0, 1, "first")])


async def test_a_passing_report_of_exactly_this_against_exactly_that_moves_it(office: Office) -> None:
    first, second = await office.registered(TEMPLATE, "production"), await office.registered(OTHER)
    office.reports.add(passing(second, first))
    move, moved = await office.registry.move_label(ACME, target(second), "production", "r1", "bob")
    assert (moved, move.report_digest, move.moved_by) == (True, "r1", "bob")
    assert (await office.at(), (await office.moves())[0]) == (2, (1, 2, "report"))
    again, moved = await office.registry.move_label(ACME, target(second), "production", "r1", "bob")
    assert (moved, again.from_version) == (False, 2)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"content": "tampered"}, "digest does not fit"),
        ({"digest": "r2"}, "digest does not fit"),
        ({"verdict": Verdict.FAILED}, "verdict is failed"),
        ({"verdict": Verdict.INCONCLUSIVE}, "verdict is inconclusive"),
        ({"verdict": Verdict.UNKNOWN}, "verdict is unknown"),
        ({"candidate_digest": "x"}, "another version than support-classify@2"),
        ({"baseline_digest": "x"}, "the present one, support-classify@1"),
        ({"name": "other"}, "about other"),
        ({"kind": Kind.ROUTE}, "about support-classify, not"),
        ({"kind": None}, "about support-classify, not"),
    ],
)
async def test_any_other_report_moves_nothing(office: Office, change: dict[str, object], why: str) -> None:
    first, second = await office.registered(TEMPLATE, "production"), await office.registered(OTHER)
    report = replace(passing(second, first), **change)  # type: ignore[arg-type]
    office.reports._reports["r1"] = report
    with pytest.raises(ReportRefused, match=why):
        await office.registry.move_label(ACME, target(second), "production", "r1", "ann")
    assert await office.at() == 1


async def test_a_report_that_nobody_knows_or_nobody_can_vouch_for_moves_nothing(office: Office) -> None:
    await office.registered(TEMPLATE, "production")
    second = await office.registered(OTHER)
    with pytest.raises(ReportRefused, match="knows no evaluation report"):
        await office.registry.move_label(ACME, target(second), "production", "r9", "ann")
    office.reports.away = True
    with pytest.raises(ReportUnverified):
        await office.registry.move_label(ACME, target(second), "production", "r1", "ann")
    assert await office.at() == 1


async def test_an_override_needs_a_reason_and_is_recorded_with_who_did_it(office: Office) -> None:
    await office.registered(TEMPLATE, "production")
    second = await office.registered(OTHER)
    with pytest.raises(InvalidLabel, match="reason"):
        await office.registry.override_label(ACME, target(second), "production", "  ", "eve")
    move, moved = await office.registry.override_label(ACME, target(second), "production", "The shop is on fire.", "eve")
    assert (moved, str(move.grounds), move.reason, move.moved_by) == (True, "override", "The shop is on fire.", "eve")
    assert await office.at() == 2


async def test_what_moves_a_protected_label_and_every_override_is_audited(office: Office) -> None:
    first, second = await office.registered(TEMPLATE, "production", "candidate"), await office.registered(OTHER, "candidate")
    await office.registry.override_label(ACME, target(second), "candidate", "why not", "eve")
    await office.registry.override_label(ACME, target(second), "production", "it burns", "eve")
    await office.registry.roll_back_label(ACME, Kind.PROMPT, TEMPLATE.name, "production", "it burnt", "ann")
    with pytest.raises(LabelProtected):
        await office.registry.move_label(ACME, target(second), "production", "", "bob")
    assert [(move.label, str(move.grounds), move.to_version) for move in office.store.audited] == [
        ("production", "first", first.version),
        ("production", "override", second.version),
        ("production", "rollback", first.version),
    ]


async def test_one_command_rolls_back_and_never_past_the_beginning(office: Office) -> None:
    first, second = await office.registered(TEMPLATE, "production"), await office.registered(OTHER)
    office.reports.add(passing(second, first))
    await office.registry.move_label(ACME, target(second), "production", "r1", "ann")
    back = await office.registry.roll_back_label(ACME, Kind.PROMPT, TEMPLATE.name, "production", "worse", "ann")
    assert (back.from_version, back.to_version, str(back.grounds)) == (2, 1, "rollback")
    with pytest.raises(NothingBefore):
        await office.registry.roll_back_label(ACME, Kind.PROMPT, TEMPLATE.name, "production", "", "ann")
    with pytest.raises(UnknownPrompt):
        await office.registry.roll_back_label(UMBRELLA, Kind.PROMPT, TEMPLATE.name, "production", "", "ann")


async def test_a_label_is_moved_to_a_version_never_to_another_label(office: Office) -> None:
    await office.registered(TEMPLATE, "candidate")
    with pytest.raises(InvalidLabel, match="is a label"):
        await office.registry.move_label(ACME, replace(AT_PRODUCTION, selector=ByLabel(label="candidate")), "production", "", "ann")
    with pytest.raises(InvalidLabel, match="Not A Label"):
        await office.registry.register(ACME, TEMPLATE, ["Not A Label"], "ann")


async def test_a_model_entry_names_a_configured_provider(office: Office) -> None:
    assert (await office.registered(MODEL)).kind is Kind.MODEL
    with pytest.raises(InvalidModel, match=r"model\.provider.*openai") as caught:
        await office.registered(replace(MODEL, provider="nobody", name="Bad Name", context_tokens=-1))
    assert [problem.field for problem in caught.value.problems] == ["model.name", "model.provider", "model.context_tokens"]


async def test_versions_differ_field_by_field_and_texts_line_by_line(office: Office) -> None:
    before = replace(TEMPLATE, system="One.\nTwo.\nThree.")
    after = replace(before, system="One.\n2.\nThree.", examples=(), description="New")
    first, second = await office.registered(before), await office.registered(after)
    found = {one.field: one for one in await office.registry.differences(ACME, target(first), target(second))}
    assert set(found) == {"description", "system", "examples[0]"}
    assert "-Two." in found["system"].lines.splitlines()
    assert "+2." in found["system"].lines.splitlines()
    assert found["examples[0]"].after == ""
    assert differences(before, before) == ()
    routes = differences(ROUTE, replace(ROUTE, explore=0.2, candidates=(*ROUTE.candidates, RouteCandidate(model="x"))))
    assert [one.field for one in routes] == ["candidates[2]", "explore"]


@given(st.sampled_from([TEMPLATE, OTHER, MODEL, ROUTE]))
def test_content_survives_being_written_down_and_its_digest_forgets_the_description(content: Content) -> None:
    assert from_plain(kind_of(content), content.name, content.description, to_plain(content)) == content
    assert digest_of(replace(content, description="x")) == digest_of(content)


def test_a_report_is_what_it_says_whatever_digest_it_claims() -> None:
    message = pb.EvaluationReport(
        evaluation_id="e",
        subject=pb.EVALUATION_SUBJECT_PROMPT,
        name="p",
        candidate_digest="c",
        baseline_digest="b",
        verdict=pb.EVALUATION_VERDICT_PASSED,
        examples=40,
        measures=[pb.EvaluationMeasure(scorer="exact", candidate=0.9, baseline=0.8, difference_low=0.01)],
    )
    message.digest = content_digest(message)
    read = report_from_proto(message)
    assert (read.digest, read.kind, read.verdict) == (read.content, Kind.PROMPT, Verdict.PASSED)
    message.measures[0].baseline = 0.7
    assert report_from_proto(message).content != message.digest
    assert report_from_proto(pb.EvaluationReport(verdict=9)).verdict is Verdict.UNKNOWN  # type: ignore[arg-type] # a newer peer


def version(number: int, *labels: str) -> Entry:
    content = replace(TEMPLATE, system=f"Version {number}.")
    return Entry(content=content, version=number, digest=content.digest, created_at=FakeClock().now(), labels=labels)


def test_what_is_known_of_a_version_is_known_for_ever_and_of_a_label_until_it_moves() -> None:
    cache, by_version = RegistryCache(), replace(AT_PRODUCTION, selector=ByVersion(version=1))
    cache.refresh(ACME, AT_PRODUCTION, version(1), asked=cache.noted)
    cache.refresh(ACME, by_version, version(1), asked=cache.noted)
    assert cache.get(ACME, AT_PRODUCTION) == version(1)
    cache.note(Moved(position=1, tenant=ACME, kind=Kind.PROMPT, name=TEMPLATE.name))
    assert (cache.get(ACME, AT_PRODUCTION), cache.get(ACME, by_version)) == (None, version(1))
    assert cache.get(ACME, AT_PRODUCTION, stale=True) == version(1)
    cache.refresh(ACME, AT_PRODUCTION, version(2), asked=cache.noted)
    assert cache.get(ACME, AT_PRODUCTION) == version(2)


def test_an_answer_that_a_move_overtook_is_used_and_not_kept() -> None:
    cache = RegistryCache()
    asked = cache.noted
    cache.note(Moved(position=1, tenant=ACME, kind=Kind.PROMPT, name=TEMPLATE.name))
    cache.refresh(ACME, AT_PRODUCTION, version(1), asked=asked)
    assert cache.get(ACME, AT_PRODUCTION, stale=True) is None


async def test_while_the_store_is_away_the_last_known_good_is_served(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.registered(TEMPLATE, "production")
    known = await office.catalogue.prompt(ACME, REFERENCE)
    office.cache.note_all()

    async def away(*_: object) -> Entry:
        raise Unavailable("away")

    monkeypatch.setattr(office.store, "get", away)
    assert await office.catalogue.prompt(ACME, REFERENCE) == known
    with pytest.raises(Unavailable):
        await office.catalogue.prompt(UMBRELLA, REFERENCE)


async def test_the_last_known_good_outlives_the_process(office: Office, tmp_path: Path, clock: FakeClock) -> None:
    for content in (TEMPLATE, MODEL, ROUTE):
        await office.registered(content, "production")
    known = await office.catalogue.prompt(ACME, REFERENCE)
    await office.catalogue.entry(ACME, replace(AT_PRODUCTION, selector=ByDigest(digest=known.digest)))
    models, route = await office.catalogue.models(ACME), await office.catalogue.route(ACME, "classification")
    file = tmp_path / "deep" / "snapshot.json"
    SnapshotFile(file, office.cache, LOG).save()

    cache, store = RegistryCache(), FakeRegistryStore(clock)
    assert SnapshotFile(file, cache, LOG).load()
    later = Catalogue(store, cache, office.catalogue._configured, clock, LOG)

    async def away(*_: object) -> Entry:
        raise Unavailable("away")

    store.get = store.labelled = away  # type: ignore[assignment]
    assert await later.prompt(ACME, REFERENCE) == known
    assert (await later.models(ACME), await later.route(ACME, "classification")) == (models, route)


@pytest.mark.parametrize("text", ["", "{", '{"form": 9}', '{"form": 1, "known": [{}], "labelled": []}', "[]"])
def test_a_snapshot_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(text)
    assert not SnapshotFile(file, RegistryCache(), LOG).load()
    assert not SnapshotFile(None, RegistryCache(), LOG).load()

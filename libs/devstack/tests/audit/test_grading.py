"""Grades follow from what was found, and reports tell all of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from plimsoll_client.models import Run, RunStatus
from plimsoll_devstack.audit.grading import Answer, Audit, Check, Outcome, judged, unmeasured
from plimsoll_devstack.audit.probes import apart
from plimsoll_devstack.audit.report import as_object, as_page, as_text
from plimsoll_devstack.audit.runs import marked, with_marks
from plimsoll_devstack.audit.stage import Asked, BadAudit, read_input
from plimsoll_devstack.chaos import packaged_plans, read_plan
from plimsoll_runtime.usage import Usage

KEPT = judged("it holds", kept=True, evidence="3 of 3", remedy="mend it")
BROKEN = judged("it holds", kept=False, evidence="<b>1</b> of 3", remedy="mend it")
OPEN = unmeasured("it holds", why="no second provider", remedy="configure one")


RUN = Run(
    id="run_1",
    agent="mine",
    agent_digest="",
    status=RunStatus.SUCCEEDED,
    seq=1,
    node="",
    input={},
    state=None,
    output={},
    failure=None,
    steps=1,
    usage=Usage(),
    created_at=None,
    started_at=None,
    finished_at=None,
    rehearsal=False,
)


def answer(*checks: Check) -> Answer:
    return Answer(dimension="Scalability", question="does it?", checks=checks)


@pytest.mark.parametrize(
    ("checks", "grade"),
    [
        ((KEPT, KEPT), "A"),
        ((KEPT, OPEN), "B"),
        ((KEPT, KEPT, KEPT, BROKEN), "C"),
        ((KEPT, BROKEN), "D"),
        ((KEPT, BROKEN, BROKEN), "F"),
        ((BROKEN, OPEN), "F"),
        ((OPEN,), "-"),
        ((), "-"),
    ],
)
def test_a_grade_is_what_was_kept_of_what_was_measured(checks: tuple[Check, ...], grade: str) -> None:
    assert answer(*checks).grade == grade


def test_a_remedy_is_told_where_something_was_not_kept_and_nowhere_else() -> None:
    assert (KEPT.remedy, BROKEN.remedy, OPEN.remedy) == ("", "mend it", "configure one")


def test_what_was_not_measured_neither_passes_for_kept_nor_fails_an_audit() -> None:
    assert OPEN.outcome is Outcome.NOT_MEASURED
    assert Audit(agent="a", seed=1, took_s=1.0, answers=[answer(OPEN, KEPT)]).passed
    assert not Audit(agent="a", seed=1, took_s=1.0, answers=[answer(KEPT), answer(BROKEN)]).passed


def test_every_form_of_a_report_tells_grade_evidence_remedy_and_seed() -> None:
    audit = Audit(agent="support", seed=7, took_s=12.0, answers=[answer(KEPT, BROKEN, OPEN)])
    for form in (as_text(audit), as_page(audit), json.dumps(as_object(audit))):
        for told in ("support", "7", "D", "Scalability", "3 of 3", "mend it", "no second provider", "configure one"):
            assert told in form
    assert "<b>1" not in as_page(audit), "what was found is text, whatever it holds"


def test_options_that_do_not_go_together_are_refused_with_a_remedy(tmp_path: Path) -> None:
    given = tmp_path / "input.json"
    given.write_text('{"message": "hello"}')

    def asked(*, agent: str = "", given: Path | None = None, data: Path | None = None, agents: Path | None = None) -> Asked:
        return Asked(data=data, agents=agents, agent=agent, given=given, at_once=(1,), per_fault=1, environ={})

    assert read_input(asked()) is None
    assert read_input(asked(agent="support", given=given)) == {"message": "hello"}
    for wrong in (
        asked(agent="support"),
        asked(given=given),
        asked(data=tmp_path),
        asked(agent="support", given=tmp_path / "none.json"),
    ):
        with pytest.raises(BadAudit) as refused:
            read_input(wrong)
        assert refused.value.remedy


def test_each_run_has_a_mark_where_there_is_a_place_for_one_and_a_foreign_one_is_seen() -> None:
    inputs = with_marks({"message": "order {{mark}}, please: {{mark}}", "n": 1}, 3)
    assert len({one for each in inputs for one in marked(each)}) == 3
    assert [each["n"] for each in inputs] == [1, 1, 1]
    said = [replace(RUN, output={"said": each["message"]}) for each in inputs]
    assert apart(inputs, said, own=False).outcome is Outcome.KEPT
    assert apart(inputs, [said[0], said[2], None], own=False).outcome is Outcome.BROKEN
    kept = [replace(RUN, state=each) for each in inputs]
    assert apart(inputs, kept, own=False).outcome is Outcome.KEPT
    assert apart(inputs, [kept[1], *kept[1:]], own=False).outcome is Outcome.BROKEN
    assert apart(inputs, [RUN] * 3, own=False).outcome is Outcome.NOT_MEASURED, "nobody can tell where no mark comes through"
    assert apart(with_marks({"message": "hello"}, 3), [RUN] * 3, own=False).outcome is Outcome.NOT_MEASURED


def test_a_mark_of_the_audits_own_agent_that_got_lost_is_seen() -> None:
    [given] = with_marks({"canary": "{{mark}}"}, 1)
    own = given["canary"]
    assert apart([given], [replace(RUN, output={"seen": [own, f"{own}-1", f"{own}-2"]})], own=True).outcome is Outcome.KEPT
    assert apart([given], [replace(RUN, output={"seen": [own]})], own=True).outcome is Outcome.BROKEN


def test_every_plan_on_board_is_one_and_has_its_name() -> None:
    plans = packaged_plans()
    assert len(plans) >= 14
    assert {name: read_plan(path).name for name, path in plans.items()} == {name: name for name in plans}

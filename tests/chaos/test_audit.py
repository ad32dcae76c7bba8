"""The audit in its short form on a mesh of its own: nothing is broken, and nothing is left."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from plimsoll_devstack.audit.stage import Asked, perform

pytestmark = [pytest.mark.e2e, pytest.mark.soak]


async def test_a_bare_machine_is_audited_with_grades_and_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked = Asked(data=None, agents=None, agent="", given=None, at_once=(20, 60), per_fault=5, environ={"PATH": "/usr/bin:/bin"})
    passed = await perform(asked, as_json=True, html=None)
    told = json.loads(capsys.readouterr().out)
    assert passed, told
    grades = {answer["dimension"]: answer["grade"] for answer in told["answers"]}
    assert grades.pop("Resilience") in {"A", "B"}, "a plan of small shares may meet none of so few runs, and then it says so"
    assert grades == {"Scalability": "A", "Modularity": "B", "Continuous learning": "B", "Future-proofing": "B"}
    assert [path for path in os.listdir(tmp_path) if path.startswith("plimsoll-audit-")] == []

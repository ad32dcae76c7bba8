"""The audit in its short form on a mesh of its own: nothing is broken, and nothing is left."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from plimsoll_devstack.audit.stage import Asked, perform
from plimsoll_testkit.upstream import serving

CANARY = Path(__file__).resolve().parents[1] / "e2e" / "agents"
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
    assert grades == {"Scalability": "A", "Modularity": "A", "Continuous learning": "A", "Future-proofing": "B"}
    assert [path for path in os.listdir(tmp_path) if path.startswith("plimsoll-audit-")] == []


async def test_the_same_agent_is_tried_on_every_dialect_that_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on an agent of the user's own, whose failure the audit has to bring about by a fault."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = tmp_path / "input.json"
    given.write_text('{"canary": "canary-mine"}')
    async with serving() as upstream:
        settings = {"API_KEY": "sk-audit", "MODEL": "fine"}
        environ = {"PATH": "/usr/bin:/bin"}
        for provider, path in (("ANTHROPIC", ""), ("OPENAI", "/v1"), ("GEMINI", ""), ("COMPATIBLE", "/v1")):
            environ |= {f"PLIMSOLL_MODEL_ROUTER_{provider}_{name}": value for name, value in settings.items()}
            environ[f"PLIMSOLL_MODEL_ROUTER_{provider}_BASE_URL"] = f"{upstream.url}{path}"
        asked = Asked(data=None, agents=CANARY, agent="canary", given=given, at_once=(5,), per_fault=1, environ=environ)
        await perform(asked, as_json=True, html=None)
        told = {check["what"]: check for answer in json.loads(capsys.readouterr().out)["answers"] for check in answer["checks"]}
    tried = [check for what, check in told.items() if what.startswith("the same agent on ")]
    assert [check["outcome"] for check in tried] == ["kept"] * 5, tried
    assert all("0 files outside of the configuration touched" in check["evidence"] for check in tried)
    assert told["a failure is caught with its category and counted"]["outcome"] == "kept", told

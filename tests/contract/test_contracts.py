"""The contracts keep their rules, and what is generated from them is what they say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "proto" / "generate.py"
GENERATED = ROOT / "libs" / "contracts" / "src"


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*_pb2*.py*")) if path.suffix in {".py", ".pyi"}}


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GENERATE, "code", tmp_path], check=True)
    fresh, kept = files(tmp_path), files(GENERATED)
    assert fresh.keys() == kept.keys(), "run `make proto`"
    assert [name for name in fresh if fresh[name] != kept[name]] == [], "run `make proto`"


@pytest.mark.parametrize("rule", ["lint", "breaking"])
def test_the_contracts_pass(rule: str) -> None:
    result = subprocess.run([sys.executable, GENERATE, rule], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_broken_contract_is_found(tmp_path: Path) -> None:
    """The breaking check can fail: a field that changes its type is a break."""
    copy = tmp_path / "proto"
    subprocess.run(["cp", "-r", ROOT / "proto", copy], check=True)
    run = copy / "plimsoll" / "orchestrator" / "v1" / "run.proto"
    text = run.read_text()
    assert "string agent = 2;" in text
    run.write_text(text.replace("string agent = 2;", "int64 agent = 2;", 1))
    result = subprocess.run([sys.executable, copy / "generate.py", "breaking"], check=False, capture_output=True, text=True)
    assert result.returncode != 0


def test_the_generator_is_importable_without_side_effects() -> None:
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all(path.startswith("plimsoll/") for path in module.protos())

"""Makes what these tests share importable under names that no other package's tests use."""

import importlib.util
import sys
from pathlib import Path

for name in (
    "fakes",
    "history",
    "crashing",
    "post",
    "model_rows",
    "model_gates",
    "model_ledger",
    "model_store",
    "arrivals",
    "simulated",
    "simulator",
    "outages",
    "stores",
):
    spec = importlib.util.spec_from_file_location(f"orchestrator_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"orchestrator_{name}"] = module
    spec.loader.exec_module(module)

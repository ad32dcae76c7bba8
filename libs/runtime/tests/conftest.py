"""Makes the test support importable under names that no other package's tests use."""

import importlib.util
import sys
from pathlib import Path

for name in ("probe", "relay", "own_nats", "own_redis", "own_postgres", "harbour", "guards"):
    spec = importlib.util.spec_from_file_location(f"runtime_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

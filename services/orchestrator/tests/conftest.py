"""Makes the fakes importable as `orchestrator_fakes`, a name that no other package's tests use."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("orchestrator_fakes", Path(__file__).with_name("fakes.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["orchestrator_fakes"] = _module
_spec.loader.exec_module(_module)

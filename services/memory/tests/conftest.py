"""Makes what these tests share importable, under names that no other service's tests use."""

import importlib.util
import sys
from pathlib import Path

for _name in (
    "samples",
    "fake_quality",
    "fake_threads",
    "fakes",
    "keeping",
    "behaviour",
    "thread_behaviour",
    "upload_behaviour",
    "running",
):
    _spec = importlib.util.spec_from_file_location(f"memory_{_name}", Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)

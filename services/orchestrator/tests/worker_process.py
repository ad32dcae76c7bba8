"""What a worker process of the crash tests runs: `TASK` is put in by whoever starts it."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).with_name("conftest.py")))

from orchestrator_crashing import advance  # noqa: E402 - known only since the line above

advance(*globals()["TASK"])

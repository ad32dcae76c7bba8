"""Makes what these tests share importable, as `model_router_<file>`: a name that no other service's tests use."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

_PREFIX = "model_router_"


class _Shared(MetaPathFinder):
    """Finds the modules beside this file."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = Path(__file__).with_name(f"{name.removeprefix(_PREFIX)}.py")
        if not name.startswith(_PREFIX) or not file.is_file():
            return None
        return importlib.util.spec_from_file_location(name, file)


sys.meta_path.append(_Shared())

"""Tests named in documents, as `path::test_name`: whether each is there, and how a document points to it."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def missing(names: Iterable[str]) -> list[str]:
    """Those whose file has no function of that name. A suite of behaviour counts where it is written, for all that it is run against."""
    return [name for name in names if name.partition("::")[2] not in _functions(name.partition("::")[0])]


def link(name: str, base: Path) -> str:
    """A link from a document in the folder `base` to the file of a test, under the test's name."""
    path, _, function = name.partition("::")
    up = "../" * len(base.relative_to(ROOT).parts)
    return f"[`{function.removeprefix('test_')}`]({up}{path})"


@cache
def _functions(path: str) -> frozenset[str]:
    file = ROOT / path
    if not path or not file.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text()))
    return frozenset(
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )

"""What a package imports is what it declares: an image holds nothing else."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for folder in ("libs", "services") for path in (ROOT / folder).glob("*/pyproject.toml"))
OPTIONAL = {"sentence-transformers"}  # plugged in by configuration; whoever does installs it


def name(requirement: str) -> str:
    word = (
        requirement.split(";", maxsplit=1)[0]
        .split("[", maxsplit=1)[0]
        .split(">", maxsplit=1)[0]
        .split("<", maxsplit=1)[0]
        .split("=", maxsplit=1)[0]
    )
    return word.strip().lower().replace("_", "-").replace(".", "-")


def declared(package: Path) -> set[str]:
    """The package's own dependencies, and those of our libraries below it."""
    own = {name(one) for one in tomllib.loads((package / "pyproject.toml").read_text())["project"]["dependencies"]}
    libraries = {one.removeprefix("plimsoll-") for one in own if one.startswith("plimsoll-")}
    return own.union(*(declared(ROOT / "libs" / library) for library in libraries))


def imported(package: Path) -> Iterator[str]:
    """The modules that its code imports, as they are written."""
    for path in (package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                yield node.module


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_declares_what_it_imports(package: Path) -> None:
    installed, known = packages_distributions(), declared(package) | OPTIONAL
    for module in sorted(set(imported(package))):
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith("plimsoll"):
            continue
        offered = {name(one) for one in installed.get(top, [top])}
        assert offered & known, f"{module} comes from {sorted(offered)}, which {package.name}/pyproject.toml does not name"

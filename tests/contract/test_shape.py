"""All services have the same shape, and one name drives everything."""

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import readme_settings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["gateway", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback"]
HEADINGS = ["Owns", "RPCs", "Subjects", "Tables", "Settings", "How it fails", "Decisions"]


def snake(service: str) -> str:
    return service.replace("-", "_")


def pascal(service: str) -> str:
    return "".join(part.title() for part in service.split("-"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_names_follow_from_its_folder(service: str) -> None:
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"plimsoll-{service}"
    proto = ROOT / "proto" / "plimsoll" / snake(service) / "v1" / f"{snake(service)}_service.proto"
    assert f"service {pascal(service)}Service {{" in proto.read_text()
    main = importlib.import_module(f"plimsoll_{snake(service)}.main")
    assert service == main.NAME


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_files_that_all_have(service: str) -> None:
    package = ROOT / "services" / service / "src" / f"plimsoll_{snake(service)}"
    for layer in ["service", "ports", "errors", "domain", "adapters", "transport", "config", "main", "__main__"]:
        assert (package / f"{layer}.py").exists() or (package / layer / "__init__.py").exists(), layer
    assert (ROOT / "services" / service / "tests" / "unit").is_dir()
    assert (ROOT / "services" / service / "tests" / "integration").is_dir()
    assert (ROOT / "services" / service / "tests" / "fakes.py").is_file()


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_readme_tells_its_rpcs_tables_and_settings(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text()
    for heading in HEADINGS:
        assert f"## {heading}" in readme, heading
    assert readme_settings.current(service) == readme_settings.table(service), "run `make readme`"
    proto = importlib.import_module(f"plimsoll.{snake(service)}.v1.{snake(service)}_service_pb2")
    methods = [method.name for method in proto.DESCRIPTOR.services_by_name[f"{pascal(service)}Service"].methods]
    assert [method for method in methods if method not in readme] == []


def test_importing_any_module_opens_no_connection() -> None:
    """Every module of ours is imported in a process in which sockets cannot be made."""
    packages = ["plimsoll_runtime", "plimsoll_client", "plimsoll_devstack", *(f"plimsoll_{snake(service)}" for service in SERVICES)]
    names = [name for package in packages for name in modules(package)]
    code = (
        "import socket, importlib, sys\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened at import time')\n"
        "socket.socket.connect = refuse\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *names], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def modules(package: str) -> list[str]:
    path = importlib.import_module(package).__path__
    return [package, *(item.name for item in pkgutil.walk_packages(path, f"{package}.") if not item.name.endswith("__main__"))]


def test_the_layers_hold() -> None:
    result = subprocess.run([Path(sys.executable).parent / "lint-imports"], check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_member_of_the_workspace_is_declared() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())
    members = {
        tomllib.loads(path.read_text())["project"]["name"]
        for kind in ("libs", "services")
        for path in (ROOT / kind).glob("*/pyproject.toml")
    }
    assert set(workspace["project"]["dependencies"]) == members == set(workspace["tool"]["uv"]["sources"])


def test_the_lock_has_hashes_and_names_no_index() -> None:
    for name in ("requirements.lock", "requirements-setup.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)

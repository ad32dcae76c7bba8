"""What each service is told: its own settings, its own secrets, and nobody else's."""

import glob
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from plimsoll_devstack.names import SERVICES
from plimsoll_devstack.parts import Part
from plimsoll_devstack.plan import Wanted, plan_mesh
from plimsoll_devstack.servers import configure
from plimsoll_devstack.state import MeshFiles

_USER = {
    "PATH": "/usr/bin",
    "ANTHROPIC_API_KEY": "key-of-anthropic",
    "OPENAI_API_KEY": "key-of-openai",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "OPENAI_MODEL": "local-1",
    "https_proxy": "http://proxy:1",
    "PLIMSOLL_ORCHESTRATOR_DRAIN_S": "3",
    "UNRELATED_SECRET": "hidden",
}


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Part]:
    return _composed(tmp_path)


def _composed(tmp_path: Path, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, Part]:
    agents = tmp_path / "agents"
    for agent in ("support", "documents"):
        (agents / agent / "tools").mkdir(parents=True, exist_ok=True)
    (agents / "pipeline").mkdir(exist_ok=True)
    wanted = Wanted(data=tmp_path / "data", agents=agents, workers=2, environ={**_USER, **more})
    return {part.name: part for part in plan_mesh(wanted, MeshFiles(wanted.data), configure(wanted.data), ()).parts}


def _env(part: Part) -> dict[str, str]:
    return dict(part.prepare().env)


def test_the_mesh_is_six_services_and_the_orchestrator_in_two_roles(parts: dict[str, Part]) -> None:
    assert {part.prepare().argv[-1].removeprefix("plimsoll_") for part in parts.values()} == set(SERVICES)
    roles = {name: _env(part).get("PLIMSOLL_ORCHESTRATOR_ROLE") for name, part in parts.items() if name.startswith("orchestrator")}
    assert roles == {"orchestrator-api": "api", "orchestrator-worker-1": "worker", "orchestrator-worker-2": "worker"}


def test_the_gateway_stops_first_and_all_services_after_the_servers_started(parts: dict[str, Part]) -> None:
    assert max(parts.values(), key=lambda part: part.rank).name == "gateway"
    assert min(part.rank for part in parts.values()) > 0


def test_provider_keys_reach_the_model_router_only(parts: dict[str, Part]) -> None:
    told = {name for name, part in parts.items() if {"key-of-anthropic", "key-of-openai"} & set(_env(part).values())}
    assert told == {"model-router"}
    assert _env(parts["model-router"])["https_proxy"] == "http://proxy:1"


def test_a_users_setting_reaches_its_service_only(parts: dict[str, Part]) -> None:
    told = {name for name, part in parts.items() if "PLIMSOLL_ORCHESTRATOR_DRAIN_S" in _env(part)}
    assert told == {"orchestrator-api", "orchestrator-worker-1", "orchestrator-worker-2"}
    assert not any("UNRELATED_SECRET" in _env(part) for part in parts.values())


def test_no_label_is_protected_on_a_developers_machine_unless_somebody_says_which(tmp_path: Path) -> None:
    name = "PLIMSOLL_MODEL_ROUTER_PROTECTED_LABELS"
    assert _env(_composed(tmp_path)["model-router"])[name] == "none"
    assert _env(_composed(tmp_path, {name: "production"})["model-router"])[name] == "production"


def test_no_service_is_told_anothers_password(parts: dict[str, Part]) -> None:
    for name, part in parts.items():
        logins = {
            value.split("//")[1].split(":")[0] for key, value in _env(part).items() if key.endswith(("_DSN", "_URL")) and "@" in value
        }
        assert len(logins) == 1, name


def test_peers_are_found_where_they_listen(parts: dict[str, Part]) -> None:
    gateway = _env(parts["gateway"])
    for service in ("orchestrator", "tool_dispatcher", "model_router", "memory", "feedback"):
        part = parts["orchestrator-api" if service == "orchestrator" else service.replace("_", "-")]
        assert gateway[f"PLIMSOLL_GATEWAY_{service.upper()}_ADDRESS"] == _env(part)[f"PLIMSOLL_{service.upper()}_GRPC_LISTEN"]


def test_no_two_listeners_share_an_address(parts: dict[str, Part]) -> None:
    listeners = [value for part in parts.values() for key, value in _env(part).items() if key.endswith("_LISTEN")]
    assert len(listeners) == len(set(listeners))
    assert all(listener.startswith("127.0.0.1:") for listener in listeners)


def test_the_tools_of_every_agent_reach_the_dispatcher(parts: dict[str, Part], tmp_path: Path) -> None:
    patterns = _env(parts["tool-dispatcher"])["PLIMSOLL_TOOL_DISPATCHER_TOOL_DIRS"].split(",")
    (tmp_path / "agents" / "later" / "tools").mkdir(parents=True)
    folders = sorted(folder for pattern in patterns for folder in glob.glob(pattern))
    assert folders == [str(tmp_path / "agents" / agent / "tools") for agent in ("documents", "later", "support")]


def test_the_policy_is_what_is_beside_the_agents_or_else_the_dispatchers_own(tmp_path: Path) -> None:
    variable = "PLIMSOLL_TOOL_DISPATCHER_POLICY_DIRS"
    assert variable not in _env(_composed(tmp_path)["tool-dispatcher"])
    (tmp_path / "policies").mkdir()
    assert _env(_composed(tmp_path)["tool-dispatcher"])[variable] == str(tmp_path / "policies")


def test_tools_beside_the_agents_are_for_all_of_them(parts: dict[str, Part], tmp_path: Path) -> None:
    patterns = _env(parts["tool-dispatcher"])["PLIMSOLL_TOOL_DISPATCHER_TOOL_DIRS"].split(",")
    (tmp_path / "tools").mkdir()
    assert str(tmp_path / "tools") in [folder for pattern in patterns for folder in glob.glob(pattern)]

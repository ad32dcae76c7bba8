"""What lies in deploy/ agrees with the code: images, compose file, server configuration."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from plimsoll_devstack.names import SERVICES, folder_name
from plimsoll_devstack.servers.provision import script
from plimsoll_runtime.settings import load, variables

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
PROCESSES = [name for name, service in COMPOSE.items() if "plimsoll/" in service["image"] and "_IMAGE" not in service["image"]]


def projects(folder: Path) -> set[str]:
    """Our libraries that a project needs, by their folders."""
    needed = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    below = {name.removeprefix("plimsoll-") for name in needed if name.startswith("plimsoll-")}
    return below.union(*(projects(ROOT / "libs" / name) for name in below))


def environment(process: str) -> dict[str, str]:
    return {name: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value)) for name, value in COMPOSE[process]["environment"].items()}


@pytest.mark.parametrize("service", SERVICES)
def test_the_image_holds_the_libraries_that_the_service_needs_and_no_others(service: str) -> None:
    text = (ROOT / "services" / folder_name(service) / "Dockerfile").read_text()
    assert set(re.findall(r"^COPY libs/([a-z]+) ", text, re.MULTILINE)) == projects(ROOT / "services" / folder_name(service))
    assert set(re.findall(r"^COPY libs/([a-z]+)/pyproject", text, re.MULTILINE)) == projects(ROOT / "services" / folder_name(service))


def test_all_images_follow_one_pattern() -> None:
    seen = set()
    for service in SERVICES:
        text = (ROOT / "services" / folder_name(service) / "Dockerfile").read_text()
        text = re.sub(r"^(COPY libs/|EXPOSE |      org.opencontainers.image.description=).*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r" PLIMSOLL_[A-Z_]+_GRPC_LISTEN=0.0.0.0:7000$| \\\n    PLIMSOLL_GATEWAY_HTTP_LISTEN.*$", "", text, flags=re.MULTILINE)
        for name in (service.upper(), service, folder_name(service)):
            text = re.sub(rf"(?<![a-z]){name}(?![a-z])", "SERVICE", text)
        seen.add(text.replace("PLIMSOLL_GATEWAY_", "PLIMSOLL_SERVICE_").replace(f"_{service.upper()}_", "_SERVICE_"))
    assert len(seen) == 1, "\n=====\n".join(seen)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_compose_file_sets_what_the_service_needs_and_nothing_it_does_not_know(process: str, tmp_path: Path) -> None:
    service = COMPOSE[process]["image"].removeprefix("plimsoll/").partition(":")[0].replace("-", "_")
    settings = importlib.import_module(f"plimsoll_{service}.config").Settings
    prefix = f"PLIMSOLL_{service.upper()}_"
    (tmp_path / "postgres_dsn").write_text("postgresql://a:b@c/d")
    (tmp_path / "nats_url").write_text("nats://a:b@c")
    (tmp_path / "redis_url").write_text("redis://a:b@c")
    given = {name: value.replace("/run/secrets", str(tmp_path)) for name, value in environment(process).items()}
    assert load(settings, prefix, given)
    peers = {variable.name for variable in variables(settings, prefix) if variable.name.endswith("_ADDRESS")}
    assert peers <= set(given)


def test_nothing_but_the_gateway_is_published() -> None:
    assert [name for name, service in COMPOSE.items() if "ports" in service] == ["gateway"]


def test_the_script_for_any_postgres_is_the_one_of_the_embedded_server() -> None:
    text = (ROOT / "deploy" / "postgres" / "provision.sql").read_text()
    assert text.partition("\n")[2] == script(), "write it anew: see the head of the file"


def test_the_chart_carries_the_same_server_files() -> None:
    files = ROOT / "deploy" / "helm" / "plimsoll" / "files"
    assert (files / "provision.sql").read_text() == (ROOT / "deploy" / "postgres" / "provision.sql").read_text()
    assert (files / "redis.conf").read_text() == (ROOT / "deploy" / "redis" / "redis.conf").read_text()
    assert (files / "nats-health").read_text() == (ROOT / "deploy" / "nats" / "health").read_text()
    assert (files / "alerts.yaml").read_text() == (ROOT / "deploy" / "grafana" / "alerts.yaml").read_text()


def chart_wiring() -> dict[str, dict[str, object]]:
    text = (ROOT / "deploy" / "helm" / "plimsoll" / "templates" / "_wiring.tpl").read_text()
    found = re.search(r'define "plimsoll.wiring" -}}\n(.*?){{- end -}}', text, re.DOTALL)
    assert found is not None
    wiring: dict[str, dict[str, object]] = yaml.safe_load(found[1])
    return wiring


@pytest.mark.parametrize("process", PROCESSES)
def test_the_chart_wires_a_service_to_what_it_needs(process: str) -> None:
    wired = chart_wiring()[process]
    service = str(wired["package"]).replace("-", "_")
    names = {
        variable.name
        for variable in variables(importlib.import_module(f"plimsoll_{service}.config").Settings, f"PLIMSOLL_{service.upper()}_")
    }
    addresses = {name.removeprefix(f"PLIMSOLL_{service.upper()}_") for name in names if name.endswith("_ADDRESS")}
    assert {f"{str(peer).replace('-', '_').upper()}_ADDRESS" for peer in wired["peers"]} == addresses  # type: ignore[attr-defined]
    servers = {"postgres": "POSTGRES_DSN", "nats": "NATS_URL", "redis": "REDIS_URL"}
    assert set(wired["needs"]) == {server for server, name in servers.items() if f"PLIMSOLL_{service.upper()}_{name}" in names}  # type: ignore[call-overload]


def metrics_of_the_code() -> set[str]:
    texts = [path.read_text() for folder in ("libs", "services") for path in (ROOT / folder).glob("*/src/**/*.py")]
    return {name for text in texts for name in re.findall(r'"(plimsoll_[a-z_]+)"', text)}


def test_dashboards_alerts_and_scaling_speak_of_metrics_that_there_are() -> None:
    files = [*(ROOT / "deploy" / "grafana").rglob("*.*"), ROOT / "deploy" / "helm" / "plimsoll" / "templates" / "services.yaml"]
    texts = [path.read_text() for path in files]
    spoken = {name for text in texts for name in re.findall(r"\bplimsoll_[a-z_]+", text)}
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in spoken}
    known = metrics_of_the_code()
    assert not {name for name in bare if name not in known}
    assert bare


def test_the_alert_of_a_service_that_is_gone_knows_them_all() -> None:
    [group] = yaml.safe_load((ROOT / "deploy" / "grafana" / "alerts.yaml").read_text())["groups"]
    [gone] = [rule["expr"] for rule in group["rules"] if rule["alert"] == "ServiceGone"]
    assert re.findall(r'absent\(up{job="plimsoll", service="([a-z-]+)"}\)', gone) == PROCESSES


def test_every_alert_has_a_runbook() -> None:
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "deploy" / "README.md").read_text(), re.MULTILINE)
    rules = yaml.safe_load((ROOT / "deploy" / "grafana" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert rules
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"deploy/README.md#{rule['alert'].lower()}"
        assert rule["alert"] in headings

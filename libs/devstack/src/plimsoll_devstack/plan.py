"""What a mesh consists of: the services as processes, each with the environment it needs and nothing more."""

import glob
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from plimsoll_runtime.settings import variables

from plimsoll_devstack.authority import certificate_files
from plimsoll_devstack.errors import MissingService
from plimsoll_devstack.files import write_private
from plimsoll_devstack.loopback import PortBook
from plimsoll_devstack.names import LOOPBACK, SERVICES, folder_name
from plimsoll_devstack.parts import Part
from plimsoll_devstack.probe import probe_ready
from plimsoll_devstack.processes import Program
from plimsoll_devstack.providers import provider_settings
from plimsoll_devstack.servers import Servers
from plimsoll_devstack.state import MeshFiles

_SHARED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What every process gets of the user's environment."""

_PROXY = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""What the model-router gets besides: the only service that talks to model providers."""

_RANKS = {"gateway": 3, "orchestrator": 2}
_STOP_WITHIN_S = 25.0  # more than a service takes to drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user asked of `plimsoll up`. Port 0 means any free one."""

    data: Path
    agents: Path | None = None
    workers: int = 1
    http_port: int = 0
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    faults: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """One process: `part` names it, `service` is the program it runs, `extra` are settings that only it has."""

    part: str
    service: str
    grpc_port: int
    admin_port: int
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that runs, and where users find it."""

    parts: tuple[Part, ...]
    http_url: str
    grpc_address: str


def plan_mesh(wanted: Wanted, files: MeshFiles, servers: Servers, server_parts: tuple[Part, ...]) -> Plan:
    """Choose the ports and compose the parts."""
    if wanted.faults:
        write_private(files.faults, "")
    else:
        files.faults.unlink(missing_ok=True)
    ports = PortBook(files.ports)
    http = ports.fixed("gateway-http", wanted.http_port, option="--port") if wanted.http_port else ports.port("gateway-http")
    public_grpc = ports.port("gateway-public-grpc")
    gateway = {
        "HTTP_LISTEN": f"{LOOPBACK}:{http}",
        "PUBLIC_GRPC_LISTEN": f"{LOOPBACK}:{public_grpc}",
        "BOOTSTRAP_KEY_FILE": str(files.api_key),
    }
    services = [
        _service("gateway", "gateway", ports, gateway),
        _service("orchestrator-api", "orchestrator", ports, {"ROLE": "api"}),
        *(_service(f"orchestrator-worker-{number}", "orchestrator", ports, {"ROLE": "worker"}) for number in range(1, wanted.workers + 1)),
        _service("tool-dispatcher", "tool_dispatcher", ports, _tools(wanted, files)),
        _service("model-router", "model_router", ports, _labels(wanted.environ)),
        *(_service(service, service, ports, {}) for service in ("memory", "feedback")),
    ]
    addresses = {each.service: f"{LOOPBACK}:{each.grpc_port}" for each in reversed(services)}  # the first of a name: api, not worker
    composed = tuple(_part(each, wanted, files, servers, addresses, f"{LOOPBACK}:{http}") for each in services)
    return Plan(parts=(*server_parts, *composed), http_url=f"http://{LOOPBACK}:{http}", grpc_address=f"{LOOPBACK}:{public_grpc}")


def _service(part: str, service: str, ports: PortBook, extra: Mapping[str, str]) -> _Service:
    return _Service(part=part, service=service, grpc_port=ports.port(f"{part}-grpc"), admin_port=ports.port(f"{part}-admin"), extra=extra)


def _labels(environ: Mapping[str, str]) -> dict[str, str]:
    """On a developer's machine an edited prompt becomes `production` by being applied; who wants the gate says which labels it guards."""
    return {} if "PLIMSOLL_MODEL_ROUTER_PROTECTED_LABELS" in environ else {"PROTECTED_LABELS": "none"}


def _tools(wanted: Wanted, files: MeshFiles) -> dict[str, str]:
    """The tools of every agent, also of those that come later, and those in a folder `tools` beside them, which all agents share.

    The policy is what is in a folder `policies` beside the agents; without one, the dispatcher's own. `--agents` may name one agent's
    folder or a folder of them.
    """
    root = glob.escape(str(wanted.agents.absolute())) if wanted.agents else ""
    shared = glob.escape(str(wanted.agents.absolute().parent / "tools")) if wanted.agents else ""
    policies = wanted.agents.absolute().parent / "policies" if wanted.agents else None
    return {
        "TOOL_DIRS": f"{root}/tools,{root}/*/tools,{shared}" if root else "",
        "CREDENTIALS_DIR": str(files.tool_credentials),
        **({"POLICY_DIRS": glob.escape(str(policies))} if policies is not None and policies.is_dir() else {}),
    }


def _part(each: _Service, wanted: Wanted, files: MeshFiles, servers: Servers, addresses: Mapping[str, str], http_address: str) -> Part:
    environment = _environment(each, wanted, files, servers, addresses)
    program = Program(
        name=each.part,
        argv=(sys.executable, "-m", f"plimsoll_{each.service}"),
        env=environment,
        cwd=files.data,
        log=files.log(each.part),
        stop_within_s=_STOP_WITHIN_S,
    )
    return Part(
        name=each.part,
        rank=_RANKS.get(each.service, 1),
        prepare=lambda: program,
        ready=partial(probe_ready, each.admin_port),
        address=http_address if each.service == "gateway" else f"{LOOPBACK}:{each.grpc_port}",
    )


def _environment(each: _Service, wanted: Wanted, files: MeshFiles, servers: Servers, addresses: Mapping[str, str]) -> dict[str, str]:
    prefix = f"PLIMSOLL_{each.service.upper()}_"
    tls = certificate_files(files.tls, folder_name(each.service))
    available = {
        "GRPC_LISTEN": f"{LOOPBACK}:{each.grpc_port}",
        "ADMIN_LISTEN": f"{LOOPBACK}:{each.admin_port}",
        "POSTGRES_DSN": servers.postgres.dsn(each.service),
        "NATS_URL": servers.nats.url(each.service),
        "REDIS_URL": servers.redis.url(each.service),
        "TLS_CA": str(tls.ca),
        "TLS_CERTIFICATE": str(tls.certificate),
        "TLS_KEY": str(tls.key),
        "LOG_LEVEL": wanted.log_level,
        "OTLP_ENDPOINT": wanted.otlp_endpoint,
        "FAULTS_FILE": str(files.faults) if wanted.faults else "",
        **{f"{peer.upper()}_ADDRESS": address for peer, address in addresses.items()},
        **each.extra,
    }
    taken = _settings_of(each.service, prefix)
    return {
        **_inherited(each.service, prefix, wanted.environ),
        **{prefix + name: value for name, value in available.items() if prefix + name in taken},
        "PYTHONUNBUFFERED": "1",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # its fork handlers crash the child processes that services start
    }


def _settings_of(service: str, prefix: str) -> frozenset[str]:
    """The variables a service takes: its own settings class decides, so that nothing here can disagree with it."""
    package = f"plimsoll_{service}"
    try:
        config = importlib.import_module(f"{package}.config")
    except ModuleNotFoundError as error:
        raise MissingService(f"service {folder_name(service)} is not installed: {error}", remedy="Run `make setup`") from error
    return frozenset(variable.name for variable in variables(config.Settings, prefix))


def _inherited(service: str, prefix: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's settings for this service, and for the model-router the providers' keys; no other service sees a key."""
    names = (*_SHARED, *_PROXY) if service == "model_router" else _SHARED
    inherited = {name: value for name, value in environ.items() if name in names or name.upper() in names or name.startswith(prefix)}
    return inherited | provider_settings(environ) if service == "model_router" else inherited


def certificate_names() -> tuple[str, ...]:
    """Who needs a certificate."""
    return tuple(folder_name(service) for service in SERVICES)

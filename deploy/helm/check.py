"""Checks the chart: Helm's own lint and rendering, every object against the schemas of Kubernetes, every refusal of wrong values.

Run by `make chart-check`, in an environment of its own made from requirements.lock beside this file: what it needs is large, and
nothing else of the project needs it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint
from promises import broken

_CHART = Path(__file__).parent / "plimsoll"
_KUBERNETES = ("1.29", "1.33", "1.37")
_FOREIGN = frozenset({"ScaledObject", "PodMonitor", "PrometheusRule"})  # of operators; Kubernetes itself has no schema of them
_FINE: dict[str, dict[str, object]] = {
    "defaults": {},
    "servers elsewhere": {name: {"bundled": False} for name in ("postgres", "nats", "redis")},
    "everything on": {
        "queueScaling": {"enabled": True},
        "services": {
            "gateway": {
                "autoscaling": {"enabled": True},
                "env": {
                    "PLIMSOLL_GATEWAY_LOG_LEVEL": "DEBUG",
                    "PLIMSOLL_GATEWAY_LIMIT_TENANT_REQUESTS": 1000000,
                    "PLIMSOLL_GATEWAY_JWT_ISSUER": "https://people",
                },
            },
            "model-router": {"envFrom": [{"secretRef": {"name": "providers"}}]},
        },
        "otlpEndpoint": "http://collector:14317",
        "image": {"pullSecrets": ["registry"]},
        "agents": {"volume": {"persistentVolumeClaim": {"claimName": "agents"}}},
        "tools": {"volume": {"configMap": {"name": "tools"}}},
        "policies": {"volume": {"configMap": {"name": "policies"}}},
        "podMonitors": {"enabled": True},
        "gateway": {"serviceType": "LoadBalancer", "from": [{"namespaceSelector": {}}], "annotations": {"a": "b"}},
    },
    "one of each": {"nats": {"replicas": 1}, "networkPolicies": {"enabled": False}},
}
_WRONG: dict[str, dict[str, object]] = {
    "a value nobody knows": {"replicas": 3},
    "no worker at all": {"services": {"worker": {"replicas": 0}}},
    "no worker while nothing waits": {"queueScaling": {"min": 0}},
    "two members cannot agree": {"nats": {"replicas": 2}},
    "a setting of somebody else": {"services": {"memory": {"env": {"PATH": "/"}}}},
    "no time to end in order": {"terminationGraceSeconds": 1},
    "no time to migrate": {"migrations": {"deadlineSeconds": 1}},
}
_SERVICES = ("gateway", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback")
_PREPARES = ["provision", "provision", *(f"migrate-{service}" for service in sorted(_SERVICES))]
_ELSEWHERE: dict[str, object] = {"postgres": {"bundled": False}}
_OWN_ROLES: dict[str, object] = {"postgres": {"bundled": False, "provision": False}}
_BEFORE: tuple[tuple[str, dict[str, object], bool, list[str]], ...] = (
    ("at an install nothing waits for a database that comes with it", {}, False, []),
    ("roles, then tables, before an install on a database that is there", _ELSEWHERE, False, _PREPARES),
    ("tables alone before an install where the roles are made by hand", _OWN_ROLES, False, _PREPARES[2:]),
    ("roles, then tables, before an upgrade", {}, True, _PREPARES),
    ("no tables before an upgrade where jobs are switched off", {"migrations": {"job": False}}, True, _PREPARES[:2]),
)
"""What comes first, by values and whether it is an upgrade; each in its order."""


def main() -> None:
    """Exits with 1 and a line for each problem."""
    rendered = (
        problem for name, values in _FINE.items() for upgrade in (False, True) for problem in _rendered(name, values, upgrade=upgrade)
    )
    problems = [*_linted(), *rendered, *_not_refused(), *_out_of_order()]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    sys.stdout.write(f"chart: {len(problems)} problems\n")
    sys.exit(1 if problems else 0)


def _linted() -> Iterator[str]:
    report = lint(_CHART, strict=True)
    yield from (str(error) for error in report["errors"])


def _objects(values: dict[str, object], *, upgrade: bool) -> list[dict[str, Any]]:
    """What the chart makes of the values. Raises HelmError."""
    texts = Chart.load(_CHART).render(
        values, name="mesh", namespace="plimsoll", revision=2 if upgrade else 1, is_install=not upgrade, is_upgrade=upgrade
    )
    return [one for path, text in texts.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def _rendered(name: str, values: dict[str, object], *, upgrade: bool) -> Iterator[str]:
    try:
        found = _objects(values, upgrade=upgrade)
    except HelmError as error:
        yield f"{name}: {error}"
        return
    names = [(one["kind"], one["metadata"]["name"]) for one in found]
    yield from (f"{name}: two objects are {pair}" for pair in {pair for pair in names if names.count(pair) > 1})
    yield from (f"{name}: {problem}" for problem in broken(found))
    for one in found:
        for version in _KUBERNETES if one["kind"] not in _FOREIGN else ():
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}: {one['kind']} {one['metadata']['name']} for Kubernetes {version}: {error.message}"


def _out_of_order() -> Iterator[str]:
    event = {False: "pre-install", True: "pre-upgrade"}
    for promise, values, upgrade, wanted in _BEFORE:
        hooks = []
        for one in _objects(values, upgrade=upgrade):
            notes = one["metadata"].get("annotations", {})
            if event[upgrade] in notes.get("helm.sh/hook", "").split(","):
                hooks.append((int(notes["helm.sh/hook-weight"]), re.sub(r"^mesh-|-[12]$", "", one["metadata"]["name"])))
        names = [name for _, name in sorted(hooks)]
        if names != wanted:
            yield f"{promise}: {', '.join(names) or 'nothing'} comes first"


def _not_refused() -> Iterator[str]:
    chart = Chart.load(_CHART)
    for name, values in _WRONG.items():
        try:
            chart.render(values, name="mesh", namespace="plimsoll")
        except HelmError:
            continue
        yield f"not refused: {name}"


if __name__ == "__main__":
    main()

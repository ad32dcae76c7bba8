"""Checks the chart: Helm's own lint and rendering, every object against the schemas of Kubernetes, every refusal of wrong values.

Run by `make chart-check`, in an environment of its own made from requirements.lock beside this file: what it needs is large, and
nothing else of the project needs it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint

_CHART = Path(__file__).parent / "plimsoll"
_KUBERNETES = ("1.29", "1.33", "1.37")
_FOREIGN = frozenset({"ScaledObject", "PodMonitor"})  # of operators; Kubernetes itself has no schema of them
_FINE: dict[str, dict[str, object]] = {
    "defaults": {},
    "servers elsewhere": {name: {"bundled": False} for name in ("postgres", "nats", "redis")},
    "everything on": {
        "queueScaling": {"enabled": True},
        "services": {"gateway": {"autoscaling": {"enabled": True}}, "model-router": {"envFrom": [{"secretRef": {"name": "providers"}}]}},
        "otlpEndpoint": "collector:4317",
        "image": {"pullSecrets": ["registry"]},
        "policies": {"volume": {"configMap": {"name": "policies"}}},
        "podMonitors": {"enabled": True},
        "gateway": {"serviceType": "LoadBalancer", "from": [{"namespaceSelector": {}}], "annotations": {"a": "b"}},
    },
    "one of each": {"nats": {"replicas": 1}, "networkPolicies": {"enabled": False}},
}
_WRONG: dict[str, dict[str, object]] = {
    "a value nobody knows": {"replicas": 3},
    "no worker at all": {"services": {"worker": {"replicas": 0}}},
    "two members cannot agree": {"nats": {"replicas": 2}},
    "a setting of somebody else": {"services": {"memory": {"env": {"PATH": "/"}}}},
    "no time to end in order": {"terminationGraceSeconds": 1},
}


def main() -> None:
    """Exits with 1 and a line for each problem."""
    problems = [*_linted(), *(problem for name, values in _FINE.items() for problem in _rendered(name, values)), *_not_refused()]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    sys.stdout.write(f"chart: {len(problems)} problems\n")
    sys.exit(1 if problems else 0)


def _linted() -> Iterator[str]:
    report = lint(_CHART, strict=True)
    yield from (str(error) for error in report["errors"])


def _rendered(name: str, values: dict[str, object]) -> Iterator[str]:
    try:
        texts = Chart.load(_CHART).render(values, name="mesh", namespace="plimsoll")
    except HelmError as error:
        yield f"{name}: {error}"
        return
    found = [one for path, text in texts.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    names = [(one["kind"], one["metadata"]["name"]) for one in found]
    yield from (f"{name}: two objects are {pair}" for pair in {pair for pair in names if names.count(pair) > 1})
    for one in found:
        for version in _KUBERNETES if one["kind"] not in _FOREIGN else ():
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}: {one['kind']} {one['metadata']['name']} for Kubernetes {version}: {error.message}"


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

"""What an operator may take for granted of every object that the chart renders, and no schema of Kubernetes knows."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Object: TypeAlias = Mapping[str, Any]
_RUN_ON = frozenset({"Deployment", "StatefulSet"})


def broken(objects: Sequence[Object]) -> Iterator[str]:
    """A line for each promise that an object breaks."""
    pods = {_name(one): one["spec"]["template"] for one in objects if one["kind"] in _RUN_ON | {"Job"}}
    for one in objects:
        yield from (f"{_name(one)}: {problem}" for problem in _PROMISES.get(one["kind"], _nothing)(one, pods))
    yield from _budgets(objects, pods)
    yield from _scaling(objects)
    private = {bool(pod["spec"].get("imagePullSecrets")) for pod in pods.values()}
    if len(private) > 1:
        yield "some pods pull with the registry's secret, and some without"


def _name(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def _nothing(_: Object, __: Mapping[str, Object]) -> Iterator[str]:
    return iter(())


def _selected(selector: Object, pods: Mapping[str, Object]) -> list[Object]:
    """The pods of this chart that have these labels."""
    wanted = selector.get("matchLabels", selector).items()
    return [pod for pod in pods.values() if wanted <= pod["metadata"]["labels"].items()]


def _ports(pods: Sequence[Object]) -> set[object]:
    """Numbers and names of what these pods listen on."""
    listed = [port for pod in pods for container in pod["spec"]["containers"] for port in container.get("ports", ())]
    return {port[key] for port in listed for key in ("name", "containerPort")}


# --- pods --------------------------------------------------------------------------------------------------------------------


def _running(one: Object, pods: Mapping[str, Object]) -> Iterator[str]:
    if "selector" in one["spec"] and one["spec"]["template"] not in _selected(one["spec"]["selector"], pods):
        yield "does not select its own pods"
    yield from _pod(one["spec"]["template"]["spec"], restarted=one["kind"] in _RUN_ON)
    for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
        if not _selected(spread["labelSelector"], pods):
            yield f"is spread among pods that there are not: {spread['labelSelector']}"


def _pod(pod: Object, *, restarted: bool) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield "holds a token of the cluster"
    if pod.get("enableServiceLinks") is not False:
        yield "is given variables of the services around, of which some look like our settings"
    if not pod["securityContext"].get("runAsNonRoot") or "seccompProfile" not in pod["securityContext"]:
        yield "may run as root, or call whatever the kernel has"
    for volume in pod["volumes"]:
        if len(volume) != 2:  # its name and its kind
            yield f"the volume {volume['name']} is of {len(volume) - 1} kinds"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"the volume {volume['name']} may fill the node's disk"
    for container in pod["containers"]:
        yield from _container(container, {volume["name"] for volume in pod["volumes"]} | {"data"}, restarted=restarted)


def _container(container: Object, volumes: set[str], *, restarted: bool) -> Iterator[str]:
    locked = container["securityContext"]
    if locked["allowPrivilegeEscalation"] or not locked["readOnlyRootFilesystem"] or locked["capabilities"] != {"drop": ["ALL"]}:
        yield "can change what it is"
    if not {"cpu", "memory"} <= container["resources"]["requests"].keys() or "memory" not in container["resources"]["limits"]:
        yield "does not say what it needs, or takes all the memory that there is"
    if container["image"].endswith(":latest") or ":" not in container["image"]:
        yield f"runs an image that changes: {container['image']}"
    if unknown := {mount["name"] for mount in container["volumeMounts"]} - volumes:
        yield f"mounts volumes that there are not: {sorted(unknown)}"
    if restarted and "readinessProbe" not in container:
        yield "is sent calls before it can answer"
    names = [variable["name"] for variable in container.get("env", ())]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"is told twice: {', '.join(twice)}"
    if floating := [variable for variable in container.get("env", ()) if re.fullmatch(r"[0-9.]+e\+[0-9]+", variable.get("value", ""))]:
        yield f"is told what no service reads as a whole number: {floating}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(probe, {})
        port = asked.get("httpGet", asked.get("tcpSocket", {})).get("port")
        if port is not None and port not in {given[key] for given in container["ports"] for key in ("name", "containerPort")}:
            yield f"{probe} asks a port that there is not: {port}"


# --- what points at pods -----------------------------------------------------------------------------------------------------


def _service(one: Object, pods: Mapping[str, Object]) -> Iterator[str]:
    reached = _ports(_selected(one["spec"]["selector"], pods))
    for port in one["spec"]["ports"]:
        if port.get("targetPort", port["port"]) not in reached:
            yield f"leads to a port that there is not: {port}"


def _policy(one: Object, pods: Mapping[str, Object]) -> Iterator[str]:
    own = _selected(one["spec"]["podSelector"], pods)
    if not own:
        yield "is for pods that there are not"
    for rule in one["spec"]["ingress"]:
        yield from _leads(rule, own)
        yield from (f"lets in pods that there are not: {other}" for other in _peers(rule, "from") if not _selected(other, pods))
    for rule in one["spec"].get("egress", ()):
        for other in _peers(rule, "to"):
            yield from _leads(rule, _selected(other, pods))


def _leads(rule: Object, pods: Sequence[Object]) -> Iterator[str]:
    if missing := {port["port"] for port in rule.get("ports", ())} - _ports(pods):
        yield f"opens ports that there are not: {sorted(missing)}"


def _peers(rule: Object, direction: str) -> list[Object]:
    """Those pods of our own that a rule names."""
    return [peer["podSelector"] for peer in rule.get(direction, ()) if "podSelector" in peer and "namespaceSelector" not in peer]


def _monitor(one: Object, pods: Mapping[str, Object]) -> Iterator[str]:
    found = _selected(one["spec"]["selector"], pods)
    for endpoint in one["spec"]["podMetricsEndpoints"]:
        if endpoint["port"] not in _ports(found):
            yield f"asks a port that there is not: {endpoint['port']}"
    for pod in found:
        if pod["metadata"]["labels"].get(one["spec"].get("jobLabel")) != "plimsoll":
            yield "dashboards and alerts do not know this job"


_PROMISES: Mapping[str, Callable[[Object, Mapping[str, Object]], Iterator[str]]] = {
    "Deployment": _running,
    "StatefulSet": _running,
    "Job": _running,
    "Service": _service,
    "NetworkPolicy": _policy,
    "PodMonitor": _monitor,
}


# --- who is disturbed, and who is scaled -------------------------------------------------------------------------------------


def _budgets(objects: Sequence[Object], pods: Mapping[str, Object]) -> Iterator[str]:
    budgets = [one["spec"] for one in objects if one["kind"] == "PodDisruptionBudget"]
    for one in objects:
        if one["kind"] in _RUN_ON and one["spec"].get("replicas", 2) > 1:
            over = [budget for budget in budgets if one["spec"]["template"] in _selected(budget["selector"], pods)]
            if [budget.get("maxUnavailable") for budget in over] != [1]:
                yield f"{_name(one)}: a drained node takes none of its replicas, or all at once: {over}"


def _scaling(objects: Sequence[Object]) -> Iterator[str]:
    replicas = {one["metadata"]["name"]: one["spec"].get("replicas") for one in objects if one["kind"] == "Deployment"}
    scaled = [one["spec"]["scaleTargetRef"]["name"] for one in objects if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]
    for name in scaled:
        if replicas.get(name, 0) is not None or scaled.count(name) > 1:
            yield f"the number of {name} is decided by more than one, or by nobody"

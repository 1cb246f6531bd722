"""The pods of a service, as Kubernetes is asked for them.

What Kubernetes cannot do is refused by name here, before anything is made. Within an app, services find each other by
their names: each pod is called as its service, in the domain of its app's headless Service, which its resolver
searches. Only pods that are ready are found there.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from iotistic.agent.engines.errors import StartRefused
from iotistic.agent.engines.k3s import names
from iotistic.planning.model import (
    Mount,
    Named,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    Restart,
    Service,
    ServiceConfig,
)
from iotistic.planning.writing import write_config

CONTAINER = "main"
_MILLI = 1_000_000
ITS_OWN_LABELS = ("pod-template-hash", "controller-uid", "job-name")


@dataclass(frozen=True)
class Surroundings:
    """What pods of this device have besides what their services want."""

    namespace: str = names.NAMESPACE
    cluster_domain: str = "cluster.local"
    node_name: str = ""
    """Where they run; anywhere when empty."""


def pod_template(
    service: Service, container_id: str, around: Surroundings, secret: str, shared: Iterable[str]
) -> dict[str, Any]:
    """Return the template of a service's pods. Raises StartRefused for what Kubernetes cannot do."""
    refuse_impossible(service)
    config = service.config
    domain = names.domain_of_app(service.key.app_id)
    spec: dict[str, Any] = {
        "containers": [container(service, shared)],
        "volumes": [_volume(at, mount, service.key.app_id) for at, mount in _mounts(config, shared)],
        "restartPolicy": restart_policy(config.restart),
        "terminationGracePeriodSeconds": config.stop_timeout_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostname": names.dns_label(service.name.lower()),
        "subdomain": domain,
        "dnsConfig": {"searches": [f"{domain}.{around.namespace}.svc.{around.cluster_domain}"]},
    }
    if config.network_mode == "host":
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    if secret:
        spec["imagePullSecrets"] = [{"name": secret}]
    labels = {
        **{name: value for name, value in config.labels if _may_be_label(name, value)},
        **names.labels_of(service),
        names.CONTAINER: container_id,
    }
    return {
        "metadata": {"labels": labels, "annotations": names.whose(service)},
        "spec": spec | on_node(around.node_name),
    }


def refuse_impossible(service: Service) -> None:
    """Raise StartRefused for what Kubernetes cannot do, by its name."""
    config = service.config
    if config.network_mode == "none":
        raise StartRefused(f"networkMode none of {service.name}: Kubernetes has no pods without a network")
    probes = config.probes
    for name, probe in (
        ("startup", probes.startup),
        ("liveness", probes.liveness),
        ("readiness", probes.readiness),
    ):
        if probe is not None and probe.expected_status:
            raise StartRefused(
                f"expectedStatus of the {name}Probe of {service.name}: Kubernetes takes 200 to 399 for good"
            )


def restart_policy(restart: Restart) -> str:
    """Return Kubernetes' word for what happens when a container ends by itself."""
    return {Restart.NO: "Never", Restart.ON_FAILURE: "OnFailure"}.get(restart, "Always")


def on_node(node_name: str) -> dict[str, Any]:
    """Return what keeps a pod on a node."""
    return {"nodeSelector": {"kubernetes.io/hostname": node_name}} if node_name else {}


def container(service: Service, shared: Iterable[str]) -> dict[str, Any]:
    """Return the one container of a service's pods."""
    config = service.config
    body: dict[str, Any] = {
        "name": CONTAINER,
        "image": config.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": name, "value": value.replace("$", "$$")} for name, value in sorted(config.environment)
        ],
        "ports": [_port(port) for port in sorted(config.ports)],
        "volumeMounts": [
            {"name": f"v{at}", "mountPath": mount.target, "readOnly": mount.read_only}
            for at, mount in _mounts(config, shared)
        ],
        "resources": resources(config.resources),
        **_probes(config.probes),
    }
    if config.command:
        body["args"] = [word.replace("$", "$$") for word in config.command]
    return body


def resources(wanted: Resources) -> dict[str, Any]:
    """Return limits and reservations; a limit alone reserves nothing, as with other engines."""
    limits = _amounts(wanted.cpu_limit, wanted.memory_limit)
    requests = dict.fromkeys(limits, "0") | _amounts(wanted.cpu_request, wanted.memory_request)
    return {name: amounts for name, amounts in (("limits", limits), ("requests", requests)) if amounts}


def written(config: ServiceConfig) -> str:
    """Return a configuration as it stands in an annotation."""
    return json.dumps(write_config(config), separators=(",", ":"))


def _amounts(cpu: int | None, memory: int | None) -> dict[str, str]:
    found = {} if cpu is None else {"cpu": f"{math.ceil(cpu / _MILLI)}m"}
    return found if memory is None else found | {"memory": str(memory)}


def _may_be_label(name: str, value: str) -> bool:
    return name not in ITS_OWN_LABELS and "kubernetes.io/" not in name and names.is_label_pair(name, value)


def _port(port: Port) -> dict[str, Any]:
    body: dict[str, Any] = {
        "containerPort": port.container,
        "hostPort": port.host,
        "protocol": port.protocol.upper(),
    }
    return body | ({"hostIP": port.address} if port.address else {})


def _mounts(config: ServiceConfig, shared: Iterable[str]) -> list[tuple[int, Mount]]:
    others = (text.partition(":") for text in shared)
    mounts = [*sorted(config.mounts), *(Mount(source, target) for source, _, target in others)]
    return list(enumerate(mounts))


def _volume(at: int, mount: Mount, app_id: str) -> dict[str, Any]:
    name = f"v{at}"
    if mount.is_volume:
        claim = names.full_name("volume", Named(app_id, mount.source))
        return {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    return {"name": name, "hostPath": {"path": mount.source}}


def _probes(probes: Probes) -> dict[str, Any]:
    found = {
        "startupProbe": _probe(probes.startup, waits_for_success=False),
        "livenessProbe": _probe(probes.liveness, waits_for_success=False),
        "readinessProbe": _probe(probes.readiness, waits_for_success=True),
    }
    return {name: probe for name, probe in found.items() if probe is not None}


def _probe(probe: Probe | None, *, waits_for_success: bool) -> dict[str, Any] | None:
    """Return a probe in whole seconds; only readiness may want several successes."""
    if probe is None:
        return None
    return {
        **_question(probe),
        "initialDelaySeconds": math.ceil(probe.initial_delay_s),
        "periodSeconds": max(math.ceil(probe.period_s), 1) if probe.period_s else 10,
        "timeoutSeconds": max(math.ceil(probe.timeout_s), 1),
        "successThreshold": probe.success_threshold if waits_for_success else 1,
        "failureThreshold": probe.failure_threshold,
    }


def _question(probe: Probe) -> dict[str, Any]:
    match probe.kind:
        case ProbeKind.EXEC:
            return {"exec": {"command": list(probe.command)}}
        case ProbeKind.TCP:
            return {"tcpSocket": {"port": probe.port}}
        case ProbeKind.HTTP:
            path = probe.path if probe.path.startswith("/") else f"/{probe.path}"
            headers = [{"name": name, "value": value} for name, value in sorted(probe.headers)]
            body = {"path": path, "port": probe.port, "scheme": probe.scheme.upper()}
            return {"httpGet": body | ({"httpHeaders": headers} if headers else {})}

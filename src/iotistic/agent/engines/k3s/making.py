"""A service as Kubernetes is asked for it: a Deployment of one pod, or a Job when it is not to go on for ever.

A Deployment starts again whatever ends. So services with the restart policies `no` and `on-failure` become Jobs,
which Kubernetes can hold (suspend) and let go as it scales a Deployment to none and one.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from iotistic.agent.engines.docker.documents import Json, part
from iotistic.agent.engines.docker.pulling import Credentials
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.template import ITS_OWN_LABELS, Surroundings, pod_template, written
from iotistic.planning.model import Named, Restart, Service, ServiceConfig

_MOST = 2**31 - 1
_STEADY_S = 5
"""How long a new pod without a probe runs before the one before it ends, in an update."""


@dataclass(frozen=True)
class Kind:
    """A kind of object that runs a service."""

    name: str
    group: str
    collection: str

    def path(self, namespace: str, name: str = "") -> str:
        """Return where one of them is, or all of a namespace."""
        return f"apis/{self.group}/namespaces/{namespace}/{self.collection}{'/' if name else ''}{name}"

    def held(self, *, is_held: bool) -> dict[str, Any]:
        """Return what makes it have no pod, or one."""
        return {"suspend": is_held} if self is JOB else {"replicas": 0 if is_held else 1}


DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
JOB = Kind("Job", "batch/v1", "jobs")
KINDS = (DEPLOYMENT, JOB)


class State:
    """What a workload was told last, in its annotation: Kubernetes knows no pause, and not who stopped something."""

    CREATED, RUNNING, PAUSED, STOPPED = "created", "running", "paused", "stopped"


def kind_for(config: ServiceConfig) -> Kind:
    """Return the kind of object that runs such a service."""
    return JOB if config.restart in (Restart.NO, Restart.ON_FAILURE) else DEPLOYMENT


def is_held(kind: Kind, document: Json) -> bool:
    """Say whether a workload is to have no pod."""
    spec = part(document, "spec")
    if kind is JOB:
        return bool(spec.get("suspend"))
    return spec.get("replicas", 1) == 0


def workload(
    service: Service, container_id: str, around: Surroundings, secret: str = "", shared: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a Deployment or Job without pods. Raises StartRefused for what Kubernetes cannot do."""
    kind = kind_for(service.config)
    spec: dict[str, Any] = {
        **kind.held(is_held=True),
        "template": pod_template(service, container_id, around, secret, shared),
    }
    if kind is JOB:
        spec["backoffLimit"] = 0 if service.config.restart is Restart.NO else _MOST
    else:
        spec |= {
            "selector": {"matchLabels": {names.CONTAINER: container_id}},
            "strategy": _strategy(service.config),
            "minReadySeconds": _steady_s(service.config),
            "revisionHistoryLimit": 0,
        }
    return {
        "apiVersion": kind.group,
        "kind": kind.name,
        "metadata": {
            "name": container_id,
            "labels": {**names.labels_of(service), names.CONTAINER: container_id},
            "annotations": {
                **names.whose(service),
                names.CONFIG: written(service.config),
                names.STATE: State.CREATED,
            },
        },
        "spec": spec,
    }


def again(document: Json) -> dict[str, Any]:
    """Return a Job as it was asked for, without what Kubernetes wrote into it; it is held."""
    template = part(document, "spec", "template")
    metadata = part(template, "metadata")
    labels = {name: value for name, value in part(metadata, "labels").items() if name not in ITS_OWN_LABELS}
    labels = {name: value for name, value in labels.items() if not name.startswith("batch.kubernetes.io/")}
    found = part(document, "metadata")
    return {
        "apiVersion": JOB.group,
        "kind": JOB.name,
        "metadata": {name: found.get(name) or {} for name in ("name", "labels", "annotations")},
        "spec": {
            **JOB.held(is_held=True),
            "backoffLimit": part(document, "spec").get("backoffLimit"),
            "template": {"metadata": {**metadata, "labels": labels}, "spec": template.get("spec")},
        },
    }


def changes(made: Json) -> dict[str, Any]:
    """Return the changes that bring a living workload to what would be made now; its state stays."""
    annotations = dict(names.annotations(made))
    annotations.pop(names.STATE)
    spec = dict(part(made, "spec"))
    for name in ("replicas", "suspend", "selector", "backoffLimit"):
        spec.pop(name, None)
    return {"metadata": {"annotations": annotations}, "spec": spec}


def told(kind: Kind, state: str) -> dict[str, Any]:
    """Return the changes that tell a workload to run or not."""
    hold = state != State.RUNNING
    return {"metadata": {"annotations": {names.STATE: state}}, "spec": kind.held(is_held=hold)}


def namespace(name: str) -> dict[str, Any]:
    """Return the namespace that everything of ours is in."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {names.MANAGED: "true"}},
    }


def network(named: Named) -> dict[str, Any]:
    """Return what stands for a network: nothing but its name, since all pods reach each other."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata("network", named)}


def volume(named: Named, storage_class: str, size: str) -> dict[str, Any]:
    """Return a claim of a volume; the time is written down, since Kubernetes' own counts whole seconds."""
    metadata = _metadata("volume", named)
    metadata["annotations"][names.MADE_AT] = f"{time.time():.3f}"
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def domain(app_id: str) -> dict[str, Any]:
    """Return the headless Service in which the pods of an app find each other."""
    labels = {names.MANAGED: "true", names.APP_ID: names.label_value(app_id)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": names.domain_of_app(app_id), "labels": labels},
        "spec": {"clusterIP": "None", "selector": labels},
    }


def registry_secret(name: str, host: str, credentials: Credentials) -> dict[str, Any]:
    """Return the credentials of a registry as kubelets take them."""
    login = {"username": credentials.username, "password": credentials.password}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "labels": {names.MANAGED: "true"}},
        "stringData": {".dockerconfigjson": json.dumps({"auths": {host: login}})},
    }


def _metadata(kind: str, named: Named) -> dict[str, Any]:
    return {
        "name": names.full_name(kind, named),
        "labels": names.labels_of_named(kind, named),
        "annotations": names.annotations_of_named(named),
    }


def _strategy(config: ServiceConfig) -> dict[str, Any]:
    """Return how pods follow each other when limits or probes change: two cannot have one port of the device."""
    if config.ports or config.network_mode == "host":
        return {"type": "Recreate", "rollingUpdate": None}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _steady_s(config: ServiceConfig) -> int:
    return 0 if config.probes.readiness is not None else _STEADY_S

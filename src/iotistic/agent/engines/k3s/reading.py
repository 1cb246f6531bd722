"""What Kubernetes says of a Deployment or Job and its pods, read as the planner compares it.

    told            pods                        is called
    created, held   -                           created
    paused, held    -                           paused
    held            one is still ending         removing: Kubernetes is at it
    held            none                        exited, whoever held it
    to run          its process runs            running
    to run          a Job's process has ended   exited
    to run          anything else               restarting: Kubernetes begins it, or waits to do so again

What was wanted stands on the workload as an annotation and is the base; where the template says something else than
that comes to, somebody changed it, and the template counts.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from iotistic.agent.engines.docker.documents import Json, entries, part
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.making import JOB, Kind, State, is_held
from iotistic.agent.engines.k3s.template import CONTAINER, container
from iotistic.planning.model import (
    Container,
    Health,
    Resources,
    Service,
    ServiceConfig,
    ServiceKey,
    Status,
)
from iotistic.planning.quantities import parse_cpu, parse_memory
from iotistic.planning.writing import read_written

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Pod:
    """One pod, as Kubernetes describes it."""

    document: Json

    @property
    def name(self) -> str:
        """What it is called."""
        return names.name_of(self.document)

    @property
    def container_id(self) -> str:
        """The workload that it is of."""
        return str(part(self.document, "metadata", "labels").get(names.CONTAINER, ""))

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to end."""
        return bool(part(self.document, "metadata").get("deletionTimestamp"))

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will run again."""
        return part(self.document, "status").get("phase") in _ENDED

    @property
    def container(self) -> Json:
        """What Kubernetes says of its container."""
        found = entries(part(self.document, "status"), "containerStatuses")
        main = [one for one in found if one.get("name") == CONTAINER]
        return (main or found or [{}])[0]

    @property
    def restarts(self) -> int:
        """How often its container was started again."""
        return int(self.container.get("restartCount") or 0)

    @property
    def running(self) -> Json | None:
        """Since when it runs; None when it does not."""
        return part(self.container, "state").get("running")

    @property
    def waiting(self) -> tuple[str, str]:
        """Why its container does not run yet, in a word and in a sentence."""
        found = part(self.container, "state", "waiting")
        return str(found.get("reason") or ""), str(found.get("message") or "")

    @property
    def ended(self) -> Json:
        """How its container ended last; empty when it never did."""
        return part(self.container, "state", "terminated") or part(self.container, "lastState", "terminated")

    @property
    def has_no_place(self) -> str:
        """Why no node takes it; empty when one does, or nobody said anything yet."""
        for condition in entries(part(self.document, "status"), "conditions"):
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
                return str(condition.get("message") or "no node takes it")
        return ""

    @property
    def started_at(self) -> float:
        """When its container was started last, in seconds since 1970; 0 for never."""
        return seconds_of(str((self.running or {}).get("startedAt") or self.ended.get("startedAt") or ""))


def read(kind: Kind, document: Json, pods: list[Pod]) -> Container | None:
    """Read a workload, None when it is not ours."""
    key = names.key_of(document)
    if key is None:
        return None
    status, pod = _status(kind, document, pods)
    name = str(names.annotations(document).get(names.SERVICE_NAME, ""))
    return Container(
        id=names.name_of(document),
        key=key,
        name=name,
        config=_config(document, key, name),
        status=status,
        health=_health(pod) if status is Status.RUNNING and pod else Health.UNKNOWN,
        exit_code=_exit_code(pod) if status is Status.EXITED else None,
        started_at=pod.started_at if pod else 0,
    )


def service_of(document: Json) -> Service | None:
    """Return the service that a workload was made for."""
    key = names.key_of(document)
    if key is None:
        return None
    found = names.annotations(document)
    name = str(found.get(names.SERVICE_NAME, ""))
    return Service(key, name, _config(document, key, name), app_name=str(found.get(names.APP_NAME, "")))


def seconds_of(text: str) -> float:
    """Return a time of Kubernetes' in seconds since 1970, 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _status(kind: Kind, document: Json, pods: list[Pod]) -> tuple[Status, Pod | None]:
    state = names.annotations(document).get(names.STATE)
    alive = [pod for pod in pods if not pod.has_ended]
    pod = _foremost(pods)
    if part(document, "metadata").get("deletionTimestamp"):
        return Status.REMOVING, pod
    if kind is JOB and _is_over(document, pods):
        return Status.EXITED, pod
    if not is_held(kind, document):
        runs = pod is not None and pod.running is not None and not pod.is_leaving
        return (Status.RUNNING if runs else Status.RESTARTING), pod
    if state == State.CREATED:
        return Status.CREATED, pod
    if state == State.PAUSED:
        return Status.PAUSED, pod
    return (Status.REMOVING if alive else Status.EXITED), pod


def _foremost(pods: list[Pod]) -> Pod | None:
    """Return the pod that says how the service is: one that runs, otherwise the youngest."""

    def rank(pod: Pod) -> tuple[bool, bool, float, str]:
        made_at = str(part(pod.document, "metadata").get("creationTimestamp") or "")
        return not pod.is_leaving, pod.running is not None, seconds_of(made_at), pod.name

    return max(pods, key=rank, default=None)


def _is_over(document: Json, pods: list[Pod]) -> bool:
    """Say whether a Job has ended, which Kubernetes says of its pod some time before it says it of the Job."""
    conditions = entries(part(document, "status"), "conditions")
    if any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions):
        return True
    return bool(pods) and all(pod.has_ended for pod in pods) and not is_held(JOB, document)


def _exit_code(pod: Pod | None) -> int | None:
    code = pod.ended.get("exitCode") if pod is not None else None
    return code if isinstance(code, int) else None


def _health(pod: Pod) -> Health:
    """Return what probes say; kubelets ask them, and start again what is not alive."""
    found = _main(part(pod.document, "spec"))
    if not found.get("readinessProbe") and not found.get("startupProbe"):
        return Health.UNKNOWN
    if pod.container.get("ready"):
        return Health.READY
    return Health.NOT_READY if pod.container.get("started") else Health.STARTING


def _config(document: Json, key: ServiceKey, name: str) -> ServiceConfig:
    found = _main(part(document, "spec", "template", "spec"))
    config = _written(document)
    if config is None:  # somebody spoiled the annotation: it cannot be what is wanted, and is made anew
        return ServiceConfig(str(found.get("image", "")))
    return _as_changed(config, found, container(Service(key, name, config), ()))


def _main(spec: Json) -> Json:
    """Return the one container that a pod has of us; others may put theirs beside it."""
    for found in entries(spec, "containers"):
        if found.get("name") == CONTAINER:
            return found
    return {}


def _written(document: Json) -> ServiceConfig | None:
    try:
        return read_written(json.loads(str(names.annotations(document)[names.CONFIG])))
    except (ValueError, KeyError):
        return None


def _as_changed(config: ServiceConfig, found: Json, asked: Json) -> ServiceConfig:
    """Return the configuration with what people change by hand: the image, environment, command and limits."""
    changed: dict[str, Any] = {}
    if found.get("image") != asked["image"]:
        changed["image"] = str(found.get("image", ""))
    if _environment(found) != _environment(asked):
        changed["environment"] = frozenset(_environment(found).items())
    if (found.get("args") or []) != (asked.get("args") or []):
        changed["command"] = tuple(str(word).replace("$$", "$") for word in entries(found, "args"))
    if (amounts := _amounts(found)) != (wanted := _amounts(asked)):
        own = config.resources
        changed["resources"] = Resources(
            *(
                mine if now == meant else now or None
                for mine, now, meant in zip(
                    (own.cpu_limit, own.memory_limit, own.cpu_request, own.memory_request),
                    amounts,
                    wanted,
                    strict=True,
                )
            )
        )
    return replace(config, **changed)


def _environment(document: Json) -> dict[str, str]:
    listed = entries(document, "env")
    return {str(one["name"]): str(one.get("value") or "").replace("$$", "$") for one in listed}


def _amounts(document: Json) -> tuple[int, int, int, int]:
    limits, requests = part(document, "resources", "limits"), part(document, "resources", "requests")
    return (
        _cpu(limits.get("cpu")),
        _memory(limits.get("memory")),
        _cpu(requests.get("cpu")),
        _memory(requests.get("memory")),
    )


def _cpu(text: object) -> int:
    try:
        return parse_cpu(text)
    except ValueError:
        return 0


def _memory(text: object) -> int:
    try:
        return parse_memory(text)
    except ValueError:
        return 0

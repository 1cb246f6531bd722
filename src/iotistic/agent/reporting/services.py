"""The containers of a device as reports name them, each with what is wrong with it and when it is tried again.

ErrImagePull        the image could not be fetched once
ImagePullBackOff    several times, and it is waited for the next
StartFailure        the container could not be made or started
CrashLoopBackOff    it ended by itself, and it is waited for the next start
"""

from collections.abc import Mapping
from typing import Any

from iotistic.planning.facts import Facts, again_at
from iotistic.planning.model import (
    App,
    Container,
    Current,
    Failures,
    Release,
    Service,
    ServiceState,
    Status,
    Target,
)
from iotistic.planning.steps import Fetch

_RUNNING, _STOPPED, _PENDING, _ERROR = "running", "stopped", "pending", "error"


def describe_apps(target: Target, current: Current, facts: Facts) -> dict[str, Any]:
    """Return `apps` of a report: wanted services with their containers, and containers that are to go."""
    wanted = {app.id: app for app in target.apps}
    ids = sorted(wanted.keys() | {one.key.app_id for one in current.containers})
    return {
        app_id: _describe_app(wanted.get(app_id) or App(app_id, app_id), current, facts) for app_id in ids
    }


def _describe_app(app: App, current: Current, facts: Facts) -> dict[str, Any]:
    containers = [one for one in current.containers if one.key.app_id == app.id]
    known = {service.key for service in app.services}
    services = [
        _describe(service, _chosen([one for one in containers if one.key == service.key], service), facts)
        for service in app.services
    ]
    services += [_describe_leaving(one) for one in containers if one.key not in known]
    return {"appId": written_id(app.id), "appName": app.name, "services": services}


def _chosen(containers: list[Container], service: Service) -> Container | None:
    """Return the container that serves, or the one that is to."""
    containers.sort(key=lambda one: (not one.serves, one.config != service.config, -one.started_at))
    return containers[0] if containers else None


def _describe(service: Service, container: Container | None, facts: Facts) -> dict[str, Any]:
    error = None if service.state is ServiceState.STOPPED else _error(service, container, facts)
    described: dict[str, Any] = {
        "serviceId": written_id(service.key.service_id),
        "serviceName": service.name,
        "imageName": service.config.image if container is None else container.config.image,
        "state": str(service.state),
        "status": "missing" if container is None else str(container.status),
        "serviceStatus": _ERROR if error else _service_status(service, container),
    }
    if container is not None:
        described["containerId"] = container.id
    return {**described, "error": error} if error else described


def _describe_leaving(container: Container) -> dict[str, Any]:
    return {
        "serviceId": written_id(container.key.service_id),
        "serviceName": container.name,
        "imageName": container.config.image,
        "containerId": container.id,
        "status": str(container.status),
        "serviceStatus": _PENDING,
    }


def _service_status(service: Service, container: Container | None) -> str:
    if container is not None and container.status is Status.RUNNING:
        return _RUNNING
    if service.state is not ServiceState.RUNNING or (container and container.status is Status.EXITED):
        return _STOPPED
    return _PENDING


def _error(service: Service, container: Container | None, facts: Facts) -> dict[str, Any] | None:
    fetch = facts.failures.get(Fetch(service.config.image))
    if fetch is not None:
        return _told("ErrImagePull" if fetch.count == 1 else "ImagePullBackOff", fetch)
    release = Release(service.key, service.config)
    if facts.starts_failed(release):
        return _told("StartFailure", _last_start(release, facts.failures))
    crashed = facts.crashes.get(release)
    if crashed is not None and (container is None or container.status is not Status.RUNNING):
        return _told("CrashLoopBackOff", crashed)
    return None


def _last_start(release: Release, failures: Mapping[Any, Failures]) -> Failures:
    found = [
        failed
        for step, failed in failures.items()
        if getattr(step, "service", None) and (step.service.key, step.service.config) == release
    ]
    return max(found, key=lambda failed: failed.at)


def _told(kind: str, failed: Failures) -> dict[str, Any]:
    return {
        "type": kind,
        "message": failed.reason,
        "timestamp": round(failed.at * 1000),
        "retryCount": failed.count,
        "nextRetry": round(again_at(failed) * 1000),
    }


def written_id(text: str) -> int | str:
    """Return an id as clouds write it: as a number if it is one."""
    is_number = text.isascii() and text.isdecimal() and str(int(text)) == text
    return int(text) if is_number else text

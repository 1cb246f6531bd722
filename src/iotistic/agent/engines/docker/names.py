"""What containers, networks and volumes of ours are called, and the labels that say so.

container  `appName_serviceName_serviceId`; the second one of a service, in a hand-over, has a suffix
network    `appId_name`
volume     `appId_name`
"""

import secrets
from collections.abc import Mapping
from typing import Any

from iotistic.planning.model import Named, Service, ServiceKey

APP_ID, APP_NAME = "iotistic.app-id", "iotistic.app-name"
SERVICE_ID, SERVICE_NAME = "iotistic.service-id", "iotistic.service-name"
CONFIG, MANAGED, MADE_AT = "iotistic.config", "iotistic.managed", "iotistic.made-at"
SCOPE = "iotistic.scope"
"""Which of several agents on one Docker it belongs to; none for the agent of the device."""
OURS = "iotistic."


def container_name(app_name: str, service_name: str, service_id: str) -> str:
    """Return what the container that does a service's work is called."""
    return f"{app_name}_{service_name}_{service_id}"


def name_of(service: Service) -> str:
    """Return what a service's container is called."""
    return container_name(service.app_name or service.key.app_id, service.name, service.key.service_id)


def another_name(name: str) -> str:
    """Return a name for a container that stands beside the one of that name."""
    return f"{name}.{secrets.token_hex(4)}"


def key_of(labels: Mapping[str, Any]) -> ServiceKey | None:
    """Return whose container it is; None when it is not ours."""
    if APP_ID not in labels or SERVICE_ID not in labels:
        return None
    return ServiceKey(str(labels[APP_ID]), str(labels[SERVICE_ID]))


def service_name_of(found: str, labels: Mapping[str, Any]) -> str | None:
    """Return the service's name within a container's name, None when that is no name of ours.

    It says what the service is called now: a container can be renamed, its labels cannot be changed.
    """
    head, tail = f"{labels.get(APP_NAME, '')}_", f"_{labels.get(SERVICE_ID, '')}"
    if found.startswith(head) and found.endswith(tail) and len(found) > len(head) + len(tail):
        return found.removeprefix(head).removesuffix(tail)
    return None


def full_name(named: Named) -> str:
    """Return what a network or volume is called in Docker."""
    return f"{named.app_id}_{named.name}"


def named_of(found: str, labels: Mapping[str, Any]) -> Named | None:
    """Return which network or volume it is; None when it is not ours. Ids may have underscores: the label knows."""
    if MANAGED not in labels:
        return None
    app_id = str(labels.get(APP_ID) or found.partition("_")[0])
    name = found.removeprefix(f"{app_id}_")
    return Named(app_id, name) if name != found else None


def labels_of(named: Named, scope: str = "") -> dict[str, str]:
    """Return the labels of a network or volume."""
    return {MANAGED: "true", APP_ID: named.app_id, **scope_label(scope)}


def scope_label(scope: str) -> dict[str, str]:
    """Return the label that says which agent's something is."""
    return {SCOPE: scope} if scope else {}


def is_in_scope(labels: Mapping[str, Any], scope: str) -> bool:
    """Say whether something is that agent's, going by its labels."""
    return str(labels.get(SCOPE, "")) == scope

"""What objects of ours are called in Kubernetes, and the labels and annotations that say whose they are.

Kubernetes takes lower-case letters, digits and dashes; names of targets have more. What does not fit gets the
beginning of its SHA-256. Nothing is read back from a name or label: annotations hold the texts as they were.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from iotistic.agent.engines.docker.documents import Json, part
from iotistic.planning.model import Named, Service, ServiceKey

NAMESPACE = "iotistic"
MANAGED, CONTAINER, KIND = "iotistic.managed", "iotistic.container", "iotistic.kind"
APP_ID, APP_NAME = "iotistic.app-id", "iotistic.app-name"
SERVICE_ID, SERVICE_NAME = "iotistic.service-id", "iotistic.service-name"
CONFIG, STATE, NAME, MADE_AT = "iotistic.config", "iotistic.state", "iotistic.name", "iotistic.made-at"

MOST_LABEL = 63
_MOST_READABLE = 40
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
_STRANGE = re.compile(r"[^a-z0-9]+")


def is_label(text: str) -> bool:
    """Say whether a text is a DNS-1123 label."""
    return _LABEL.fullmatch(text) is not None


def dns_label(text: str) -> str:
    """Return a DNS-1123 label: the text itself when it is one, otherwise one that no other text gets."""
    if is_label(text):
        return text
    readable = _readable(text)
    return f"{readable}-{_digest(text)}" if readable else f"x-{_digest(text)}"


def label_value(text: str) -> str:
    """Return a value that a label may have."""
    return text if _VALUE.fullmatch(text) else dns_label(text)


def is_label_pair(name: str, value: str) -> bool:
    """Say whether Kubernetes takes both as a label."""
    return _LABEL_NAME.fullmatch(name) is not None and (not value or _VALUE.fullmatch(value) is not None)


def workload_name(service: Service) -> str:
    """Return a name for a new Deployment or Job of a service; no two are the same."""
    words = (service.app_name or service.key.app_id, service.name, service.key.service_id)
    return f"{_readable('-'.join(words)) or 'x'}-{secrets.token_hex(4)}"


def domain_of_app(app_id: str) -> str:
    """Return what the headless Service is called in which the services of an app find each other."""
    return dns_label(f"app-{app_id}")


def full_name(kind: str, named: Named) -> str:
    """Return what a network or volume is called; neither part has a dot, so it is not ambiguous."""
    return f"{kind}.{dns_label(named.app_id)}.{dns_label(named.name)}"


def labels_of_named(kind: str, named: Named) -> dict[str, str]:
    """Return the labels of a network or volume."""
    return {MANAGED: "true", KIND: kind, APP_ID: label_value(named.app_id)}


def annotations_of_named(named: Named) -> dict[str, str]:
    """Return what says which network or volume it is."""
    return {APP_ID: named.app_id, NAME: named.name}


def named_of(document: Json) -> Named | None:
    """Return which network or volume it is; None when it is not ours."""
    found = annotations(document)
    if APP_ID not in found or NAME not in found:
        return None
    return Named(str(found[APP_ID]), str(found[NAME]))


def labels_of(service: Service) -> dict[str, str]:
    """Return the labels of everything that belongs to a service."""
    return {
        MANAGED: "true",
        APP_ID: label_value(service.key.app_id),
        SERVICE_ID: label_value(service.key.service_id),
    }


def whose(service: Service) -> dict[str, str]:
    """Return the annotations that say whose container it is."""
    return {
        APP_ID: service.key.app_id,
        APP_NAME: service.app_name or service.key.app_id,
        SERVICE_ID: service.key.service_id,
        SERVICE_NAME: service.name,
    }


def key_of(document: Json) -> ServiceKey | None:
    """Return whose container it is; None when it is not ours."""
    found = annotations(document)
    if APP_ID not in found or SERVICE_ID not in found:
        return None
    return ServiceKey(str(found[APP_ID]), str(found[SERVICE_ID]))


def annotations(document: Json) -> Mapping[str, Any]:
    """Return an object's annotations."""
    return part(document, "metadata", "annotations")


def name_of(document: Json) -> str:
    """Return what an object is called."""
    return str(part(document, "metadata").get("name", ""))


def selector(**labels: str) -> str:
    """Return a selector of objects by labels: `managed`, `kind`, `container` and so on, without our prefix."""
    pairs = {f"iotistic.{name.replace('_', '-')}": value for name, value in labels.items()}
    return ",".join(f"{name}={value}" for name, value in ({MANAGED: "true"} | pairs).items())


def short_digest(text: str) -> str:
    """Return a few letters that stand for a text."""
    return _digest(text)


def _readable(text: str) -> str:
    return _STRANGE.sub("-", text.lower()).strip("-")[:_MOST_READABLE].strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]

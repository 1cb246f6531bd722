"""Wishes of people on the device, on top of what the cloud wants. Pure.

A wish names the state of one service, and remembers which version of the app it was made at. As soon as the
cloud wants anything else of that app, the wish is over: a newer target always wins.

A restart is a wish in two halves: stopped until the container has ended, then the state that it names.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from iotistic.planning.model import App, Service, ServiceKey, ServiceState, Target
from iotistic.planning.writing import write_config


class Wish(NamedTuple):
    """What a service is to be instead of what the target says."""

    state: ServiceState
    app_version: str
    is_restarting: bool = False
    """Whether its container has to end first."""

    @property
    def in_effect(self) -> ServiceState:
        """The state that is aimed at now."""
        return ServiceState.STOPPED if self.is_restarting else self.state


Wishes = Mapping[ServiceKey, Wish]


def apply(target: Target, wishes: Wishes) -> Target:
    """Return the target with the wishes that are still in force."""
    living = in_force(target, wishes)
    return replace(target, apps=tuple(_applied(app, living) for app in target.apps)) if living else target


def in_force(target: Target, wishes: Wishes) -> dict[ServiceKey, Wish]:
    """Return the wishes that the target has not overtaken."""
    concerned = {key.app_id for key in wishes}
    versions = {app.id: version_of(app) for app in target.apps if app.id in concerned}
    known = {service.key for app in target.apps for service in app.services}
    return {
        key: wish
        for key, wish in wishes.items()
        if key in known and versions.get(key.app_id) == wish.app_version
    }


def version_of(app: App) -> str:
    """Return a short name of everything that the cloud wants of an app, the same for equal wishes."""
    written = {
        "name": app.name,
        "rolling": app.rolling,
        "services": [
            [*service.key, service.name, str(service.state), write_config(service.config)]
            for service in sorted(app.services, key=lambda one: one.key)
        ],
    }
    text = json.dumps(written, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write_wishes(wishes: Wishes) -> list[dict[str, Any]]:
    """Return wishes as JSON values."""
    return [
        {
            "service": list(key),
            "state": str(wish.state),
            "app_version": wish.app_version,
            "is_restarting": wish.is_restarting,
        }
        for key, wish in sorted(wishes.items())
    ]


def read_wishes(written: object) -> dict[ServiceKey, Wish]:
    """Read what `write_wishes` wrote; what cannot be read is left out."""
    entries = cast("list[object]", written) if isinstance(written, list) else []
    return dict(found for entry in entries if (found := _read(entry)) is not None)


def _read(entry: object) -> tuple[ServiceKey, Wish] | None:
    try:
        fields = cast("Mapping[str, Any]", entry)
        app_id, service_id = fields["service"]
        state = ServiceState(fields["state"])
        wish = Wish(state, str(fields["app_version"]), fields["is_restarting"] is True)
    except (KeyError, TypeError, ValueError):
        return None
    return ServiceKey(str(app_id), str(service_id)), wish


def _applied(app: App, living: Wishes) -> App:
    return replace(app, services=tuple(_wished(service, living) for service in app.services))


def _wished(service: Service, living: Wishes) -> Service:
    wish = living.get(service.key)
    return service if wish is None else replace(service, state=wish.in_effect)

"""One app within a target: read out, put in, and its services written in one form. Pure.

A service may be given flat (`{"serviceName", "image", "ports", ...}`) or with its `config`; it is kept with `config`.
What a service may say, the reader of targets knows: names that it does not know are passed on for it to refuse.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from iotistic.kernel.errors import Conflict, Invalid, NotFound

RESTART_MARK = "IOTISTIC_RESTART"
"""A variable of a service's environment, with the time of the last restart that was asked for. Every agent, also one
of the earlier system, makes a container anew when a variable of its target changed."""

_FLAT = (
    "image",
    "environment",
    "ports",
    "volumes",
    "networks",
    "networkMode",
    "restart",
    "labels",
    "resources",
)

Document = dict[str, Any]


class AppUnknown(NotFound):
    """The device's target has no such app."""

    code = "app.unknown"


class AppExists(Conflict):
    """The device's target has this app already."""

    code = "app.exists"


class ServiceUnknown(NotFound):
    """The app has no such service."""

    code = "app.service_unknown"


class ServicesInvalid(Invalid):
    """The services of an app cannot be understood."""

    code = "app.services_invalid"


class ServiceIdTaken(Conflict):
    """A number that was given out for a service is in use in this app already."""

    code = "app.service_id_taken"


class Action(StrEnum):
    """What can be done to services as they stand."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESTART = "restart"


_STATES = {
    Action.START: "running",
    Action.STOP: "stopped",
    Action.PAUSE: "paused",
    Action.RESTART: "running",
}


def app_of(content: Mapping[str, Any], app_id: str) -> Document:
    """Return an app. Raises AppUnknown."""
    found = cast("Mapping[str, Any]", content["apps"]).get(app_id)
    if not isinstance(found, dict):
        raise AppUnknown(app_id=app_id, hint="POST the app to the device first")
    return cast("Document", found)


def with_app(content: Mapping[str, Any], app_id: str, app: Mapping[str, Any] | None) -> Document:
    """Return the content with another app, or without it when `app` is None."""
    apps = {name: one for name, one in content["apps"].items() if name != app_id}
    return {**content, "apps": apps if app is None else {**apps, app_id: dict(app)}}


def new_app(
    app_id: str, name: str, given: Mapping[str, Any], services: list[Document], ids: Iterator[int]
) -> Document:
    """Return an app whose services have ids; those given keep theirs. Raises ServicesInvalid, ServiceIdTaken."""
    number: str | int = int(app_id) if app_id.isascii() and app_id.isdecimal() else app_id
    return {
        **{key: value for key, value in given.items() if value is not None},
        "appId": number,
        "appName": name,
        "services": _numbered([regular(one) for one in services], {}, ids),
    }


def changed_app(
    app: Mapping[str, Any], change: Mapping[str, Any], services: list[Document] | None, ids: Iterator[int]
) -> Document:
    """Return an app after a change. `services`, when given, are all that it has then.

    A service that has the name of one that stands keeps its id, and everything that is not mentioned; null takes a
    key away. Raises ServicesInvalid, ServiceIdTaken.
    """
    fields = dict(change)
    state = fields.pop("state", None)
    new: Document = {**app, **{key: value for key, value in fields.items() if value is not None}}
    if services is not None:
        before = {str(one.get("serviceName")): regular(one) for one in services_of(app)}
        merged = [_merged(before.get(str(one.get("serviceName")), {}), regular(one)) for one in services]
        new["services"] = _numbered(merged, before, ids)
    if state is not None:
        new["services"] = [{**one, "state": state} for one in services_of(new)]
    return new


def acted(app: Mapping[str, Any], action: Action, service: str | None, at: datetime) -> Document:
    """Return an app after an action on one service (its name or id), or on all. Raises ServiceUnknown."""
    services = services_of(app)
    meant = [one for one in services if service is None or _is(one, service)]
    if not meant and (service is not None or not services):
        raise ServiceUnknown(service=service, has=[one.get("serviceName") for one in services][:20])
    return {**app, "services": [_acted(one, action, at) if one in meant else one for one in services]}


def services_of(app: Mapping[str, Any]) -> list[Document]:
    """Return the services of an app that was read without faults."""
    return [dict(one) for one in cast("list[Document]", app.get("services") or [])]


def regular(service: Mapping[str, Any]) -> Document:
    """Return a service with everything in `config`. One that is at fault is left to the reader of targets."""
    config = service.get("config")
    if config is not None and not isinstance(config, dict):
        return dict(service)
    flat = {name: service[name] for name in _FLAT if name in service}
    merged: Document = {**flat, **cast("Document", config or {})}
    if "image" not in merged and service.get("imageName") is not None:
        merged["image"] = service["imageName"]
    rest = {name: value for name, value in service.items() if name not in (*_FLAT, "config", "imageName")}
    named = {"imageName": merged["image"]} if "image" in merged else {}
    return {**rest, **named, "config": merged}


def _acted(service: Document, action: Action, at: datetime) -> Document:
    new = {**regular(service), "state": _STATES[action]}
    if action is Action.RESTART:
        config = cast("Document", new["config"])
        environment = cast("Document", config.get("environment") or {})
        new["config"] = {**config, "environment": {**environment, RESTART_MARK: at.isoformat()}}
    return new


def _is(service: Mapping[str, Any], named: str) -> bool:
    return named in (service.get("serviceName"), str(service.get("serviceId")))


def _merged(before: Document, new: Document) -> Document:
    if not isinstance(new.get("config"), dict):
        return new
    config = {**before.get("config", {}), **new["config"]}
    merged = {**before, **new, "config": {name: value for name, value in config.items() if value is not None}}
    # The name of the image stands in two places, and the one in `config` counts.
    if config.get("image") is not None:
        merged["imageName"] = config["image"]
    return {name: value for name, value in merged.items() if value is not None}


def _numbered(services: list[Document], before: Mapping[str, Document], ids: Iterator[int]) -> list[Document]:
    """Give ids to services that have none."""
    names = [one.get("serviceName") for one in services]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise ServicesInvalid(f"two services have the name {', '.join(twice)}"[:300], names=twice)
    taken = {str(one["serviceId"]) for one in (*services, *before.values()) if "serviceId" in one}
    numbered: list[Document] = []
    for one in services:
        if one.get("serviceId") is None:
            given = next(ids)
            if str(given) in taken:
                raise ServiceIdTaken(service_id=given, hint="try again: the next number will be another")
            numbered.append({**one, "serviceId": given})
        else:
            numbered.append(one)
    return numbered

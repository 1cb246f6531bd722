"""What a device's report and its target say about an update: each finding returns evidence, or None. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import since_deployment, told
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.port import About

_JUST_NOW, _LONG = timedelta(minutes=3), timedelta(minutes=15)


def unknown(facts: Facts) -> Evidence | None:
    """Return something when the cloud knows no such device."""
    return {"uuid": facts.uuid} if facts.device is None else None


def never_set(facts: Facts) -> Evidence | None:
    """Return something when nobody has set a target."""
    target = facts.target
    is_first = target is None or (target.version == 1 and target.draft_at is None)
    return {"uuid": facts.uuid} if facts.device and is_first else None


def draft_waits(facts: Facts) -> Evidence | None:
    """Return which draft waits to be deployed."""
    target = facts.target
    if target is None or target.draft_at is None:
        return None
    return {"at": target.draft_at, "by": target.draft_by, "version": target.version}


def reports_it(facts: Facts) -> bool:
    """Whether the device said that it works on the newest target."""
    target, report = facts.target, facts.report
    return bool(target and report and report.version is not None and report.version >= target.version)


def in_force(facts: Facts) -> Evidence | None:
    """Return which version the device works on, when all of it is as it should be."""
    if not reports_it(facts) or facts.report is None or facts.target is None:
        return None
    if pending_services(facts) or service_errors(facts) or other_images(facts):
        return None
    return {"version": facts.target.version, "at": facts.report.at}


def service_errors(facts: Facts) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return services that are at fault, each with what the device tells of it."""
    return [
        (service, cast("Mapping[str, Any]", service["error"]))
        for service in facts.services
        if isinstance(service.get("error"), dict)
    ]


def pending_services(facts: Facts) -> list[str]:
    """Return the names of services that are not ready yet."""
    return [str(one.get("serviceName")) for one in facts.services if one.get("serviceStatus") == "pending"]


def other_images(facts: Facts) -> dict[str, str]:
    """Return services, by name with their image, that run another image than they should."""
    wanted = facts.images
    return {
        name: str(one.get("imageName"))
        for one in facts.services
        if (name := str(one.get("serviceName"))) in wanted and one.get("imageName") != wanted[name]
    }


def failing(kinds: frozenset[str], look: str = "") -> Callable[[Facts], Evidence | None]:
    """Return what finds a service with an error of these types whose message looks so."""
    pattern = re.compile(look, re.IGNORECASE)

    def finds(facts: Facts) -> Evidence | None:
        for service, error in service_errors(facts):
            message = str(error.get("message", ""))
            if error.get("type") in kinds and pattern.search(message):
                return {
                    "service": service.get("serviceName"),
                    "image": facts.images.get(str(service.get("serviceName")), service.get("imageName")),
                    "message": message[:200],
                    "times": error.get("retryCount"),
                }
        return None

    return finds


def reported_list(*names: str) -> Callable[[Facts], Evidence | None]:
    """Return what finds reasons that the device lists under one of these names."""

    def finds(facts: Facts) -> Evidence | None:
        for name in names:
            value = facts.fields.get(name)
            if isinstance(value, list) and value:
                return {"reasons": [str(one)[:200] for one in cast("list[object]", value)[:5]]}
            if isinstance(value, str) and value:
                return {"reasons": value[:200]}
        return None

    return finds


def offline(facts: Facts) -> Evidence | None:
    """Return since when the device is away."""
    if facts.device is None or facts.is_online:
        return None
    return {"last_sign": facts.last_sign, "version": facts.target.version if facts.target else None}


def just_deployed(facts: Facts) -> Evidence | None:
    """Return what was deployed moments ago."""
    target = facts.target
    if target is None or reports_it(facts) or facts.now - target.deployed_at > _JUST_NOW:
        return None
    return {"at": target.deployed_at, "version": target.version}


def not_fetched(facts: Facts) -> Evidence | None:
    """Return which version the device has not taken."""
    target, report = facts.target, facts.report
    if target is None or reports_it(facts):
        return None
    return {
        "version": target.version,
        "at": target.deployed_at,
        "reported_version": report.version if report else None,
    }


def not_ready(facts: Facts) -> Evidence | None:
    """Return a service that runs and is not ready."""
    for one in facts.services:
        if one.get("health") in ("failed", "not-ready"):
            return {"service": one.get("serviceName"), "health": one.get("health")}
    return None


def working(facts: Facts) -> Evidence | None:
    """Return what the device is at work on."""
    target, pending = facts.target, pending_services(facts)
    if target is None or not pending or facts.now - target.deployed_at > _LONG:
        return None
    return {"services": pending[:5], "at": target.deployed_at}


def stuck(facts: Facts) -> Evidence | None:
    """Return what has been pending for long."""
    pending = pending_services(facts)
    return {"services": pending[:5], "at": facts.target.deployed_at} if pending and facts.target else None


def fell_back(facts: Facts) -> Evidence | None:
    """Return a service that runs another image than it should."""
    others = other_images(facts)
    for name, image in others.items():
        return {
            "service": name,
            "running": image,
            "image": facts.images[name],
        }
    return None


def stale(facts: Facts) -> Evidence | None:
    """Return a refusal to change the target itself since it was set."""
    found = facts.newest(
        "state.target_invalid", "state.target_too_large", since=since_deployment(facts), own=True
    )
    return told(found) if found else None


def nothing_tells(facts: Facts) -> Evidence | None:
    """Return something always: the last resort."""
    return {"uuid": facts.uuid}


def cause(
    code: str, sentence: str, fix: str, finds: Callable[[Facts], Evidence | None], **more: Any
) -> Cause:
    """Return a cause of not being updated."""
    return Cause(code=code, about=About.NOT_UPDATED, sentence=sentence, fix=fix, finds=finds, **more)

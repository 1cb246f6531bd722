"""Targets: what a device should be. Pure.

The ETag is the SHA-1 of the JSON of {version, apps, config}, in hex: a name of the content, not a protection.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from iotistic.contracts.provisioning.fields import write_time
from iotistic.kernel.errors import Conflict, Invalid, NotFound
from iotistic.planning.target import read_target

_MOST_BYTES = 1024 * 1024
_NAMED = 50
_CONTENT = ("apps", "config", "options")


class TargetInvalid(Invalid):
    """The target cannot be understood."""

    code = "state.target_invalid"


class TargetTooLarge(Invalid):
    """The target is too large to be sent to a device."""

    code = "state.target_too_large"


class ReportInvalid(Invalid):
    """The report is not what a device tells of itself."""

    code = "state.report_invalid"


class ReportTooLarge(Invalid):
    """What this device reports is more than 4 MiB altogether."""

    code = "state.report_too_large"


class NothingToDeploy(Conflict):
    """Nothing was set that is not deployed already."""

    code = "state.nothing_to_deploy"


class TargetChanged(Conflict):
    """The target was changed by somebody else in between."""

    code = "state.target_changed"


class VersionUnknown(NotFound):
    """The device never had a target of this version."""

    code = "state.version_unknown"


class NoReport(NotFound):
    """The device has not reported yet."""

    code = "state.no_report"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A target in force. `document` is the JSON text that the device gets."""

    version: int
    document: str
    etag: str
    deployed_at: datetime
    deployed_by: str

    def content(self) -> dict[str, Any]:
        """Return what a target is about: {apps, config, options?}."""
        read = cast("dict[str, Any]", json.loads(self.document))
        return {name: read[name] for name in _CONTENT if name in read}


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A device's target, and what was set and waits to be deployed."""

    target: Target
    draft: dict[str, Any] | None
    drafted_at: datetime | None
    drafted_by: str | None

    @property
    def needs_deployment(self) -> bool:
        """Whether something waits to be deployed."""
        return self.draft is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that a device said, each field as it said it last."""

    fields: dict[str, Any]
    reported_at: datetime


def checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a target's content in its usual form. Raises TargetInvalid naming each fault by its path."""
    normal = {"apps": _apps(content.get("apps", {})), "config": content.get("config", {})}
    if content.get("options") is not None:
        normal["options"] = content["options"]
    faults = [(fault.path, fault.reason) for fault in read_target(normal).faults]
    faults += [(name, "is no part of a target") for name in content if name not in _CONTENT]
    if not isinstance(normal["config"], Mapping):
        faults.append(("config", "is to be an object"))
    if faults:
        named = {path or "target": reason for path, reason in faults[:_NAMED]}
        listed = "; ".join(f"{path}: {reason}" for path, reason in named.items())
        raise TargetInvalid(f"{len(faults)} fault(s): {listed}", faults=named)
    return normal


def make_target(content: Mapping[str, Any], *, version: int, at: datetime, by: str) -> Target:
    """Return a target with its text and ETag. Raises TargetTooLarge, TargetInvalid."""
    named = {"version": version, **content}
    try:
        etag = hashlib.sha1(_text(named), usedforsecurity=False).hexdigest()
        stamps = {"needs_deployment": False, "last_deployed_at": write_time(at.timestamp())}
        document = _text({**content, "version": version, **stamps})
    except (ValueError, TypeError, RecursionError) as exc:
        raise TargetInvalid("the target cannot be written as JSON") from exc
    if len(document) > _MOST_BYTES:
        raise TargetTooLarge(f"the target has {len(document)} bytes", limit=_MOST_BYTES)
    return Target(version=version, document=document.decode(), etag=etag, deployed_at=at, deployed_by=by)


def check_writable(content: Mapping[str, Any]) -> None:
    """Refuse what could not be sent as a target. Raises TargetTooLarge, TargetInvalid."""
    make_target(content, version=1, at=datetime.fromtimestamp(0, UTC), by="")


def first_target(at: datetime | None = None) -> Target:
    """Return what a device should be that nobody has said anything about."""
    return make_target(
        {"apps": {}, "config": {}}, version=1, at=at or datetime.fromtimestamp(0, UTC), by="service"
    )


def etags_in(header: str) -> list[str]:
    """Return the names in an If-None-Match header; quotes and weakness are of no meaning here."""
    return [one.strip().removeprefix("W/").strip('"') for one in header[:2000].split(",") if one.strip()]


def reported_fields(document: object, uuid: str) -> dict[str, Any]:
    """Return what a report says about a device. Raises ReportInvalid."""
    fields = cast("Mapping[object, object]", document).get(uuid) if isinstance(document, Mapping) else None
    if not isinstance(fields, dict) or len(cast("dict[object, object]", document)) != 1:
        raise ReportInvalid('the report is to be {"<uuid>": {...}} about one device')
    return cast("dict[str, Any]", fields)


def uuid_of_report(document: object) -> str:
    """Return whom a report is about, as far as it says so. Raises ReportInvalid."""
    names = list(cast("Mapping[object, object]", document)) if isinstance(document, Mapping) else []
    if len(names) != 1 or not isinstance(names[0], str):
        raise ReportInvalid('the report is to be {"<uuid>": {...}} about one device')
    return names[0]


def _apps(apps: object) -> object:
    """Return apps by id; a list of apps that carry their ids is read as well."""
    if not isinstance(apps, list):
        return apps
    entries = cast("list[object]", apps)
    by_id: dict[str, object] = {}
    for index, app in enumerate(entries):
        app_id = cast("Mapping[str, object]", app).get("appId") if isinstance(app, Mapping) else None
        if not isinstance(app_id, str | int) or str(app_id) in by_id:
            raise TargetInvalid(
                f"apps[{index}].appId: is missing, or stands there twice",
                faults={f"apps[{index}].appId": "is missing, or stands there twice"},
            )
        by_id[str(app_id)] = cast("object", app)
    return by_id


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()

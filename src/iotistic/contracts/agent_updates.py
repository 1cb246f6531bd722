"""What cloud and device tell each other about updates of the agent.

    MQTT  iot/device/{uuid}/agent/update   {action, version, scheduled_time, force, timestamp, update_id}, retained
    HTTP  GET /device/{uuid}/agent-update  the same; 404: nothing is ordered
    MQTT  iot/device/{uuid}/agent/status   {type, version, update_id, current_version, code, message, timestamp}
    HTTP  PATCH /device/{uuid}/agent-update/status   the same

`update_id` is what an order is known by. Clouds of the earlier system send none, and their agents answer without.
No order says where the new version is to be taken from: that is a matter of the device.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from iotistic.contracts.provisioning.fields import write_time
from iotistic.contracts.reading import Fault, Fields, choice, shown, text, truth

LATEST = "latest"
VERSION = r"(?:0|[1-9]\d{0,4})(?:\.(?:0|[1-9]\d{0,4})){2}"
_VERSION = re.compile(VERSION)
_UPDATE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_MOST_SAID = 500


class Said(StrEnum):
    """What a device says of an order."""

    RECEIVED = "update_command_received"
    SCHEDULED = "update_scheduled"
    STARTED = "update_started"
    SUCCEEDED = "update_succeeded"
    FAILED = "update_failed"


@dataclass(frozen=True, slots=True)
class UpdateOrder:
    """An order as it arrived; times in seconds since the epoch."""

    version: str
    """Three numbers, or `latest`."""
    update_id: str = ""
    not_before: float | None = None
    is_forced: bool = False
    said_at: float | None = None

    @property
    def mark(self) -> str:
        """What this order is told from others by: a retained message comes again with each connection."""
        return self.update_id or f"{self.version}@{self.said_at}"

    def as_fields(self) -> dict[str, Any]:
        """Return the message."""
        scheduled = None if self.not_before is None else write_time(self.not_before)
        fields: dict[str, Any] = {
            "action": "update",
            "version": self.version,
            "scheduled_time": scheduled,
            "force": self.is_forced,
            "timestamp": None if self.said_at is None else write_time(self.said_at),
            "update_id": self.update_id or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What a device says."""

    said: Said
    version: str = ""
    """The version that was ordered, or that `latest` turned out to be."""
    update_id: str = ""
    current_version: str = ""
    code: str = ""
    message: str = ""

    def as_fields(self, at: float) -> dict[str, Any]:
        """Return the message, without what there is nothing to say about."""
        fields = {
            "type": self.said.value,
            "version": self.version,
            "update_id": self.update_id,
            "current_version": self.current_version,
            "code": self.code,
            "message": self.message[:_MOST_SAID],
            "timestamp": write_time(at),
        }
        return {name: value for name, value in fields.items() if value}


def order_topic(uuid: str) -> str:
    """Return where a device hears of updates."""
    return f"iot/device/{uuid}/agent/update"


def status_topic(uuid: str) -> str:
    """Return where a device tells of them."""
    return f"iot/device/{uuid}/agent/status"


def read_order(message: object) -> tuple[UpdateOrder | None, list[Fault]]:
    """Read an order. Fields that are not known are not minded: they cannot name where to take it from."""
    faults: list[Fault] = []
    fields = Fields(message, "", faults)
    action = fields.take("action", text(32), "update")
    if not faults and action != "update":
        fields.fault("action", f"is to be update, not {shown(action)}")
    order = UpdateOrder(
        version=fields.need("version", wanted_version, ""),
        update_id=fields.take("update_id", _update_id, ""),
        not_before=fields.take("scheduled_time", read_time, None),
        is_forced=fields.take("force", truth, False),
        said_at=fields.take("timestamp", read_time, None),
    )
    return (None if faults else order), faults


def read_report(message: object) -> tuple[UpdateReport | None, list[Fault]]:
    """Read what a device says; `status` and `error` are names that agents of the earlier system use."""
    faults: list[Fault] = []
    fields = Fields(message, "", faults)
    said = fields.take("type", choice(Said), None, "status")
    if said is None:
        if not faults:
            fields.fault("type", "is missing")
        return None, faults
    lenient = text(2000)
    report = UpdateReport(
        said=said,
        version=fields.take("version", lenient, "", "target_version")[:64],
        update_id=fields.take("update_id", lenient, "")[:64],
        current_version=fields.take("current_version", lenient, "")[:64],
        code=fields.take("code", lenient, "")[:100],
        message=fields.take("message", lenient, "", "error", "reason")[:_MOST_SAID],
    )
    return (None if faults else report), faults


def wanted_version(value: object) -> str:
    """Read a version that may be ordered. Raises ValueError."""
    if not isinstance(value, str) or (value != LATEST and _VERSION.fullmatch(value) is None):
        raise ValueError(f"is to be three numbers like 1.4.2, or latest, not {shown(value)}")
    return value


def is_older(version: str, than: str) -> bool:
    """Whether a version comes before another; what is no three numbers is older than nothing."""
    return all(map(_VERSION.fullmatch, (version, than))) and _numbers(version) < _numbers(than)


def read_time(value: object) -> float:
    """Read a time with its zone as seconds since the epoch. Raises ValueError."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 64 else None  # noqa: PLR2004
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f"is to be a time with its zone, not {shown(value)}")
    try:
        return at.astimezone(UTC).timestamp()
    except OverflowError as exc:
        raise ValueError(f"is a time that no calendar has: {shown(value)}") from exc


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _update_id(value: object) -> str:
    if not isinstance(value, str) or _UPDATE_ID.fullmatch(value) is None:
        raise ValueError(f"is to be an order's id, not {shown(value)}")
    return value

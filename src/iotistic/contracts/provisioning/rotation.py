"""API keys of devices and their successors: the old one stays good for a while after a new one was made.

GET  /device/<uuid>/key-status      how long the key that asks is good for
POST /device/<uuid>/rotate-key      a new key; the old one is good until its grace period ends
notice on device/<uuid>/config/api-key-rotation: time for a new key, or the new key itself
"""

import json
from dataclasses import dataclass, field
from typing import Any

from iotistic.contracts.provisioning.fields import Fields, ProvisioningInvalid, write_time

_MOST_SECRET = 1024
_LEAST_KEY = 16


def key_status_path(uuid: str) -> str:
    """Return where a device asks how long its key is good for."""
    return f"/device/{uuid}/key-status"


def rotate_key_path(uuid: str) -> str:
    """Return where a device asks for a new key."""
    return f"/device/{uuid}/rotate-key"


def rotation_topic(uuid: str) -> str:
    """Return where the cloud tells a device that it is time for a new key."""
    return f"device/{uuid}/config/api-key-rotation"


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """A new key; times in seconds since 1970."""

    api_key: str = field(repr=False)
    expires_at: float | None
    old_valid_until: float | None
    """When the key before it ends."""

    def write(self) -> dict[str, Any]:
        """Return the JSON shape."""
        data: dict[str, Any] = {"new_api_key": self.api_key}
        if self.expires_at is not None:
            data["expires_at"] = write_time(self.expires_at)
        if self.old_valid_until is not None:
            data |= dict.fromkeys(
                ("grace_period_ends", "old_key_valid_until"), write_time(self.old_valid_until)
            )
        return {"data": data}


def read_rotated(document: object) -> RotatedKey:
    """Read a new key. Raises ProvisioningInvalid."""
    fields = _data(document)
    key = fields.text("new_api_key", "newApiKey", most=_MOST_SECRET)
    if key and (len(key) < _LEAST_KEY or not key.isascii() or " " in key):
        fields.faults.append(f"new_api_key is not a key of {_LEAST_KEY} characters or more")
    rotated = RotatedKey(
        key,
        fields.time_if_any("expires_at", "expiresAt"),
        fields.time_if_any("old_key_valid_until", "grace_period_ends"),
    )
    fields.done("the new key")
    return rotated


def read_key_status(document: object) -> float | None:
    """Return when the key that asked ends, None when it does not. Raises ProvisioningInvalid."""
    fields = _data(document)
    ends = [
        fields.time_if_any("valid_until", "old_key_valid_until"),
        fields.time_if_any("expires_at", "expiresAt"),
    ]
    fields.done("the state of the key")
    return min((end for end in ends if end is not None), default=None)


def read_notice(payload: bytes) -> RotatedKey | None:
    """Read what came by MQTT: the new key if it holds one, otherwise None: it is time to ask for one.

    Raises ProvisioningInvalid.
    """
    try:
        document: object = json.loads(payload) if payload.strip() else {}
    except (ValueError, RecursionError) as exc:
        raise ProvisioningInvalid("the notice is not JSON") from exc
    fields = _data(document)
    has_key = bool(fields.maybe("new_api_key", "newApiKey", most=_MOST_SECRET))
    fields.done("the notice")
    return read_rotated(document) if has_key else None


def _data(document: object) -> Fields:
    fields = Fields(document)
    return fields.part_if_any("data") or fields

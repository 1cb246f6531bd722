"""What presence is made of. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Sign(StrEnum):
    """A sign of life."""

    POLL = "poll"
    REPORT = "report"
    LOGS = "logs"
    HEARTBEAT = "heartbeat"
    MQTT = "mqtt"


class Parting(StrEnum):
    """Why a device is gone."""

    SILENT = "silent"
    """No sign of life until the lease was over."""
    DISCONNECTED = "disconnected"
    """Its MQTT session ended, and nothing came after it."""
    GOODBYE = "said-goodbye"
    """It said so itself."""
    DEACTIVATED = "deactivated"
    """An operator switched it off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """A coming or going; each is written once, whoever notices it. `reason` is a Sign or a Parting."""

    device_uuid: str
    is_online: bool
    at: datetime
    reason: str
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a device stands; times are aware, None is never."""

    is_online: bool
    seen_at: datetime | None
    lease_until: datetime | None
    changed_at: datetime | None
    source: str
    epoch: int


class Journal(Protocol):
    """Notes transitions for somebody else: events, audit, alerts."""

    async def note(self, db: Any, transitions: Sequence[Transition]) -> None:
        """Note them in the transaction of `db`: with the transition, or not at all. An error undoes both."""
        ...

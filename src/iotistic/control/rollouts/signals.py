"""What a rollout asks of others, besides devices' reports. Whoever wires it passes implementations."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from iotistic.control.devices.repository import Database


class HealthSource(Protocol):
    """Knows of devices that are not well: anomalies, gaps of the ledger, probes, jobs."""

    name: str

    async def unwell(self, devices: Sequence[UUID], since: datetime) -> Mapping[UUID, str]:
        """Return what is wrong with those of these devices that became unwell since then, in words."""
        ...


class TagSource(Protocol):
    """Knows the tags of devices."""

    async def tagged(self, tags: Mapping[str, str]) -> Collection[UUID]:
        """Return the devices that have all of these tags."""
        ...


class ImageSizes(Protocol):
    """Knows how large images are."""

    async def sizes(self, images: Collection[str]) -> Mapping[str, int]:
        """Return the bytes to download of those that are known, by the names given."""
        ...


class Announcer(Protocol):
    """Tells devices that there is a new target; that it fails costs a device nothing but its next poll."""

    async def announce(self, uuid: str, version: int, etag: str) -> None:
        """Tell a device."""
        ...


class DecisionKind(StrEnum):
    """What was decided."""

    REFUSED = "refused"
    STOPPED = "stopped"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Something was not done, stopped or taken back, and why. Without a device it is about the whole rollout."""

    kind: DecisionKind
    at: datetime
    rollout_id: UUID
    device_uuid: UUID | None = None
    code: str
    reason: str
    by: str = "rollout"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Decisions(Protocol):
    """Where decisions are written down."""

    async def record(self, db: Database, decisions: Sequence[Decision]) -> None:
        """Write them in the transaction in which they take effect."""
        ...


class NoDecisions:
    """Writes nothing down."""

    async def record(self, db: Database, decisions: Sequence[Decision]) -> None:
        """Do nothing."""


class NoSizes:
    """Knows no image."""

    async def sizes(self, images: Collection[str]) -> Mapping[str, int]:  # noqa: ARG002  the port's signature
        """Return nothing."""
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Everybody whom a rollout asks or tells."""

    announcer: Announcer | None = None
    health: tuple[HealthSource, ...] = ()
    tags: TagSource | None = None
    sizes: ImageSizes = field(default_factory=NoSizes)
    decisions: Decisions = field(default_factory=NoDecisions)

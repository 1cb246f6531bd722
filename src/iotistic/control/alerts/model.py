"""What rules, alerts, silences and targets are, and why something is refused."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from iotistic.control.alerts.conditions import Definition, Severity, Stream
from iotistic.kernel.errors import Conflict, Invalid, NotFound

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class RuleUnknown(NotFound):
    """There is no such rule."""

    code = "alerts.rule_unknown"


class RuleTaken(Conflict):
    """Another rule has this name."""

    code = "alerts.rule_taken"


class AlertUnknown(NotFound):
    """There is no such alert."""

    code = "alerts.alert_unknown"


class AlertOver(Conflict):
    """The alert is resolved already, or has not fired."""

    code = "alerts.alert_over"


class SilenceUnknown(NotFound):
    """There is no such silence."""

    code = "alerts.silence_unknown"


class SilenceInvalid(Invalid):
    """A silence names a rule or a device, and ends after it begins and within a year."""

    code = "alerts.silence_invalid"


class TargetUnknown(NotFound):
    """There is no such target."""

    code = "alerts.target_unknown"


class TargetTaken(Conflict):
    """Another target has this name."""

    code = "alerts.target_taken"


class DeliveryUnknown(NotFound):
    """There is no such delivery."""

    code = "alerts.delivery_unknown"


class DeliveryNotOver(Conflict):
    """The delivery is still being tried."""

    code = "alerts.delivery_not_over"


class NoSecret(Invalid):
    """Only webhooks have a signing secret."""

    code = "alerts.no_secret"


class NotKept(Invalid):
    """What this condition is about is not kept, so it cannot be tried on the past."""

    code = "alerts.not_kept"


class RangeInvalid(Invalid):
    """The range ends before it begins, or is longer than can be tried at once."""

    code = "alerts.range_invalid"


class TagsUnavailable(Invalid):
    """Devices cannot be selected by tags here."""

    code = "alerts.tags_unavailable"


class LogsUnavailable(Invalid):
    """No logs of devices are kept here."""

    code = "alerts.logs_unavailable"


class AlertState(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


class Event(StrEnum):
    """What is told."""

    FIRING = "alert.firing"
    RESOLVED = "alert.resolved"
    TEST = "alert.test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule as it is kept."""

    id: UUID
    name: str
    severity: Severity
    definition: Definition
    targets: tuple[UUID, ...]
    is_enabled: bool
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    evaluated_until: datetime | None = None
    fault: str = ""

    @property
    def stream(self) -> Stream:
        """What is judged."""
        return self.definition.stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How far a rule is evaluated."""

    rule: Rule
    started_at: datetime
    evaluated_until: datetime
    log_cursor: str | None


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about."""

    key: str
    device_uuid: UUID | None = None
    device_name: str = ""
    metric: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """An alert as it is kept; `since`, `fired_at` and `resolved_at` are times of the data."""

    id: UUID
    rule_id: UUID | None
    rule_name: str
    severity: Severity
    fingerprint: str
    subject: str
    device_uuid: UUID | None
    device_name: str
    metric: str
    state: AlertState
    value: float | None
    since: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    resolved_reason: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    is_late: bool
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """When what is raised by a rule, for a device, or both is told nobody."""

    id: UUID
    rule_id: UUID | None
    device_uuid: UUID | None
    starts_at: datetime
    until: datetime
    comment: str
    created_by: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Who is told."""

    id: UUID
    name: str
    channel: dict[str, Any]
    least_severity: Severity
    is_enabled: bool
    secret_generation: int
    former_secret_until: datetime | None
    failures: int
    resting_until: datetime | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message to one target; `id` is the same for every attempt."""

    id: UUID
    target_id: UUID
    alert_id: UUID | None
    event: Event
    payload: str = field(repr=False)
    state: str
    attempts: int
    due_at: datetime
    last_fault: str
    created_at: datetime
    ended_at: datetime | None


class Database(Protocol):
    """A connection or a pool."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Any:
        """Return the first row or None."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        ...

    async def executemany(self, command: str, args: Any) -> None:
        """Run a statement for each set of arguments."""
        ...


def fingerprint(rule_id: UUID, subject: str) -> str:
    """Return what tells alerts apart: at most one of a fingerprint is open."""
    return hashlib.sha256(f"{rule_id}\n{subject}".encode()).hexdigest()


def to_us(at: datetime) -> int:
    """Return microseconds since the epoch."""
    return (at - _EPOCH) // _US


def from_us(at_us: int) -> datetime:
    """Return the time, aware."""
    return _EPOCH + timedelta(microseconds=at_us)


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)

"""Shapes of /audit and /events."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from iotistic.control.audit.model import Head
from iotistic.control.audit.port import Severity
from iotistic.control.audit.replay import Change, DeviceState, Happened
from iotistic.control.audit.stream import Replayed, Wanted

_MOST = 500
_Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class _Asked(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class SearchQuery(_Asked):
    """What to look for; lists are separated by commas."""

    device_uuid: UUID | None = None
    event_types: _Text | None = None
    aggregate_types: _Text | None = None
    date_from: AwareDatetime | None = None
    date_to: AwareDatetime | None = None
    severity: Severity | None = None
    actor_type: _Text | None = None
    actor_id: _Text | None = None
    correlation_id: _Text | None = None
    limit: int = Field(default=100, ge=1, le=_MOST)
    offset: int = Field(default=0, ge=0, le=100_000)

    def wanted(self, source: str | None = None) -> Wanted:
        """Return it as the stream takes it."""
        return Wanted(
            device=self.device_uuid,
            kinds=listed(self.event_types),
            aggregates=listed(self.aggregate_types),
            start=self.date_from,
            end=self.date_to,
            severity=self.severity,
            actor_type=self.actor_type,
            actor_id=self.actor_id,
            correlation_id=self.correlation_id,
            source=source,
        )


class DeviceEventsQuery(_Asked):
    """Which events of a device; `sinceEventId` is the id of the last one seen: what came after it follows in order."""

    limit: int = Field(default=100, ge=1, le=_MOST)
    since_event_id: int | None = Field(default=None, ge=0, le=2**63 - 1)
    event_type: _Text | None = None


class Bucket(Enum):
    """How finely events are counted over time."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def length(self) -> timedelta:
        """It as a length of time."""
        return {
            Bucket.MINUTE: timedelta(minutes=1),
            Bucket.HOUR: timedelta(hours=1),
            Bucket.DAY: timedelta(days=1),
            Bucket.WEEK: timedelta(days=7),
        }[self]


class AggregateQuery(_Asked):
    """Which stretch of time is counted, and how finely."""

    period: Bucket = Bucket.HOUR
    date_from: AwareDatetime | None = None
    date_to: AwareDatetime | None = None


class Period(_Asked):
    """A stretch of time."""

    from_time: AwareDatetime
    to_time: AwareDatetime


class Moment(_Asked):
    """A time."""

    timestamp: AwareDatetime


class TwoMoments(_Asked):
    """Two times, the earlier first."""

    time1: AwareDatetime
    time2: AwareDatetime


def listed(text: str | None) -> list[str]:
    """Return the parts between commas."""
    return [part for part in (piece.strip() for piece in (text or "").split(",")) if part]


class EventRow(BaseModel):
    """An event or an audit entry (`source` is `audit`)."""

    id: int
    event_id: UUID
    timestamp: datetime
    event_type: str
    event_version: int
    aggregate_type: str
    aggregate_id: str
    device_uuid: UUID | None
    data: dict[str, Any]
    metadata: dict[str, Any]
    correlation_id: str
    causation_id: UUID | None
    source: str
    actor_type: str
    actor_id: str
    severity: Severity

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "EventRow":
        """Show a row."""
        return cls(timestamp=row["at"], **{name: value for name, value in row.items() if name != "at"})


class EventPage(BaseModel):
    """Events; `last_event_id` is where to go on with `sinceEventId`."""

    count: int
    events: list[EventRow]
    last_event_id: int | None

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> "EventPage":
        """Show rows."""
        last = max((row["id"] for row in rows), default=None)
        return cls(count=len(rows), events=[EventRow.of(row) for row in rows], last_event_id=last)


class CountRow(BaseModel):
    """How many there are of something."""

    bucket: datetime | None = None
    event_type: str | None = None
    severity: Severity | None = None
    source: str | None = None
    count: int


class Counts(BaseModel):
    """Numbers of events."""

    total: int
    counts: list[CountRow]

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> "Counts":
        """Show rows."""
        return cls(total=sum(row["count"] for row in rows), counts=[CountRow(**row) for row in rows])


class ReplayedEvent(BaseModel):
    """An event of a replay."""

    id: int
    event_id: UUID
    timestamp: datetime
    event_type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Happened) -> "ReplayedEvent":
        """Show an event."""
        return cls(
            id=event.id, event_id=UUID(event.event_id), timestamp=event.at, event_type=event.kind, data=dict(event.data)
        )  # fmt: skip


class ReplayAnswer(BaseModel):
    """A stretch of a device's life, and the state at its end; `is_cut` when it had more than 10,000 events."""

    events_replayed: int
    final_state: dict[str, Any]
    errors: list[str]
    events: list[ReplayedEvent]
    is_cut: bool

    @classmethod
    def of(cls, replayed: Replayed) -> "ReplayAnswer":
        """Show a replay."""
        return cls(
            events_replayed=len(replayed.events),
            final_state=dict(replayed.state.parts),
            errors=replayed.state.errors,
            events=[ReplayedEvent.of(event) for event in replayed.events],
            is_cut=replayed.is_cut,
        )


class SnapshotAnswer(BaseModel):
    """The state of a device at a time."""

    timestamp: datetime
    state: dict[str, Any]
    errors: list[str]

    @classmethod
    def of(cls, at: datetime, state: DeviceState) -> "SnapshotAnswer":
        """Show a state."""
        return cls(timestamp=at, state=dict(state.parts), errors=state.errors)


class ChangeRow(BaseModel):
    """A field that differs, and the events that told of it."""

    field: str
    old: Any
    new: Any
    events: list[str]

    @classmethod
    def of(cls, change: Change) -> "ChangeRow":
        """Show a change."""
        return cls(**asdict(change))


class CompareAnswer(BaseModel):
    """Two states of a device and what differs."""

    snapshots: list[SnapshotAnswer]
    changes: list[ChangeRow]


class HeadAnswer(BaseModel):
    """The end of the audit chain: what to write down elsewhere."""

    position: int
    hash: str
    anchor: str

    @classmethod
    def of(cls, head: Head) -> "HeadAnswer":
        """Show an end."""
        return cls(position=head.position, hash=head.hash.hex(), anchor=str(head))


SearchParameters = Annotated[SearchQuery, Query()]
DeviceEventsParameters = Annotated[DeviceEventsQuery, Query()]
AggregateParameters = Annotated[AggregateQuery, Query()]

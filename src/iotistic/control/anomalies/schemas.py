"""What /anomalies takes and gives; camelCase, as the other domains of the control plane."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from iotistic.control.anomalies.model import Anomaly
from iotistic.control.anomalies.series_rows import StreamStanding
from iotistic.detection.events import Severity
from iotistic.detection.feedback import Verdict

Moment = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC)),
]


class Shape(BaseModel):
    """Names in camelCase on the wire; snake_case is read too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Context(Shape):
    """What was known around it."""

    recent_values: list[float] = Field(description="Up to the value, the oldest first.")
    baseline: float
    trend: str
    window_size: int = Field(description="Values that had been learned from.")


class Feedback(Shape):
    """What somebody says of an anomaly: `expected` (it happens now and then) or `wrong` (there was nothing)."""

    verdict: Verdict


class Judged(Shape):
    """A verdict, and how far it has come."""

    verdict: Verdict
    at: datetime
    by: str
    state: Literal["waiting", "sent", "learned"] = Field(
        description="Whether whoever watches has it: `sent` stands in the device's target."
    )


class AnomalyRow(Shape):
    """One anomaly: unusual values on one side of what is usual, counted. Shown is the worst."""

    id: UUID
    name: str = Field(description="The id that the device knows it by.")
    device_uuid: UUID
    device_name: str
    origin: Literal["agent", "stream"]
    source: Literal["system", "sensor", "container"]
    metric: str
    severity: Severity
    value: float
    unit: str
    expected_range: tuple[float, float]
    deviation: float
    detection_method: str
    confidence: float
    context: Context
    fingerprint: str
    count: int
    first_at: datetime
    last_at: datetime
    is_restamped: bool = Field(description="The device's clock could not be believed.")
    is_simulated: bool
    feedback: Judged | None
    received_at: datetime

    @classmethod
    def of(cls, one: Anomaly) -> Self:
        """Return the shape of an anomaly."""
        judged: dict[str, Any] = {"verdict": one.verdict, "at": one.judged_at, "by": one.judged_by}
        same = cls.model_fields.keys() - {"expected_range", "detection_method", "context", "feedback"}
        return cls(
            **{name: getattr(one, name) for name in same},
            expected_range=(one.expected_low, one.expected_high),
            detection_method=one.method,
            context=Context(
                recent_values=list(one.recent),
                baseline=one.baseline,
                trend=one.trend,
                window_size=one.samples,
            ),
            feedback=Judged(**judged, state=one.verdict_state) if one.verdict else None,  # pyright: ignore[reportArgumentType]  checked as it is read
        )


class AnomalyPage(Shape):
    """Anomalies, those that began last first; `next` is `before` of the page after it."""

    items: list[AnomalyRow]
    next: str | None


class Count(Shape):
    """How many there are of a kind; `verdict` is `none` where nobody has said anything."""

    metric: str
    severity: Severity
    origin: Literal["agent", "stream"]
    verdict: Literal["none", "expected", "wrong"]
    anomalies: int


class StreamStatus(Shape):
    """How the watch over stored readings stands."""

    mode: Literal["on", "off", "devices-without-agent"]
    looked_at: datetime | None = Field(description="When it looked last; never, if null.")
    watching: int
    learning: int
    unwatched: int = Field(description="Series that may be watched and are not: silent, or without room.")
    readings: int
    behind_s: float

    @classmethod
    def of(cls, one: StreamStanding) -> Self:
        """Return the shape of a standing."""
        return cls.model_validate({name: getattr(one, name) for name in cls.model_fields})


class SeriesRow(Shape):
    """A watched series, as it was saved last."""

    device_uuid: UUID
    device_name: str
    metric: str
    status: Literal["learning", "watching"]
    seen: int
    value: float | None
    baseline: float | None
    read_until: datetime
    saved_at: datetime

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the shape of a row."""
        same = cls.model_fields.keys() - {"status"}
        return cls(
            **{name: row[name] for name in same}, status="learning" if row["is_learning"] else "watching"
        )


class SeriesPage(Shape):
    """Watched series; `next` is `after` of the page after it."""

    items: list[SeriesRow]
    next: str | None

"""What /alerts takes and gives; camelCase, as the other domains of the control plane."""

import math
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, field_validator

from iotistic.control.alerts.backtest import Outcome, Raised
from iotistic.control.alerts.conditions import Definition, RuleSpec, Severity, Shape, Text
from iotistic.control.alerts.model import Alert, Delivery, Rule, Silence, Target, from_us

_MOST_SHOWN = 1000
_ADDRESS = r"^[^\s@<>,;:\"\\]{1,64}@[A-Za-z0-9.-]{1,190}$"


Moment = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC)),
]
"""A time that no sum carries over the end of all times."""


class RuleRow(RuleSpec):
    """A rule as it stands."""

    id: UUID
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    evaluated_until: datetime | None = Field(description="Up to when readings are judged.")
    fault: str = Field(description="Why it could not be evaluated the last time; empty when it could.")

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Return the shape of a rule."""
        definition = rule.definition
        return cls(
            **{name: getattr(definition, name) for name in Definition.model_fields},
            **{name: getattr(rule, name) for name in cls.model_fields if name not in Definition.model_fields},
        )

    @field_validator("targets", mode="before")
    @classmethod
    def _as_list(cls, targets: object) -> object:
        return list(targets) if isinstance(targets, tuple) else targets  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


class AlertRow(Shape):
    """An alert; `since`, `firedAt` and `resolvedAt` are times of the data."""

    id: UUID
    rule_id: UUID | None
    rule_name: str
    severity: Severity
    state: Literal["pending", "firing", "acknowledged", "silenced", "resolved"]
    fingerprint: str
    device_uuid: UUID | None
    device_name: str
    metric: str
    value: float | None
    since: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    resolved_reason: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    is_late: bool
    created_at: datetime

    @classmethod
    def of(cls, alert: Alert) -> Self:
        """Return the shape of an alert."""
        values: dict[str, Any] = {name: getattr(alert, name) for name in cls.model_fields}
        values |= {"state": alert.state.value, "value": _finite(alert.value)}
        return cls(**values)


class AlertPage(Shape):
    """Alerts, the newest first; `next` is the `before` of the following page."""

    items: list[AlertRow]
    next: str | None


class SilenceRequest(Shape):
    """What is to be told nobody, and until when."""

    rule_id: UUID | None = None
    device_uuid: UUID | None = None
    starts_at: Moment | None = None
    until: Moment
    comment: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] = ""


class SilenceRow(Shape):
    """A silence."""

    id: UUID
    rule_id: UUID | None
    device_uuid: UUID | None
    starts_at: datetime
    until: datetime
    comment: str
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, silence: Silence) -> Self:
        """Return the shape of a silence."""
        return cls(**{name: getattr(silence, name) for name in cls.model_fields})


class WebhookChannel(Shape):
    """A POST to an address; see the page on alerts for the signature."""

    kind: Literal["webhook"]
    url: Annotated[str, StringConstraints(min_length=8, max_length=2000, pattern=r"^[\x21-\x7e]+$")]


class MailChannel(Shape):
    """A mail to each address."""

    kind: Literal["mail"]
    addresses: list[Annotated[str, StringConstraints(pattern=_ADDRESS)]] = Field(min_length=1, max_length=20)


class TargetRequest(Shape):
    """Somebody who is told."""

    name: Text
    channel: Annotated[WebhookChannel | MailChannel, Field(discriminator="kind")]
    least_severity: Severity = Field(Severity.INFO, description="Less severe alerts are not told.")
    is_enabled: bool = True


class TargetRow(TargetRequest):
    """A target as it stands."""

    id: UUID
    failures: int = Field(description="Failures in a row.")
    resting_until: datetime | None
    former_secret_until: datetime | None
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, target: Target, **more: Any) -> Self:
        """Return the shape of a target."""
        known = {name: getattr(target, name) for name in cls.model_fields if hasattr(target, name)}
        return cls(**(known | more))


class TargetWithSecret(TargetRow):
    """A webhook with its signing secret, which is in this answer and nowhere else; null for mail."""

    secret: str | None


class DeliveryRow(Shape):
    """A message; `id` is the one that receivers see."""

    id: UUID
    target_id: UUID
    alert_id: UUID | None
    event: str
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    due_at: datetime
    last_fault: str
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return the shape of a delivery."""
        return cls(**{name: getattr(delivery, name) for name in cls.model_fields})


class DeliveryPage(Shape):
    """Messages, the newest first; `next` is the `before` of the following page."""

    items: list[DeliveryRow]
    next: str | None


class BacktestRequest(Shape):
    """A rule that is not kept, and the range of the past that it is tried on."""

    rule: RuleSpec
    start: Moment
    end: Moment


class RaisedRow(Shape):
    """An alert that would have been raised; `resolvedAt` is null when it would still be open."""

    subject: str
    device_uuid: UUID | None
    device_name: str
    since: datetime
    fired_at: datetime
    resolved_at: datetime | None
    duration_s: float
    value: float | None

    @classmethod
    def of(cls, raised: Raised, until: datetime) -> Self:
        """Return the shape of an alert of a backtest."""
        subject, episode = raised.subject, raised.episode
        return cls(
            subject=subject.key,
            device_uuid=subject.device_uuid,
            device_name=subject.device_name,
            since=from_us(episode.fired.since_us),
            fired_at=from_us(episode.fired.at_us),
            resolved_at=from_us(episode.ended.at_us) if episode.ended else None,
            duration_s=raised.duration_s(until),
            value=_finite(episode.fired.value),
        )


class BacktestDurations(Shape):
    """How long the alerts would have been open, in seconds."""

    total: float
    median: float
    longest: float


class BacktestCost(Shape):
    """What it took to know."""

    series: int
    readings: int
    seconds: float


class BacktestAnswer(Shape):
    """What a rule would have said."""

    total: int
    alerts: list[RaisedRow] = Field(description=f"The first {_MOST_SHOWN}.")
    per_day: dict[date, int]
    durations_s: BacktestDurations | None
    is_complete: bool = Field(description="Whether all of the range was judged within the bounds of cost.")
    until: datetime = Field(description="Up to when the answer holds.")
    kept_from: datetime | None = Field(description="Before that, readings are not kept any more.")
    cost: BacktestCost

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Return the shape of an outcome."""
        durations = outcome.durations_s()
        return cls(
            total=len(outcome.raised),
            alerts=[RaisedRow.of(one, outcome.until) for one in outcome.raised[:_MOST_SHOWN]],
            per_day=outcome.per_day(),
            durations_s=BacktestDurations(**durations) if durations else None,
            is_complete=outcome.is_complete,
            until=outcome.until,
            kept_from=outcome.kept_from,
            cost=BacktestCost(series=outcome.series, readings=outcome.readings, seconds=outcome.seconds),
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""What a rule can ask: a condition of one of ten types, devices, and for how long.

Every type has fields of its own, so a mistake is answered by the field that has it.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

_DAY_S = 86_400.0
_WEEK_S = 7 * _DAY_S
MOST_UNBOUNDED = 2
"""Repeats in a regular expression: with two and lines of 500 characters, the worst line takes a third of a second."""
_NOT_LOOKED_INTO = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\d*\}")
_OF_A_GROUP = re.compile(r"\)(?:[*+]|\{)")

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Hysteresis = Annotated[float, Field(default=0.0, ge=0, allow_inf_nan=False)]


class Shape(BaseModel):
    """Names in camelCase on the wire; snake_case is read too."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class Stream(StrEnum):
    """What is judged."""

    TELEMETRY = "telemetry"
    LOGS = "logs"
    DEVICES = "devices"


class _Limits(Shape):
    above: Finite | None = Field(None, description="Too high from here on (the value itself is not).")
    below: Finite | None = Field(None, validate_default=True)
    hysteresis: Hysteresis = Field(
        0.0, description="How far a value must come back before the condition ends."
    )

    @field_validator("below")
    @classmethod
    def _one_of_both(cls, below: float | None, info: ValidationInfo) -> float | None:
        above = info.data.get("above")
        if below is None and above is None and "above" in info.data:
            raise ValueError("give `above`, `below` or both")
        if below is not None and above is not None and below >= above:
            raise ValueError("`below` must be less than `above`")
        return below


class Threshold(_Limits):
    """A value is too high or too low."""

    type: Literal["threshold"]
    metric: Text


class RateOfChange(Shape):
    """A value has changed by too much within a window, against the oldest value in it."""

    type: Literal["rate_of_change"]
    metric: Text
    window_s: float = Field(gt=0, le=3600)
    rises_by: Amount | None = None
    falls_by: Amount | None = Field(None, validate_default=True)
    hysteresis: Hysteresis = 0.0

    @field_validator("falls_by")
    @classmethod
    def _one_of_both(cls, falls_by: float | None, info: ValidationInfo) -> float | None:
        if falls_by is None and info.data.get("rises_by") is None and "rises_by" in info.data:
            raise ValueError("give `risesBy`, `fallsBy` or both")
        return falls_by


class NoData(Shape):
    """A series that was seen before is silent."""

    type: Literal["no_data"]
    metric: Text
    after_s: float = Field(ge=5, le=_WEEK_S)


class Anomaly(Shape):
    """A value is unusual for its series; see the page on detection."""

    type: Literal["anomaly"]
    metric: Text
    score: float = Field(0.055, gt=0, le=1, description="Alert score that opens it.")
    ends_below: float = Field(0.135, gt=0, le=26, description="Raw score below which it ends.")


class Pattern(Shape):
    """What a line must hold (`keyword`, any case), be (`exact`) or match (`regex`)."""

    kind: Literal["keyword", "exact", "regex"] = "keyword"
    text: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]

    @field_validator("text")
    @classmethod
    def _can_be_matched(cls, text: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "regex":
            _check_regex(text)
        return text


def _check_regex(text: str) -> None:
    """Refuse what takes time beyond measure on some line; ValueError says why."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ValueError(f"this is no regular expression: {exc}") from exc
    plain = _NOT_LOOKED_INTO.sub("x", text)
    if re.search(r"\\[1-9]", text) or re.search(r"\(\?(?!:)", plain):
        raise ValueError("groups are plain here: no look-around, back-references or flags")
    if _OF_A_GROUP.search(plain):
        raise ValueError("a group cannot be repeated: some lines would take hours to judge")
    if len(_UNBOUNDED.findall(plain)) > MOST_UNBOUNDED:
        raise ValueError(f"at most {MOST_UNBOUNDED} of *, + and {{n,m}}: more take too long on some lines")


class _Lines(Shape):
    service: Text | None = Field(None, description="Lines of this service only.")
    level: Literal["debug", "info", "warn", "error"] | None = Field(None, description="This level only.")


class LogPattern(_Lines):
    """A line came; it is over after `quietS` seconds without another."""

    type: Literal["log_pattern"]
    match: Pattern
    quiet_s: float = Field(300.0, gt=0, le=_DAY_S)


class LogCount(_Lines):
    """Lines came `count` times within a window."""

    type: Literal["log_count"]
    match: Pattern
    count: int = Field(ge=1, le=1000)
    window_s: float = Field(gt=0, le=_DAY_S)


class LogSequence(_Lines):
    """Lines came in this order within some time; others may stand between them."""

    type: Literal["log_sequence"]
    steps: list[Pattern] = Field(min_length=2, max_length=5)
    within_s: float = Field(gt=0, le=_DAY_S)


class DeviceOffline(Shape):
    """A device has not been heard of."""

    type: Literal["device_offline"]
    after_s: float = Field(ge=5, le=_WEEK_S)


class ServiceNotRunning(Shape):
    """A service that a device reports does not run; without a name, any of them."""

    type: Literal["service_not_running"]
    service: Text | None = None


class ReportedValue(_Limits):
    """A number in a device's report is too high or too low."""

    type: Literal["reported_value"]
    field: Text = Field(description="Name of the field, as in `cpu_usage`.")


class AnomalyFound(Shape):
    """An anomaly is told by an agent, or found in stored readings; it is over after `quietS` without more of it.

    One that somebody has judged counts no more.
    """

    type: Literal["anomaly_found"]
    metric: Text | None = Field(None, description="This metric only; may have `*` and `?`.")
    least_severity: Literal["info", "warning", "critical"] = "warning"
    origin: Literal["any", "agent", "stream"] = "any"
    quiet_s: float = Field(600.0, ge=10, le=_DAY_S)


TelemetryCondition = Threshold | RateOfChange | NoData | Anomaly
LogCondition = LogPattern | LogCount | LogSequence
DeviceCondition = DeviceOffline | ServiceNotRunning | ReportedValue | AnomalyFound
Condition = Annotated[TelemetryCondition | LogCondition | DeviceCondition, Field(discriminator="type")]
_LASTING = Threshold | RateOfChange | Anomaly | ServiceNotRunning | ReportedValue


class Selection(Shape):
    """Which devices; every part that is given must hold, and none means all."""

    devices: list[Text] = Field(
        default_factory=list, max_length=1000, description="Each a uuid, MAC or external key."
    )
    fleet: Text | None = None
    tags: dict[Text, Text] = Field(default_factory=dict, max_length=20)


class Definition(Shape):
    """What is judged."""

    condition: Condition
    selection: Selection = Selection()
    for_s: float = Field(0.0, ge=0, le=_WEEK_S, description="Seconds that the condition must hold.")

    @field_validator("for_s")
    @classmethod
    def _has_a_meaning(cls, for_s: float, info: ValidationInfo) -> float:
        condition = info.data.get("condition")
        if for_s and condition is not None and not isinstance(condition, _LASTING):
            raise ValueError(f"{condition.type} has its own times")
        return for_s

    @property
    def stream(self) -> Stream:
        """What the condition is about."""
        match self.condition:
            case Threshold() | RateOfChange() | NoData() | Anomaly():
                return Stream.TELEMETRY
            case LogPattern() | LogCount() | LogSequence():
                return Stream.LOGS
            case _:
                return Stream.DEVICES

    @property
    def metric(self) -> str:
        """Name of what is measured, as an alert shows it."""
        match self.condition:
            case Threshold() | RateOfChange() | NoData() | Anomaly() as one:
                return one.metric
            case ReportedValue() as one:
                return one.field
            case ServiceNotRunning() as one:
                return one.service or ""
            case AnomalyFound() as one:
                return one.metric or ""
            case _:
                return ""

    def write(self) -> str:
        """Return it as the JSON text that is kept."""
        return self.model_dump_json()

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what was kept."""
        return cls.model_validate_json(text)


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def reaches(self, least: "Severity") -> bool:
        """Say whether this is as bad as `least`, or worse."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


class RuleSpec(Definition):
    """A rule, as people write it."""

    name: Text
    severity: Severity = Severity.WARNING
    is_enabled: bool = True
    targets: list[UUID] = Field(default_factory=list[UUID], max_length=20)

    @property
    def definition(self) -> Definition:
        """What is judged, apart from name and consequences."""
        return Definition(condition=self.condition, selection=self.selection, for_s=self.for_s)


def patterns_of(condition: LogCondition) -> Sequence[Pattern]:
    """Return the patterns in the order in which the evaluator wants their matches."""
    return condition.steps if isinstance(condition, LogSequence) else [condition.match]

"""What a rollout keeps to: waves, pace, when, how long, and when to stop. Pure.

Written as JSON beside the rollout; a policy that cannot be read is refused with every fault before it begins.
"""

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic.alias_generators import to_camel

_MOST_PERCENT = 100
_MOST_WAVES = 20
_DAY = timedelta(days=1)
_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Weekday(StrEnum):
    """As dates count them: Monday is the first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK = tuple(Weekday)


class Window(_Shape):
    """When devices may begin: between two times of day in a zone. `until` before `from` is past midnight."""

    from_: Annotated[str, StringConstraints(pattern=_CLOCK)] = Field(alias="from", examples=["22:00"])
    until: Annotated[str, StringConstraints(pattern=_CLOCK)] = Field(examples=["05:00"])
    zone: Annotated[str, StringConstraints(max_length=64)] = "UTC"
    days: tuple[Weekday, ...] = _WEEK
    """Days on which it opens."""

    @field_validator("zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError("is no time zone that is known here, such as Europe/Vienna") from exc
        return value

    @model_validator(mode="after")
    def _opens_some_time(self) -> "Window":
        if self.from_ == self.until or not self.days:
            raise ValueError("the window never opens")
        return self

    def is_open(self, now: datetime) -> bool:
        """Say whether devices may begin at a moment."""
        local = now.astimezone(ZoneInfo(self.zone))
        today, at = _WEEK[local.weekday()], local.time().replace(tzinfo=None)
        opens, closes = time.fromisoformat(self.from_), time.fromisoformat(self.until)
        if opens < closes:
            return today in self.days and opens <= at < closes
        yesterday = _WEEK[(local.weekday() - 1) % len(_WEEK)]
        return (at >= opens and today in self.days) or (at < closes and yesterday in self.days)

    def opens_at(self, now: datetime) -> datetime:
        """Return when it is open next: now, if it is open."""
        if self.is_open(now):
            return now
        zone, opens = ZoneInfo(self.zone), time.fromisoformat(self.from_)
        first = now.astimezone(zone).date()
        for ahead in range(len(_WEEK) + 1):
            day = first + ahead * _DAY
            # Through UTC and back: an hour that a clock leaves out opens when it is over.
            at = datetime.combine(day, opens, zone).astimezone(UTC)
            if at > now and _WEEK[day.weekday()] in self.days:
                return at
        return now + _DAY


class OnHalt(StrEnum):
    """What a rollout does once a rule has stopped it."""

    HOLD = "hold"
    """Nothing: somebody decides."""
    ROLL_BACK = "roll_back"
    """Give each device the version that it had."""


class HaltRules(_Shape):
    """When a rollout stops by itself."""

    max_failures: int | None = Field(default=None, ge=0)
    """Most parts that may fail."""
    max_failure_percent: float = Field(default=20.0, ge=0, le=100)
    """Most percent of the parts that have ended which may have failed: looked at from `min_ended` on, and at
    the end of each wave whatever its size."""
    min_ended: int = Field(default=5, ge=1)
    sequential: bool = True
    """Whether updated devices are compared with those that wait (see `sequential`)."""
    false_halt_rate: float = Field(default=0.01, gt=0, lt=0.5)
    """Most often that the comparison may stop a rollout that does no harm."""
    tolerated_percent: float = Field(default=2.0, gt=0, lt=100)
    """Percent of failing devices that is nothing to stop for, whatever the others do."""


class HealthRules(_Shape):
    """From when on a device counts as failing."""

    failed_fetches: int = Field(default=3, ge=1)
    failed_starts: int = Field(default=2, ge=1)
    crashes: int = Field(default=2, ge=1)
    """Of one service, in the update."""


class Policy(_Shape):
    """How a rollout goes about it."""

    waves: tuple[Annotated[float, Field(gt=0, le=_MOST_PERCENT)], ...] = (1, 10, 50, 100)
    """Percent of the devices that have begun at the end of each wave; each wave has one device at least."""
    rate_per_minute: int | None = Field(default=None, ge=1)
    """Most devices that begin within a minute."""
    windows: tuple[Window, ...] = ()
    """When devices may begin; without any, always."""
    start_at: datetime | None = None
    """Not before."""
    update_within_s: float = Field(default=3600.0, ge=1, le=30 * 86400)
    """Seconds that a device has to get there."""
    watch_s: float = Field(default=300.0, ge=0, le=7 * 86400)
    """Seconds that its health is watched then, before it counts as succeeded."""
    soak_s: float = Field(default=0.0, ge=0, le=7 * 86400)
    """Seconds between a wave and the next."""
    ends_after_s: float = Field(default=7 * 86400, ge=1, le=90 * 86400)
    """Seconds after which devices that still wait are given up, whatever holds them up."""
    on_halt: OnHalt = OnHalt.ROLL_BACK
    halt: HaltRules = HaltRules()
    health: HealthRules = HealthRules()

    @field_validator("waves")
    @classmethod
    def _rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not 1 <= len(value) <= _MOST_WAVES:
            raise ValueError(f"there are 1 to {_MOST_WAVES} waves")
        if list(value) != sorted(set(value)):
            raise ValueError("each wave has more percent than the one before")
        return value if value[-1] == _MOST_PERCENT else (*value, float(_MOST_PERCENT))

    @field_validator("start_at")
    @classmethod
    def _is_aware(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def may_begin_at(self, now: datetime) -> datetime:
        """Return when devices may begin next: now, if they may."""
        at = max(now, self.start_at or now)
        return min((window.opens_at(at) for window in self.windows), default=at)

    def write(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self.model_dump(mode="json", by_alias=True)


def assign_waves(devices: Sequence[UUID], percents: Sequence[float], salt: str) -> dict[UUID, int]:
    """Return each device's wave. Who comes first is by chance, the same for the same salt."""
    ordered = sorted(devices, key=lambda one: hashlib.sha256(f"{salt} {one}".encode()).digest())
    waves: dict[UUID, int] = {}
    taken = 0
    for wave, percent in enumerate(percents):
        upto = min(max(math.floor(len(ordered) * percent / 100), taken + 1), len(ordered))
        if wave == len(percents) - 1:
            upto = len(ordered)
        waves |= dict.fromkeys(ordered[taken:upto], wave)
        taken = upto
    return waves

"""What is told of an anomaly, read out of what a device reports. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, cast
from uuid import UUID

from iotistic.detection.events import Method, Severity, Trend
from iotistic.detection.feedback import Verdict
from iotistic.kernel.errors import Invalid, NotFound

MOST_IN_A_REPORT = 50
"""An agent sends ten."""
MOST_RECENT = 20
_MOST_COUNT = 2**53
_MOST_UNIT, _KEPT_UNIT = 64, 32
"""Characters of a unit that a sensor may have, and that are kept of it."""
_LARGEST = 1e300
_AHEAD = timedelta(days=1)
_BEGAN = datetime(2000, 1, 1, tzinfo=UTC)
_SOURCES = frozenset({"system", "sensor", "container"})


class AnomalyUnknown(NotFound):
    """There is no such anomaly; the oldest are forgotten."""

    code = "anomalies.unknown"


class CursorInvalid(Invalid):
    """`before` is not one that a page gave as `next`."""

    code = "anomalies.cursor_invalid"


class Origin(StrEnum):
    """Who found it."""

    AGENT = "agent"
    STREAM = "stream"


class VerdictState(StrEnum):
    """How far a verdict has come."""

    WAITING = "waiting"
    SENT = "sent"
    LEARNED = "learned"


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An anomaly as somebody tells it; times are aware."""

    name: str
    fingerprint: str
    source: str
    metric: str
    unit: str
    severity: str
    method: str
    trend: str
    value: float
    expected_low: float
    expected_high: float
    baseline: float
    deviation: float
    confidence: float
    recent: tuple[float, ...]
    samples: int
    count: int
    first_at: datetime
    last_at: datetime
    is_restamped: bool = False
    is_simulated: bool = False
    verdict: str | None = None
    series_device_id: int | None = None
    series_datapoint_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Anomaly(Told):
    """An anomaly as it is kept."""

    id: UUID
    device_uuid: UUID
    device_name: str
    origin: str
    judged_at: datetime | None
    judged_by: str | None
    verdict_state: str | None
    received_at: datetime
    heard_at: datetime


def read_told(document: object, now: datetime) -> Told:
    """Return what a device says of an anomaly. Raises ValueError naming what is wrong with it."""
    if not isinstance(document, Mapping):
        raise ValueError("is no object")  # noqa: TRY004  to whoever reads a report it is a value
    said = cast("Mapping[str, Any]", document)
    context: Mapping[str, Any] = _mapping(said.get("context"))
    first_at, last_at, is_restamped = _times(said, now)
    value = _number(said, "value")
    low, high = _range(said, value)
    return Told(
        name=_text(said, "id", most=100),
        fingerprint=_text(said, "fingerprint", most=64),
        source=_word(said, "source", _SOURCES),
        metric=_text(said, "metric", most=255),
        unit=_text(said, "unit", most=_MOST_UNIT, least=0)[:_KEPT_UNIT],
        severity=_word(said, "severity", frozenset(Severity)),
        method=_word(said, "detectionMethod", frozenset(Method)),
        trend=_word(context, "trend", frozenset(Trend), otherwise=Trend.STEADY),
        value=value,
        expected_low=low,
        expected_high=high,
        baseline=_number(context, "baseline", otherwise=(low + high) / 2),
        deviation=_number(said, "deviation"),
        confidence=min(max(_number(said, "confidence"), 0.0), 1.0),
        recent=_recent(context.get("recent_values")),
        samples=_whole(context, "windowSize", least=0, otherwise=0),
        count=_whole(said, "count", least=1, otherwise=1),
        first_at=first_at,
        last_at=last_at,
        is_restamped=is_restamped,
        is_simulated=said.get("simulation") is True,
        verdict=_verdict(said.get("feedback")),
    )


def _verdict(given: object) -> str | None:
    return given if isinstance(given, str) and given in frozenset(Verdict) else None


def _times(said: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime, bool]:
    """Return when it began and was seen last; now, where the device's clock cannot be believed."""
    first_at, last_at = _time(said, "timestamp"), _time(said, "lastSeen")
    if not _BEGAN <= first_at <= last_at <= now + _AHEAD:
        return now, now, True
    return first_at, last_at, False


def _time(said: Mapping[str, Any], name: str) -> datetime:
    try:
        at = datetime.fromisoformat(_text(said, name, most=40))
    except ValueError as exc:
        raise ValueError(f"{name} is no time") from exc
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _range(said: Mapping[str, Any], value: float) -> tuple[float, float]:
    given = said.get("expectedRange")
    ends = cast("list[object]", given) if isinstance(given, list) else []
    numbers = [number for end in ends if (number := _finite(end)) is not None]
    return (min(numbers), max(numbers)) if len(numbers) == len(ends) == 2 else (value, value)  # noqa: PLR2004  both ends


def _recent(given: object) -> tuple[float, ...]:
    listed = cast("list[object]", given) if isinstance(given, list) else []
    return tuple(number for one in listed[-MOST_RECENT:] if (number := _finite(one)) is not None)


def _text(said: Mapping[str, Any], name: str, *, most: int, least: int = 1) -> str:
    value = said.get(name, "" if least == 0 else None)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004  to whoever reads a report it is a value
    kept = value.replace("\0", "").encode("utf-8", "replace").decode()
    if not least <= len(kept) <= most:
        raise ValueError(f"{name} has {len(kept)} characters, not {least} to {most}")
    return kept


def _word(said: Mapping[str, Any], name: str, words: frozenset[Any], *, otherwise: str | None = None) -> str:
    value = said.get(name, otherwise)
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} is none of {', '.join(sorted(map(str, words)))}")
    return str(value)


def _number(said: Mapping[str, Any], name: str, *, otherwise: float | None = None) -> float:
    value = _finite(said.get(name, otherwise))
    if value is None:
        raise ValueError(f"{name} is no number")
    return value


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST else None  # not so of NaN either


def _whole(said: Mapping[str, Any], name: str, *, least: int, otherwise: int) -> int:
    value = said.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST_COUNT:
        raise ValueError(f"{name} is no count")
    return value


def _mapping(given: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}

"""What a report says of a machine. Pure: what is no figure is left out, whatever else stands there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import msgspec

from iotistic.kernel.errors import Invalid

_MOST_PROCESSES = 20
_MOST_NAME = 200
_PERCENT, _DEGREES, _BYTES, _SECONDS = (0.0, 100_000.0), (-300.0, 3000.0), (0.0, 2.0**62), (0.0, 1e12)
_LIMITS = {
    "cpu_usage": _PERCENT,
    "temperature": _DEGREES,
    "memory_usage": _BYTES,
    "memory_total": _BYTES,
    "storage_usage": _BYTES,
    "storage_total": _BYTES,
    "uptime": _SECONDS,
}
FIGURES = tuple(_LIMITS)
"""The names of figures, in the order of their columns."""
_WHOLE = FIGURES[2:]
# Names that some agents use for the same.
_ALSO = {"temperature": "cpu_temp"}

PERIODS = {
    "30min": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "12h": timedelta(hours=12),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
"""Stretches of time that charts show."""


class PeriodUnknown(Invalid):
    """There is no such period."""

    code = "metrics.period_unknown"


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one moment by FIGURES, None where nothing was told; processes as JSON text, or None."""

    figures: tuple[float | int | None, ...]
    processes: str | None

    @property
    def has_figures(self) -> bool:
        """Whether any figure was told."""
        return any(figure is not None for figure in self.figures)


def sample_of(fields: Mapping[str, Any]) -> Sample | None:
    """Return what a report says of the machine; None when it says nothing of it."""
    figures = tuple(_figure(fields, name) for name in FIGURES)
    sample = Sample(figures, _processes(fields.get("top_processes")))
    return sample if sample.has_figures or sample.processes is not None else None


def step_of(period: timedelta, points: int) -> timedelta:
    """Return how long each of `points` points of a chart lasts; whole seconds."""
    return timedelta(seconds=max(1, math.ceil(period.total_seconds() / points)))


def _figure(fields: Mapping[str, Any], name: str) -> float | int | None:
    value = fields.get(name, fields.get(_ALSO.get(name, name)))
    low, high = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return int(value) if name in _WHOLE else float(value)


def _processes(value: object) -> str | None:
    """Return the busiest processes as reports name them: pid, name, cpu, mem."""
    if not isinstance(value, list):
        return None
    kept: list[dict[str, object]] = []
    for entry in cast("list[object]", value)[:_MOST_PROCESSES]:
        if isinstance(entry, dict):
            one = cast("dict[str, object]", entry)
            name = str(one.get("name", ""))[:_MOST_NAME].replace("\0", "").encode(errors="replace").decode()
            kept.append(
                {
                    "pid": _number(one, "pid"),
                    "name": name,
                    "cpu": _number(one, "cpu"),
                    "mem": _number(one, "mem"),
                }
            )
    return msgspec.json.encode(kept).decode() if kept else None


def _number(one: Mapping[str, object], name: str) -> float | int | None:
    value = one.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _SECONDS[1] else None

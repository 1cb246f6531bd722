"""What the live table knows: devices, their last values, a short history each, and the counters."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from iotistic.telemetry.query.schemas import DeviceSummary, LatestValue, Stats

HISTORY = 24
RATE_SAMPLES = 10
"""Seconds over which rates are shown: a fleet that reports every five seconds is not idle for four of them."""

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float], width: int) -> str:
    """Return the last `width` values as bars between their own least and greatest."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return _BARS[3] * len(shown)
    scale = (len(_BARS) - 1) / (high - low)
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


@dataclass
class Line:
    """One datapoint of one device."""

    label: str
    unit: str
    timestamp: datetime
    value: float | None
    text: str | None
    history: deque[float] = field(default_factory=lambda: deque[float](maxlen=HISTORY))

    def shown(self) -> str:
        """Return the value as people read it."""
        if self.value is None:
            return f"“{self.text}”"
        return f"{self.value:.6g} {self.unit}".rstrip()

    @property
    def is_measurement(self) -> bool:
        """Whether it is a quantity rather than a switch or a text."""
        return self.value is not None and bool(self.unit)


@dataclass
class Board:
    """Everything the screen shows."""

    devices: dict[int, DeviceSummary] = field(default_factory=dict[int, DeviceSummary])
    lines: dict[tuple[int, int], Line] = field(default_factory=dict[tuple[int, int], Line])
    stats: Stats | None = None
    messages_per_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=RATE_SAMPLES))
    rows_per_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=RATE_SAMPLES))
    dead_letters: Mapping[str, int] = field(default_factory=dict[str, int])
    health: Mapping[str, bool] = field(default_factory=dict[str, bool])
    agent: str = ""
    """What the agent of this machine keeps running; empty without one."""
    trouble: str | None = None

    def take_stats(self, stats: Stats) -> None:
        """Take over the counters; called once a second."""
        self.stats = stats
        self.messages_per_s.append(stats.messages_per_s)
        self.rows_per_s.append(stats.rows_per_s)

    def take_latest(self, values: Iterable[LatestValue]) -> None:
        """Take over last values; one that is newer than what is shown also extends the history."""
        for value in values:
            key = value.device_id, value.datapoint_id
            known = self.lines.get(key)
            if known is None:
                known = self.lines[key] = Line(
                    value.label, value.unit or "", value.timestamp, value.value, value.text
                )
            elif value.timestamp <= known.timestamp:
                continue
            known.timestamp, known.value, known.text = value.timestamp, value.value, value.text
            if value.value is not None:
                known.history.append(value.value)

    def rows(self) -> list[tuple[DeviceSummary, list[Line]]]:
        """Return devices that spoke, measuring ones first, each with its lines, measurements first."""
        of_device: dict[int, list[Line]] = {}
        for (device_id, _), line in sorted(self.lines.items()):
            of_device.setdefault(device_id, []).append(line)
        for lines in of_device.values():
            lines.sort(key=lambda line: not line.is_measurement)
        known = [(self.devices[key], lines) for key, lines in of_device.items() if key in self.devices]
        return sorted(known, key=lambda row: (not row[1][0].is_measurement, row[0].name))

    def snapshot(self) -> dict[str, object]:
        """Return the board as plain data, for programs."""
        return {
            "stats": self.stats.model_dump() if self.stats else None,
            "dead_letters": dict(self.dead_letters),
            "health": dict(self.health),
            "devices": [
                {
                    "id": device.id,
                    "name": device.name,
                    "latest": [
                        {
                            "label": line.label,
                            "unit": line.unit or None,
                            "timestamp": line.timestamp,
                            "value": line.value,
                            "text": line.text,
                        }
                        for line in lines
                    ],
                }
                for device, lines in self.rows()
            ],
        }

"""What is measured, as the watch takes it. Pure."""

from collections.abc import Iterable, Mapping

from iotistic.agent.anomalies.model import Measured, Source
from iotistic.agent.metrics.model import Glance
from iotistic.agent.sensors.reading import Quality, Reading


def figures_of(glance: Glance) -> dict[str, object]:
    """Return a look at the machine with the names that reports have for it."""
    return {
        "cpu_usage": glance.cpu_usage,
        "temperature": glance.temperature,
        "memory_usage": glance.memory.used,
        "memory_total": glance.memory.total,
        "storage_usage": glance.storage.used,
        "storage_total": glance.storage.total,
    }


def of_machine(figures: Mapping[str, object], at: float, latency_s: float | None = None) -> list[Measured]:
    """Return what is known of the machine: CPU, temperature, memory, storage, and the way to the broker and back."""
    found = {
        "cpu_usage": (_number(figures.get("cpu_usage")), "%"),
        "cpu_temp": (_number(figures.get("temperature")), "°C"),
        "memory_percent": (_percent(figures, "memory"), "%"),
        "storage_percent": (_percent(figures, "storage"), "%"),
        "network_latency": (None if latency_s is None else 1000 * latency_s, "ms"),
    }
    return [Measured(name, value, at, unit) for name, (value, unit) in found.items() if value is not None]


def of_readings(sensor: str, readings: Iterable[Reading]) -> list[Measured]:
    """Return the numbers among readings, under the names that their series have."""
    return [
        Measured(
            "/".join(part for part in (sensor, one.device, one.name) if part),
            float(one.value),
            one.at,
            one.unit,
            Source.SENSOR,
            one.simulated,
        )
        for one in readings
        if isinstance(one.value, int | float)
        and not isinstance(one.value, bool)
        and one.quality is not Quality.BAD
    ]


def _percent(figures: Mapping[str, object], what: str) -> float | None:
    used, total = _number(figures.get(f"{what}_usage")), _number(figures.get(f"{what}_total"))
    return None if used is None or not total else 100 * used / total


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

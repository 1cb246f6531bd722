"""What can be simulated: quantities with units and the values that they have in a building or a machine."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity of one sensor: it stays about `base`, mostly within `variance`, always from `least` to `most`."""

    metric: str
    unit: str
    base: float
    variance: float
    least: float
    most: float
    step: float = 0.1
    """What the sensor's converter resolves."""
    peak_h: float = 15.0
    """Hour of the day, in UTC, at which it is highest."""

    def bounded(self, value: float) -> float:
        """Return a value as the sensor would show it: within its range, in its steps."""
        inside = min(max(value, self.least), self.most)
        digits = max(0, math.ceil(-math.log10(self.step))) + 1
        return round(min(max(round(inside / self.step) * self.step, self.least), self.most), digits)


_KNOWN = (
    Quantity("temperature", "°C", 22.0, 2.0, -40.0, 85.0, 0.1),
    Quantity("humidity", "%", 48.0, 8.0, 0.0, 100.0, 0.5, peak_h=5.0),
    Quantity("pressure", "hPa", 1013.0, 6.0, 300.0, 1100.0, 0.1, peak_h=10.0),
    Quantity("co2", "ppm", 650.0, 180.0, 400.0, 5000.0, 1.0, peak_h=14.0),
    Quantity("gas", "ppm", 12.0, 4.0, 0.0, 1000.0, 0.5, peak_h=18.0),
    Quantity("light", "lx", 350.0, 300.0, 0.0, 100_000.0, 1.0, peak_h=12.0),
    Quantity("noise", "dB", 42.0, 8.0, 20.0, 130.0, 0.1, peak_h=14.0),
    Quantity("voltage", "V", 230.0, 3.0, 0.0, 300.0, 0.1, peak_h=4.0),
    Quantity("current", "A", 6.0, 3.0, 0.0, 63.0, 0.01, peak_h=13.0),
    Quantity("power", "W", 1400.0, 700.0, 0.0, 15_000.0, 1.0, peak_h=13.0),
    Quantity("flow", "l/min", 30.0, 6.0, 0.0, 200.0, 0.1, peak_h=11.0),
    Quantity("level", "%", 60.0, 15.0, 0.0, 100.0, 0.1, peak_h=6.0),
    Quantity("vibration", "mm/s", 1.8, 0.5, 0.0, 50.0, 0.01, peak_h=13.0),
    Quantity("speed", "1/min", 1450.0, 20.0, 0.0, 3000.0, 1.0, peak_h=13.0),
)
_MACHINE = (
    Quantity("cpu_usage", "%", 18.0, 8.0, 0.0, 100.0, 0.1),
    Quantity("memory_percent", "%", 45.0, 5.0, 0.0, 100.0, 0.1),
    Quantity("storage_percent", "%", 40.0, 2.0, 0.0, 100.0, 0.1),
    Quantity("cpu_temp", "°C", 52.0, 5.0, -40.0, 125.0, 0.1),
)

SENSORS = {one.metric: one for one in _KNOWN}
"""Quantities of sensors, by name."""
MACHINE = {one.metric: one for one in _MACHINE}
"""Quantities of the machine that the agent runs on, by name."""
USUAL = tuple(SENSORS[name] for name in ("temperature", "humidity", "pressure"))
"""The sensors of a device about which nothing else is said."""

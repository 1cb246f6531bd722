"""The air in a room: a daily wave, slow drift, a little noise, and the breath of those inside."""

import math
import random
import struct
from dataclasses import dataclass

from iotistic.contracts.modbus import build_frame, format_frame

_DAY_S = 86_400
_WARMEST_AT_S = 15 * 3600
_OUTDOOR_CO2_PPM = 420.0
_DRIFT_KEEPS = 0.98
# Signed and unsigned hundredths, ppm, hPa, two reserved bytes: the template of a climate sensor.
_REGISTERS = struct.Struct(">hHHf2x")


@dataclass(frozen=True, slots=True)
class Air:
    """One measurement: degrees Celsius, percent, ppm, hPa."""

    temperature: float
    humidity: float
    co2: float
    pressure: float

    def frame(self, address: int) -> str:
        """Return the Modbus reply of a sensor at `address`, in hex."""
        registers = _REGISTERS.pack(
            round(self.temperature * 100), round(self.humidity * 100), round(self.co2), self.pressure
        )
        return format_frame(build_frame(registers, address=address))


class ClimateSensor:
    """One sensor in its corner of a building."""

    __slots__ = ("_base", "_chance", "_drift", "_swing", "address")

    def __init__(self, address: int, chance: random.Random) -> None:
        self.address = address
        self._chance = chance
        self._base = chance.uniform(19.0, 24.0)
        self._swing = chance.uniform(1.0, 3.5)
        self._drift = 0.0

    def measure(self, time_us: int, *, people: int) -> Air:
        """Return what the sensor sees with `people` in the building."""
        gauss = self._chance.gauss
        self._drift = self._drift * _DRIFT_KEEPS + gauss(0, 0.05)
        day_s = time_us / 1e6 % _DAY_S
        wave = math.cos((day_s - _WARMEST_AT_S) / _DAY_S * math.tau)
        temperature = self._base + self._swing * wave + self._drift + 0.08 * people + gauss(0, 0.03)
        humidity = 48 - 1.6 * (temperature - 21) + 0.5 * people + gauss(0, 0.3)
        co2 = _OUTDOOR_CO2_PPM + 30 + 55 * people + 40 * self._drift + gauss(0, 6)
        pressure = 1013 + 6 * math.sin(time_us / 1e6 / (5 * _DAY_S) * math.tau) + gauss(0, 0.1)
        return Air(
            temperature=min(max(temperature, -40.0), 85.0),
            humidity=min(max(humidity, 5.0), 99.0),
            co2=min(max(co2, 400.0), 5000.0),
            pressure=pressure,
        )

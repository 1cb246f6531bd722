"""Readers of single values of SIMULATION_CONFIG. Each raises ValueError with what is wrong."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from iotistic.agent.sensors.reading import MOST_NAME
from iotistic.planning.faults import Reader, shown, text, whole

T = TypeVar("T")

_DAY_MS = 86_400_000
_LEAST_MS = 100
_MOST_NUMBER = 1e12


def seconds(reader: Reader, name: str, default_s: float) -> float:
    """Return a field of milliseconds in seconds."""
    given = reader.read(name, whole(_LEAST_MS, _DAY_MS))
    return default_s if given is None else given / 1000


def name_of(value: object) -> str:
    """Read a name."""
    name = text(value)
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise ValueError(f"is to have 1 to {MOST_NAME} characters that can be printed, not {shown(value)}")
    return name


def sensor_of(value: object) -> str:
    """Read a name that is one level of a topic."""
    name = name_of(value)
    if set(name) & set("/+#"):
        raise ValueError(f"is to be one level of a topic, not {shown(value)}")
    return name


def unit_of(value: object) -> str:
    """Read a unit; there may be none."""
    return name_of(value) if value != "" else ""


def number(value: object) -> float:
    """Read a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_NUMBER:
        raise ValueError(f"is to be a number, not {shown(value)}")
    return float(value)


def between(least: float, most: float) -> Callable[[object], float]:
    """Return a reader of numbers between two bounds."""

    def read(value: object) -> float:
        found = number(value)
        if not least <= found <= most:
            raise ValueError(f"is to be a number from {least:g} to {most:g}, not {shown(value)}")
        return found

    return read


def listed(names: Iterable[str]) -> str:
    """Return names as they may stand in a message."""
    return ", ".join(names)


def either(given: T | None, *, default: T) -> T:
    """Return what was given, or what is usual."""
    return default if given is None else given

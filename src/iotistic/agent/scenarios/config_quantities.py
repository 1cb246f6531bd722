"""Sensors of SIMULATION_CONFIG: known quantities by their name alone, others by what they are like."""

import math

from iotistic.agent.scenarios.config_values import either, listed, name_of, number, unit_of
from iotistic.agent.scenarios.quantities import SENSORS, Quantity
from iotistic.planning.faults import Reader


def entry_of(entry: object) -> object:
    """A sensor may be given by its metric alone."""
    return {"metric": entry} if isinstance(entry, str) else entry


def read_quantity(reader: Reader) -> Quantity | None:
    """Read one sensor; None when it is not said what it measures."""
    metric = reader.read("metric", name_of)
    known = SENSORS.get(metric or "")
    unit = either(reader.read("unit", unit_of), default=known.unit if known else "")
    base = reader.read("baseValue", number)
    variance = reader.read("variance", number)
    least, most = reader.read("min", number), reader.read("max", number)
    reader.refuse_others()
    if metric is None:
        if not reader.has("metric"):
            reader.fault("metric", "is missing")
        return None
    if known is None and base is None:
        reader.fault("baseValue", f"is missing, and {metric} is not known: {listed(SENSORS)}")
        return None
    if known is None:
        middle = base or 0.0
        spread = variance or abs(middle) / 10 or 1.0
        known = Quantity(metric, unit, middle, spread, middle - 5 * spread, middle + 5 * spread)
    return _checked(reader, known, unit, (base, variance, least, most))


def _checked(
    reader: Reader,
    known: Quantity,
    unit: str,
    given: tuple[float | None, float | None, float | None, float | None],
) -> Quantity:
    base, variance = either(given[0], default=known.base), either(given[1], default=known.variance)
    least, most = either(given[2], default=known.least), either(given[3], default=known.most)
    if variance < 0:
        reader.fault("variance", "is below 0")
    if not least < most:
        reader.fault("min", f"is {least:g}, and max is {most:g}")
    elif not least <= base <= most:
        reader.fault("baseValue", f"is {base:g}, outside of min {least:g} and max {most:g}")
    step = _step(known.step, variance)
    return Quantity(known.metric, unit, base, variance, least, most, step, known.peak_h)


def _step(usual: float, variance: float) -> float:
    """Return a resolution at which so small a variance can still be seen."""
    if variance <= 0 or variance >= usual * 10:
        return usual
    return 10.0 ** math.floor(math.log10(variance / 10))

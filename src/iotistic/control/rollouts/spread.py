"""How far from predictions downtimes were: what makes of a figure a range. Pure.

Devices, disks and registries have their moods, and no model knows them all. So the range is not derived but seen:
of the updates that were predicted lately and went well, the share of `actual / predicted` that is left out at each
end is a tenth. What the model does not know is in it, whatever it is. No range is told from fewer than 20.
"""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

_LEAST = 20
_TENTHS = 10


class Spread(NamedTuple):
    """Four of five downtimes lie between so many times and so many times what is predicted."""

    low: float
    high: float

    def of(self, seconds: float) -> tuple[float, float]:
        """Return the range for a downtime."""
        return round(seconds * self.low, 3), round(seconds * self.high, 3)


def spread_of(pairs: Iterable[tuple[float, float]]) -> Spread | None:
    """Return the spread from (predicted, actual) seconds, None for too few."""
    ratios = [actual / predicted for predicted, actual in pairs if predicted > 0 and actual > 0]
    if len(ratios) < _LEAST:
        return None
    tenths = statistics.quantiles(ratios, n=_TENTHS)
    return Spread(tenths[0], tenths[-1])


def total(downtime_s: object) -> float:
    """Return the seconds of all services, as rows have them."""
    listed = cast("Mapping[str, Any]", downtime_s if isinstance(downtime_s, Mapping) else {})
    return sum(
        float(one) for one in listed.values() if isinstance(one, int | float) and not isinstance(one, bool)
    )

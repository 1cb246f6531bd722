r"""Streaming anomaly detection: no I/O, no clock, nobody else's room.

```
(time, value) -> day profiles -> residuals -> extremes of each residual -> alert score -> event
                                     \-> steady deviation --------------> raw score
```
One set of constants (`constants.py`) serves every stream. All state is in units of the stream itself, so
that other units and other days give the same scores. `bank.Bank` steps many streams at once; only it needs
numpy, so that one stream on a small device does not.
"""

from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import Detector
from iotistic.detection.events import Event, Method, Severity, Thresholds, Trend, Watch


def benchmark_detector() -> Detector:
    """Return a fresh detector for one stream, as the scorers of labelled data want it."""
    return Detector()


__all__ = [
    "DEFAULTS",
    "Constants",
    "Detector",
    "Event",
    "Method",
    "Severity",
    "Thresholds",
    "Trend",
    "Watch",
    "benchmark_detector",
]

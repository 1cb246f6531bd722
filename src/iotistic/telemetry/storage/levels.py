"""The three resolutions in which a series is stored, and which of them answers a question."""

from enum import StrEnum

_SECOND_US = 1_000_000


class RollupLevel(StrEnum):
    """One resolution: the readings themselves, minutes, or hours."""

    RAW = "raw"
    MINUTE = "1m"
    HOUR = "1h"

    @property
    def table(self) -> str:
        """Name of its table."""
        return {"raw": "decoded_data", "1m": "decoded_1m", "1h": "decoded_1h"}[self.value]

    @property
    def time_column(self) -> str:
        """Name of the column that holds the time of a reading, or the start of a bucket."""
        return "timestamp" if self is RollupLevel.RAW else "bucket"

    @property
    def width_us(self) -> int:
        """Width of one bucket in microseconds; 0 for readings."""
        return {"raw": 0, "1m": 60 * _SECOND_US, "1h": 3600 * _SECOND_US}[self.value]


def level_for(bucket_width_us: int) -> RollupLevel:
    """Return the coarsest level whose buckets are not wider than `bucket_width_us` microseconds.

    A caller that wants exact buckets rounds its width up to a multiple of the level's width and starts
    them at a multiple of it since the epoch.
    """
    fitting = (level for level in RollupLevel if level.width_us <= bucket_width_us)
    return max(fitting, key=lambda level: level.width_us, default=RollupLevel.RAW)

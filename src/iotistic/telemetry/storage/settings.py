"""Settings of storage maintenance."""

from datetime import timedelta

from pydantic import Field

from iotistic.kernel.settings import Settings

LATE_AFTER_S = 120
"""A row is late when its minute closed more than this many seconds ago; the sink marks late rows by device."""


class RollupSettings(Settings):
    """How rollups are kept up."""

    rollup_interval_s: float = Field(default=5.0, gt=0)
    """Seconds between looks at what is to be rolled; a backlog is rolled without pauses."""
    rollup_minutes_per_round: int = Field(default=5, ge=1, le=60)
    """Most fresh minutes (all series of each) rolled in one transaction."""
    rollup_late_per_round: int = Field(default=2000, ge=1, le=100_000)
    """Most (minute, device) pairs with late rows rolled in one transaction."""
    rollup_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds after which one statement of the roller is given up and its transaction rolled back."""


class RawRetentionSettings(Settings):
    """How long readings are kept, which is also how old a reading may be when it arrives."""

    retention_raw_days: int = Field(default=90, ge=0)
    """Days that readings and text events are kept; 0 keeps them for ever. Older ones become dead letters."""


class RetentionSettings(RawRetentionSettings):
    """How long data is kept; 0 keeps it for ever. Days are UTC days, and whole partitions are dropped."""

    retention_1m_days: int = Field(default=400, ge=0)
    """Days that rollups by the minute are kept; a month goes when all of it is older."""
    retention_1h_days: int = Field(default=0, ge=0)
    """Days that rollups by the hour are kept; a year goes when all of it is older."""
    retention_dead_letters_days: int = Field(default=30, ge=0)
    """Days that dead letters are kept, replayed or not."""

    def keeps(self, days: int) -> timedelta | None:
        """Return the age at which something kept for `days` goes, or None when it never does."""
        return timedelta(days=days) if days else None

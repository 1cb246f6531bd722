"""Settings of the ingest path, whatever transport it runs on."""

from pydantic import Field

from iotistic.kernel.settings import Settings
from iotistic.telemetry.decode.decoder import TimeWindow
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.storage.settings import RawRetentionSettings

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US

SHARE_GROUP = "ingest"


class ReadingSettings(RawRetentionSettings):
    """How readings are read and believed."""

    unknown_devices: UnknownPolicy = UnknownPolicy.ADOPT
    """What to do with devices and datapoints that nobody registered: `adopt` registers them as they appear,
    `refuse` keeps their messages as dead letters."""
    max_past_hours: int = Field(default=90 * 24, ge=1)
    """Readings older than this many hours become dead letters, and so do those that RETENTION_RAW_DAYS
    would have dropped already."""
    max_future_hours: int = Field(default=24, ge=0)
    """Readings further in the future than this many hours become dead letters: a clock is wrong."""

    @property
    def window(self) -> TimeWindow:
        """Which device times are believed."""
        past_us = self.max_past_hours * _HOUR_US
        if self.retention_raw_days:
            past_us = min(past_us, self.retention_raw_days * _DAY_US)
        return TimeWindow(past_us, self.max_future_hours * _HOUR_US)


class ReceiveSettings(Settings):
    """How messages are taken from the broker."""

    ingest_linger_ms: float = Field(default=25.0, ge=0, le=1000)
    """Milliseconds to let messages gather at 100,000 a second, less in proportion when there are fewer.
    Longer is cheaper, shorter is quicker."""
    ingest_batch_messages: int = Field(default=20_000, ge=1)
    """Most messages stored in one transaction, or sent to Kafka at once."""
    ingest_buffer_mib: int = Field(default=64, ge=1)
    """MiB of messages held in memory while the database is slow or away; past that nothing more is read."""
    ingest_receive_maximum: int = Field(default=20_000, ge=100, le=65_000)
    """Messages the broker may send before the first is acknowledged; MQTT packet ids end at 65,535."""
    ingest_session_days: int = Field(default=7, ge=1, le=365)
    """Days that the broker keeps messages for a worker that is away."""


class IngestSettings(ReadingSettings, ReceiveSettings):
    """How readings are received, read, believed and stored, in one process."""

    ingest_workers: int = Field(default=1, ge=1, le=64)
    """Workers that share the stream. One alone subscribes for itself: Mosquitto 2.0 does not save shared
    subscriptions, so after its crash it drops what is published before the workers are back."""

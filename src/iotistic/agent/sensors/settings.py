"""How readings are gathered."""

from iotistic.agent.sensors.publisher import Gathering
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field


class SensorSettings(Settings):
    """How readings of sensors are gathered before they are sent."""

    enable_sensor_publish: bool = True
    """Whether readings of sensors are published at all."""
    sensor_batch_messages: int = Field(default=12, ge=1, le=1000)
    """Polls of one sensor that are sent together: each batch costs one write of the disk and one head."""
    sensor_batch_ms: int = Field(default=60_000, ge=100, le=3_600_000)
    """Milliseconds after which a batch is sent although it is not full. Until then it is in memory only."""
    sensor_buffer_bytes: int = Field(default=128 * 1024, ge=4096, le=64 * 2**20)
    """Bytes that one sensor may hold in memory while the disk takes no writes; past them the oldest go."""

    @property
    def gathering(self) -> Gathering:
        """When a batch is full."""
        return Gathering(self.sensor_batch_messages, self.sensor_batch_ms / 1000, self.sensor_buffer_bytes)

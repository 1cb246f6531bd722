"""How much of the log is kept and sent."""

from pathlib import Path

from iotistic.agent.logs.entry import Level
from iotistic.agent.logs.shipping import Shipping
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import ByteSize, Field


class AgentLogSettings(Settings):
    """The lines of containers and of the agent: in memory, in files, and in the cloud."""

    max_logs: int = Field(default=1000, ge=1, le=1_000_000)
    """Lines that are kept in memory for people who ask."""
    log_max_age: int = Field(default=3_600_000, ge=1000)
    """Milliseconds after which a line is forgotten; nothing older is read after a time off either."""
    enable_cloud_logging: bool = True
    """Whether lines are sent to the cloud."""
    log_compression: bool = True
    """Whether they are compressed on the way, to a fifth or less."""
    cloud_log_debug_percent: float = Field(default=1.0, ge=0, le=100)
    """Percent of the lines for debugging that are sent."""
    cloud_log_info_percent: float = Field(default=10.0, ge=0, le=100)
    """Percent of the containers' ordinary lines that are sent; of the agent's own, all."""
    cloud_log_warn_percent: float = Field(default=100.0, ge=0, le=100)
    """Percent of the warnings that are sent."""
    cloud_log_error_percent: float = Field(default=100.0, ge=0, le=100)
    """Percent of the errors that are sent."""
    cloud_log_bytes_per_day: int = Field(default=2_000_000, ge=0)
    """Bytes that logs may cost a day in both directions, without TLS; more wait, then the oldest are dropped; 0 for no limit."""
    cloud_log_lines_per_minute: int = Field(default=60, ge=0)
    """Lines of each container that are sent, after sampling, and as many at once; 0 for no limit."""
    cloud_log_flush_ms: int = Field(default=30_000, ge=10)
    """Milliseconds that an ordinary line waits for others to be sent with: each request costs some 500 bytes."""
    cloud_log_urgent_flush_ms: int = Field(default=3_000, ge=10)
    """Milliseconds that a warning or an error waits after a silence."""
    cloud_log_buffer_bytes: int = Field(default=262_144, ge=32_768)
    """Bytes of lines that wait while the cloud is away; the oldest make room."""
    log_file_persistance: bool = False
    """Whether lines are written to files too. (The name is spelt so in earlier releases.)"""
    log_file_persistence: bool = False
    """The same, spelt right: either will do."""
    log_dir: Path | None = None
    """Folder of these files (default: logs/ beside the agent's database)."""
    max_log_file_size: ByteSize = Field(default=ByteSize(5_000_000), ge=65_536)
    """Bytes (or `5MB`) after which a new file is begun; three older ones are kept."""

    @property
    def keeps_log_files(self) -> bool:
        """Whether lines are written to files."""
        return self.log_file_persistance or self.log_file_persistence

    @property
    def shipping(self) -> Shipping:
        """What is sent to the cloud."""
        percents = {
            Level.DEBUG: self.cloud_log_debug_percent,
            Level.INFO: self.cloud_log_info_percent,
            Level.WARN: self.cloud_log_warn_percent,
            Level.ERROR: self.cloud_log_error_percent,
        }
        return Shipping(
            is_enabled=self.enable_cloud_logging,
            shares={level: percent / 100 for level, percent in percents.items()},
            lines_per_minute=self.cloud_log_lines_per_minute,
            bytes_per_day=self.cloud_log_bytes_per_day,
            flush_s=self.cloud_log_flush_ms / 1000,
            urgent_flush_s=self.cloud_log_urgent_flush_ms / 1000,
            buffer_bytes=self.cloud_log_buffer_bytes,
            is_compressed=self.log_compression,
        )

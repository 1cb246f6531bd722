"""How much of logs is taken."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class DeviceLogSettings(Settings):
    """Logs of devices."""

    device_log_bytes_per_hour: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    """Bytes of lines, unpacked, that one device may send an hour, and as many at once; more waits with 429."""
    device_log_uploads: int = Field(default=32, ge=1, le=1000)
    """Uploads at once in one process, each with a few MiB of memory; more are told to come again."""
    device_log_followers: int = Field(default=200, ge=1)
    """Followers of logs at once in one process."""

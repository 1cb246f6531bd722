"""How long histories of devices are kept."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class HistorySettings(Settings):
    """Retention, in whole days of UTC."""

    device_metrics_days: int = Field(default=90, ge=1, le=3650)
    """Days that figures of machines are kept."""
    device_processes_days: int = Field(default=7, ge=1, le=3650)
    """Days that the busiest processes are kept: a hundred times the size of the figures."""
    device_logs_days: int = Field(default=7, ge=1, le=3650)
    """Days that logs are kept; older lines are not taken."""

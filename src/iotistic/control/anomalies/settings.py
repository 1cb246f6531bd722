"""Settings of anomalies in the control plane."""

from enum import StrEnum

from pydantic import Field

from iotistic.detection.events import Severity
from iotistic.kernel.settings import Settings


class StreamMode(StrEnum):
    """Whose stored readings are watched."""

    ON = "on"
    OFF = "off"
    WITHOUT_AGENT = "devices-without-agent"


class AnomalyDeskSettings(Settings):
    """How stored readings are watched for anomalies, and how long anomalies are kept."""

    anomaly_stream: StreamMode = StreamMode.WITHOUT_AGENT
    """Whose stored readings are watched: `on` (all devices), `off`, or `devices-without-agent`, since an agent
    watches by itself."""
    anomaly_stream_series: int = Field(default=10_000, ge=1, le=200_000)
    """Series that are watched at most; each takes some 14 KB of memory."""
    anomaly_stream_round_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds between two looks at new readings."""
    anomaly_stream_scan_s: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds between two looks for series that are new, gone, or speak again."""
    anomaly_stream_settle_s: float = Field(default=5.0, ge=0, le=600)
    """Seconds that a reading may take to arrive, or come out of order, and still be judged in its turn."""
    anomaly_stream_reach_s: float = Field(default=86_400.0, ge=60, le=30 * 86_400)
    """Seconds back to which readings are judged that are newer than the last one of their series: how long a device,
    or this service, may be away without a gap in what is watched."""
    anomaly_stream_silent_s: float = Field(default=3600.0, ge=1, le=30 * 86_400)
    """Seconds of silence after which a series gives up its place, where others wait for one."""
    anomaly_stream_save_s: float = Field(default=900.0, ge=1, le=86_400)
    """Seconds after which is saved what was learned; after a crash as much is read again."""
    anomaly_stream_core_share: float = Field(default=0.5, gt=0, le=1)
    """Share of one core that judging may take; more readings than that are judged later."""
    anomaly_stream_min_severity: Severity = Severity.INFO
    """Least severity of what the watch over stored readings tells: info, warning or critical."""
    anomaly_stream_cooldown_s: float = Field(default=300.0, ge=0, le=86_400)
    """Seconds in which more of the same is counted and is no other anomaly."""
    anomaly_days: int = Field(default=365, ge=1, le=3660)
    """Days that anomalies are kept; those that somebody judged at least 150, since the watch learns from them."""
    anomaly_most_per_device: int = Field(default=10_000, ge=10, le=1_000_000)
    """Anomalies of one device that are kept; the oldest go."""
    anomaly_rollout_severity: Severity = Severity.CRITICAL
    """Least severity of an anomaly for which a rollout takes a device to be unwell."""

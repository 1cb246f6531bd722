"""The watch over readings, in the environment."""

from iotistic.agent.anomalies.config import LEAST_CONFIDENCE, AnomalyConfig, Rules, metric_rules
from iotistic.detection.events import Severity
from iotistic.kernel.errors import Invalid
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field


class AnomalySettingsInvalid(Invalid):
    """ANOMALY_METRICS cannot be understood."""

    code = "anomalies.config_invalid"


class AnomalySettings(Settings):
    """What the agent watches for anomalies. The cloud's own wishes (`config.anomalyDetection`) come first."""

    anomaly_detection_enabled: bool = True
    """Whether the machine's figures and the readings of sensors are watched for anomalies."""
    anomaly_interval_ms: int = Field(default=30_000, ge=100, le=3_600_000)
    """Milliseconds between two looks at CPU, temperature, memory and storage. Learning takes 50 of them."""
    anomaly_min_confidence: float = Field(default=LEAST_CONFIDENCE, ge=0, le=1)
    """Least confidence of what is told; 0.7 is everything."""
    anomaly_min_severity: Severity = Severity.INFO
    """Least severity of what is told: info, warning or critical."""
    anomaly_cooldown_ms: int = Field(default=300_000, ge=0, le=86_400_000)
    """Milliseconds in which more of the same is counted and not told again."""
    anomaly_metrics: str = ""
    """Exceptions by names, as JSON: {"cpu_usage": {"minSeverity": "critical"}, "bus/*": {"enabled": false}}."""
    anomaly_max_metrics: int = Field(default=256, ge=1, le=10_000)
    """Metrics that are watched at most; each takes some 10 KB of memory, and 4 KB of the disk."""
    anomaly_max_events: int = Field(default=1000, ge=10, le=100_000)
    """Anomalies that the device keeps; the oldest go."""
    anomaly_report_interval_ms: int = Field(default=60_000, ge=1000, le=86_400_000)
    """Milliseconds between two reports to the cloud, of ten anomalies at most."""
    anomaly_save_ms: int = Field(default=900_000, ge=1000, le=86_400_000)
    """Milliseconds after which is saved what was learned; longer where ANOMALY_SAVE_MB_A_DAY says so."""
    anomaly_save_mb_a_day: float = Field(default=8.0, gt=0, le=1e6)
    """Megabytes that saving may write in a day, to spare flash; past 23 metrics that means less often."""

    @property
    def anomaly_config(self) -> AnomalyConfig:
        """What is watched and told. Raises AnomalySettingsInvalid."""
        rules = Rules(
            self.anomaly_detection_enabled,
            self.anomaly_min_confidence,
            self.anomaly_cooldown_ms / 1000,
            Severity(self.anomaly_min_severity),  # what was set on the device is a text
        )
        try:
            return AnomalyConfig(rules, metric_rules(self.anomaly_metrics))
        except ValueError as exc:
            raise AnomalySettingsInvalid(
                f"ANOMALY_METRICS {exc}", hint="see docs/agent/anomalies.md"
            ) from exc

"""Figures and processes of a device as they are answered; null is what it did not tell."""

from datetime import datetime

from pydantic import Field

from iotistic.kernel.web.describing import Absent, Answer


class MetricsSample(Answer):
    """What a device told once; in percent, bytes, degrees Celsius and seconds."""

    recorded_at: datetime
    cpu_usage: float | None
    temperature: float | None
    memory_usage: int | None
    memory_total: int | None
    storage_usage: int | None
    storage_total: int | None
    uptime: int | None
    cpu_temp: float | None = Field(description="The temperature again.")


class MetricsStretch(Answer):
    """What the samples of a stretch of time come to: averages, and maxima in the fields that end in `_max`."""

    recorded_at: datetime = Field(description="When the stretch begins.")
    samples: int
    cpu_usage: float | None
    cpu_usage_max: float | None
    temperature: float | None
    temperature_max: float | None
    memory_usage: float | None
    memory_usage_max: int | None
    memory_total: float | None
    memory_total_max: int | None
    storage_usage: float | None
    storage_usage_max: int | None
    storage_total: float | None
    storage_total_max: int | None
    uptime: int | None = Field(description="The longest.")
    cpu_temp: float | None = Field(description="The temperature again.")


class DeviceMetrics(Answer):
    """Samples, or stretches where a period or a range was asked for; oldest first."""

    count: int
    step_s: float | Absent = Field(None, description="How long a stretch is; only there with stretches.")
    metrics: list[MetricsStretch] | list[MetricsSample]


class DeviceProcess(Answer):
    """A process as a device told it; null is what was no number."""

    pid: float | None
    name: str
    cpu: float | None = Field(description="Percent.")
    mem: float | None = Field(description="As the device counts it.")


class DeviceProcesses(Answer):
    """The busiest processes when a device last told them; `recorded_at` is null where it never did."""

    count: int
    top_processes: list[DeviceProcess]
    recorded_at: datetime | None


class RecordedProcesses(Answer):
    """The busiest processes of a moment."""

    recorded_at: datetime
    top_processes: list[DeviceProcess]


class DeviceProcessHistory(Answer):
    """What ran, the newest first."""

    count: int
    history: list[RecordedProcesses]

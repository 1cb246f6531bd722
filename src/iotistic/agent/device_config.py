"""What the cloud wishes of the agent itself: `config` of a target, read leniently.

A wish that cannot be understood is told of and left out; it is no reason to hold containers back. Keys that
belong to others (sensors, firewall) are left to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from iotistic.agent.anomalies.config import AnomalyConfig, read_config
from iotistic.planning.faults import Fault, Reader, text, truth, whole

_DAY_MS = 86_400_000
_SHORTEST_MS = 1000
_LEVELS = ("debug", "info", "warn", "warning", "error")


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Wishes; None where the cloud has none, and the device's own settings hold."""

    metrics_interval_s: float | None = None
    report_interval_s: float | None = None
    remote_logging: bool | None = None
    log_files: bool | None = None
    log_level: str | None = None
    jobs: bool | None = None
    sensor_publish: bool | None = None
    anomalies: AnomalyConfig = field(default_factory=AnomalyConfig)
    broker: Mapping[str, Any] | None = field(default=None, repr=False)
    """Another broker than that of the registration, in the same words."""


def read_device_config(document: Mapping[str, Any]) -> tuple[DeviceConfig, list[Fault]]:
    """Return the wishes in `config` of a target document, and what is wrong with the others."""
    faults: list[Fault] = []
    given = document.get("config")
    if given is None:
        return DeviceConfig(), faults
    config = Reader(given, "config", faults)
    logging, features, settings = config.inner("logging"), config.inner("features"), config.inner("settings")
    anomalies = config.inner("anomalyDetection")
    return DeviceConfig(
        metrics_interval_s=_interval(settings, "metricsIntervalMs"),
        report_interval_s=_interval(settings, "deviceReportIntervalMs"),
        remote_logging=_flag(logging, "enableRemoteLogging"),
        log_files=_flag(logging, "enableFilePersistence"),
        log_level=None if logging is None else logging.read("level", _level),
        jobs=_flag(features, "enableDeviceJobs"),
        sensor_publish=_flag(features, "enableDeviceSensorPublish"),
        anomalies=AnomalyConfig() if anomalies is None else read_config(anomalies),
        broker=config.read("mqtt", _broker),
    ), faults


def _interval(given: Reader | None, name: str) -> float | None:
    if given is None:
        return None
    read = given.read(name, whole(_SHORTEST_MS, _DAY_MS))
    return None if read is None else read / 1000


def _flag(given: Reader | None, name: str) -> bool | None:
    return None if given is None else given.read(name, truth)


def _broker(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("is to be an object")  # noqa: TRY004  one kind of fault
    config = cast("dict[str, Any]", value)
    if not isinstance(config.get("host"), str) or not config["host"]:
        raise ValueError("is to name a host")
    return config


def _level(value: object) -> str:
    level = text(value).lower()
    if level not in _LEVELS:
        raise ValueError(f"is to be one of {', '.join(_LEVELS)}")
    return "warning" if level == "warn" else level

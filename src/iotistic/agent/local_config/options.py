"""The settings that can be changed on the device: what each may be, and whether a change takes effect at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from iotistic.agent.anomalies.config import metric_rules
from iotistic.planning.faults import shown

Value = str | int | bool
Values = Mapping[str, Value]

_DAY_MS = 86_400_000
_MOST_TEXT = 255
_MOST_JSON = 4096
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting; `read` raises ValueError for what it cannot be."""

    name: str
    kind: str
    default: Value
    summary: str
    read: Callable[[object], Value]


def endpoint(value: object) -> str:
    """Read a base URL of a cloud; without a credential in it, which logs would show. Raises ValueError."""
    text = _text(value).rstrip("/")
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"is to be like https://cloud.example.com, not {shown(value)}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("is to be without a user and a password")
    _ = parts.port  # raises ValueError for one that is none
    return text


def name(value: object) -> str:
    """Read a name of 1 to 255 characters. Raises ValueError."""
    text = _text(value).strip()
    if not text:
        raise ValueError("is to have at least one character")
    return text


def truth(value: object) -> bool:
    """Read true or false, also as words. Raises ValueError."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE + _FALSE:
        raise ValueError(f"is to be true or false, not {shown(value)}")
    return word in _TRUE


def whole(least: int, most: int) -> Callable[[object], int]:
    """Return a reader of whole numbers between two bounds, also as digits."""

    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
            number = int(value.strip()[:20])
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise ValueError(f"is to be a whole number from {least} to {most}, not {shown(value)}")
        return number

    return read


def one_of(*words: str) -> Callable[[object], str]:
    """Return a reader of one of some words."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise ValueError(f"is one of {', '.join(words)}, not {shown(value)}")
        return word

    return read


def metrics(value: object) -> str:
    """Read what is watched of metrics by their names, as JSON. Raises ValueError."""
    if not isinstance(value, str) or len(value) > _MOST_JSON:
        raise ValueError(f"is to be JSON of at most {_MOST_JSON} characters, not {shown(value)}")
    metric_rules(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT or not value.isprintable():
        raise ValueError(f"is to be a text of at most {_MOST_TEXT} characters, not {shown(value)}")
    return value


def _number(name: str, default: int, summary: str, bounds: tuple[int, int] = (1000, _DAY_MS)) -> Option:
    return Option(name, "number", default, summary, whole(*bounds))


def _switch(name: str, summary: str, *, default: bool) -> Option:
    return Option(name, "switch", default, summary, truth)


_ALL = (
    Option("CLOUD_API_ENDPOINT", "url", "", "Base URL of the cloud", endpoint),
    Option("DEVICE_NAME", "text", "device", "Name of the device", name),
    Option("DEVICE_TYPE", "text", "standalone", "Kind of the device", name),
    Option("LOG_LEVEL", "text", "info", "Least important log line", one_of("debug", "info", "warning", "error")),
    _number("POLL_INTERVAL_MS", 60_000, "Milliseconds between two looks at the cloud's target"),
    _number("REPORT_INTERVAL_MS", 60_000, "Milliseconds between two reports of what changed"),
    _number("METRICS_INTERVAL_MS", 300_000, "Milliseconds between two reports of metrics"),
    _number(
        "RECONCILIATION_INTERVAL_MS",
        30_000,
        "Milliseconds between two looks at the containers although nothing happened",
        (100, _DAY_MS),
    ),
    _number("DISK_WATERMARK_PERCENT", 85, "Percent of the disk from which unused images go", (1, 100)),
    _number("MAX_LOGS", 1000, "Log lines that the agent keeps at hand", (10, 100_000)),
    _switch("ENABLE_CLOUD_LOGGING", "Whether logs are sent to the cloud", default=True),
    _switch("ENABLE_CLOUD_JOBS", "Whether jobs of the cloud are carried out", default=False),
    _switch("ENABLE_SENSOR_PUBLISH", "Whether readings of sensors are sent", default=True),
    _switch(
        "ANOMALY_DETECTION_ENABLED", "Whether figures and readings are watched for anomalies", default=True
    ),
    Option(
        "ANOMALY_MIN_SEVERITY",
        "text",
        "info",
        "Least severity of anomalies that are told",
        one_of("info", "warning", "critical"),
    ),
    _number(
        "ANOMALY_COOLDOWN_MS", 300_000, "Milliseconds in which more of the same is only counted", (0, _DAY_MS)
    ),
    Option("ANOMALY_METRICS", "json", "", "Exceptions for metrics by their names", metrics),
    _switch("COLLECT_TOP_PROCESSES", "Whether metrics name the busiest processes", default=True),
)  # fmt: skip
OPTIONS: Mapping[str, Option] = {option.name: option for option in _ALL}
"""By name, which is that of the environment variable."""

"""A made-up anomaly: a quiet stream of its own, and one value far outside of it. No stream of the device is touched."""

from collections.abc import Mapping

from iotistic.agent.anomalies.model import AnomalyRequestInvalid, Source
from iotistic.agent.anomalies.standing import Known
from iotistic.detection.watches import Alert, Sample, Watches
from iotistic.planning.faults import Fault, Reader, shown, text

METRIC = "test"
_MOST_NAME = 64
_LEVEL, _STEP_S, _SAMPLES = 20.0, 60.0, 200
_VALUE = 90.0


def made_up(document: Mapping[str, object], now: float) -> tuple[Known, Alert]:
    """Return an unusual value of `metric`, `value` where they are given. Raises AnomalyRequestInvalid."""
    faults: list[Fault] = []
    reader = Reader(dict(document), "", faults)
    metric = reader.read("metric", _name) or METRIC
    value = reader.read("value", _number)
    reader.refuse_others()
    if faults:
        raise AnomalyRequestInvalid("; ".join(map(str, faults)))
    watches, name = Watches(), f"{METRIC}/{metric}" if metric != METRIC else METRIC
    quiet = [
        Sample(name, now - (_SAMPLES - number) * _STEP_S, _LEVEL + (number * 7 % 11) / 10)
        for number in range(_SAMPLES)
    ]
    watches.step(quiet)
    alerts = watches.step([Sample(name, now, _VALUE if value is None else value)])
    if not alerts:
        raise AnomalyRequestInvalid(f"value: {value} is not unusual: the others are from 20 to 21")
    known = Known(source=Source.SYSTEM, simulated=True, last_at=now)
    known.recent.extend([*(one.value for one in quiet[-9:]), alerts[0].value])
    return known, alerts[0]


def _name(value: object) -> str:
    name = text(value)
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        raise ValueError(f"is to have 1 to {_MOST_NAME} characters that can be printed, not {shown(value)}")
    return name


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:  # noqa: PLR2004
        raise ValueError(f"is to be a number, not {shown(value)}")
    return float(value)

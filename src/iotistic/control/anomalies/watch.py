"""Detectors over many series: readings in, anomalies out. No I/O; used by one thread at a time.

Each series has a detector, the incidents of it that may go on, and where it is read up to. The three are saved
together and go on together, so that reading again from there finds the same anomalies under the same names.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import msgspec

from iotistic.control.anomalies.model import Told
from iotistic.control.anomalies.series_rows import Key, Saved, Series, from_us
from iotistic.detection.constants import DEFAULTS
from iotistic.detection.detector import Detector
from iotistic.detection.events import Event, Severity
from iotistic.detection.feedback import Lesson, Tolerance
from iotistic.detection.incidents import COOL_DOWN_S, LONGEST_S, Incident, Incidents
from iotistic.detection.watches import Alert, Sample, Watches

Readings = Sequence[tuple[Series, list[int], list[float]]]

_SECOND_US = 1e6
_RECENT = 10
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Incident])


class StreamWatch:
    """At most `most` series."""

    def __init__(
        self, *, most: int, cool_down_s: float = COOL_DOWN_S, least: Severity = Severity.INFO
    ) -> None:
        self._watches = Watches(most=most)
        self._incidents = Incidents(most=4 * most)
        self._cool_down_s, self._least = cool_down_s, least
        self._series: dict[str, Series] = {}
        self._open: dict[str, dict[str, Incident]] = {}
        self._tolerances: dict[str, Tolerance] = {}
        self._touched: set[str] = set()
        self.tolerated = 0
        """Unusual values that are usual by what people said."""

    def __len__(self) -> int:
        return len(self._series)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and f"{key[0]}/{key[1]}" in self._series

    @property
    def series(self) -> list[Series]:
        """Those under watch."""
        return list(self._series.values())

    def admit(self, series: Series) -> bool:
        """Watch a series, as it was left if that can be read; False when there is no room."""
        try:
            detector = Detector.restore(series.state) if series.state else Detector()
            known = _decoder.decode(series.incidents) if series.incidents else []
        except (ValueError, msgspec.MsgspecError):
            detector, known = Detector(), []
        if not self._watches.put(series.name, detector):
            return False
        series.state = series.incidents = None
        series.seen = int(detector.seen)
        self._series[series.name] = series
        for incident in known:
            self._incidents.resume(incident)
        self._open[series.name] = {one.fingerprint: one for one in known}
        return True

    def drop(self, keys: Iterable[Key]) -> None:
        """Watch series no more."""
        for name in (f"{key[0]}/{key[1]}" for key in keys):
            if name in self._series:
                self._watches.drop(name)
                del self._series[name], self._open[name]
                self._tolerances.pop(name, None)
                self._touched.discard(name)

    def teach(self, key: Key, lesson: Lesson) -> None:
        """Let a series learn what somebody said of an anomaly."""
        name = f"{key[0]}/{key[1]}"
        self._tolerances.setdefault(name, Tolerance()).learn(lesson)

    def take(self, readings: Readings) -> list[tuple[UUID, Told]]:
        """Judge new readings of series that are under watch; return what is to be told, the last of each anomaly."""
        samples: list[Sample] = []
        batches: dict[str, tuple[list[int], list[float]]] = {}
        for series, times, values in readings:
            name = series.name
            batches[name] = times, values
            samples += [Sample(name, at / _SECOND_US, value) for at, value in zip(times, values, strict=True)]
        found: dict[str, tuple[UUID, Told]] = {}
        for alert in self._watches.step(samples):
            if (told := self._judge(alert, *batches[alert.stream])) is not None:
                series = self._series[alert.stream]
                recent = told.recent or (found[told.name][1].recent if told.name in found else ())
                found[told.name] = series.uuid, replace(told, recent=recent)
        for series, times, values in readings:
            series.read_us = times[-1]
            series.seen += len(values)
            series.tail = [*series.tail, *values][-_RECENT:]
            self._touched.add(series.name)
        return list(found.values())

    def _judge(self, alert: Alert, times: list[int], values: list[float]) -> Told | None:
        name = alert.stream
        tolerance = self._tolerances.get(name)
        event = alert.event(1.0 if tolerance is None else tolerance.factor(alert.value, alert.at))
        if event is None:
            self.tolerated += 1
            return None
        if _RANKS[event.severity] < _RANKS[self._least]:
            return None
        incident, _ = self._incidents.take(name, event, cool_down_s=self._cool_down_s)
        self._open[name][incident.fingerprint] = incident
        recent: tuple[float, ...] = ()
        if incident.event is event:
            place = bisect.bisect_right(times, round(alert.at * _SECOND_US))
            recent = tuple([*self._series[name].tail, *values[:place]][-_RECENT:])
        return _told(self._series[name], incident, int(alert.detector.seen), recent)

    def touched(self, most: int | None = None) -> list[str]:
        """Return series that have changed since they were saved."""
        return sorted(self._touched)[:most]

    def saved(self, names: Sequence[str]) -> list[Saved]:
        """Return what is to be kept of series."""
        return [self._saved(name) for name in names if name in self._series]

    def was_saved(self, names: Iterable[str]) -> None:
        """Note that series were kept as they are."""
        self._touched.difference_update(names)

    def count_learning(self) -> int:
        """Return how many series are in their warm-up."""
        return sum(one.seen <= DEFAULTS.warm_up for one in self._series.values())

    def _saved(self, name: str) -> Saved:
        series, detector = self._series[name], self._watches.detector(name)
        ends_at = series.read_us / _SECOND_US - self._cool_down_s - LONGEST_S
        going = {mark: one for mark, one in self._open[name].items() if one.last_at >= ends_at}
        self._open[name] = going
        return Saved(
            key=series.key,
            read_us=series.read_us,
            state=detector.save(),
            incidents=_encoder.encode(list(going.values())),
            seen=int(detector.seen),
            value=detector.value,
            baseline=detector.expected,
            is_learning=detector.learning,
        )


def _told(series: Series, incident: Incident, samples: int, recent: tuple[float, ...]) -> Told:
    event: Event = incident.event
    return Told(
        name=incident.id,
        fingerprint=incident.fingerprint,
        source="sensor",
        metric=series.label[:255],
        unit=series.unit,
        severity=event.severity.value,
        method=event.method.value,
        trend=event.trend.value,
        value=event.value,
        expected_low=event.expected_low,
        expected_high=event.expected_high,
        baseline=event.baseline,
        deviation=event.deviation,
        confidence=event.confidence,
        recent=recent,
        samples=samples,
        count=incident.count,
        first_at=from_us(round(incident.first_at * _SECOND_US)),
        last_at=from_us(round(incident.last_at * _SECOND_US)),
        series_device_id=series.key[0],
        series_datapoint_id=series.key[1],
    )

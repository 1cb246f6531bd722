"""One turn of the watch: what is in memory from getting the lock to losing it, and one look after the other."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from prometheus_client import Counter, Gauge

from iotistic.control.anomalies import repository, series_rows
from iotistic.control.anomalies.model import Origin, Told
from iotistic.control.anomalies.series_rows import Key, StreamStanding, from_us
from iotistic.control.anomalies.settings import AnomalyDeskSettings, StreamMode
from iotistic.control.anomalies.watch import Readings, StreamWatch
from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.feedback import EXPECTED_HALVES_S, Verdict, lesson_of

READINGS = Counter("iotistic_anomaly_stream_readings_total", "Stored readings that were judged")
FOUND = Counter("iotistic_anomaly_stream_found_total", "Anomalies in stored readings", ["outcome"])
SERIES = Gauge("iotistic_anomaly_stream_series", "Series of stored readings", ["state"])
BEHIND = Gauge("iotistic_anomaly_stream_behind_seconds", "Age of the oldest readings that wait to be judged")
CPU = Counter("iotistic_anomaly_stream_cpu_seconds_total", "CPU time of judging")

T = TypeVar("T")

_ELIGIBLE_MOST = 1_000_000
_SERIES_AT_ONCE = 500
_READINGS_OF_EACH = 100
_SAVED_AT_ONCE = 200
_BEGIN = timedelta(seconds=60)
"""A series that is older than the watch begins so long before it is found."""
_LESSONS_HOLD = timedelta(seconds=5 * EXPECTED_HALVES_S)
_OVERLAP = timedelta(minutes=1)
_STATES_KEPT = timedelta(days=30)


class Turn:
    """Over the connection that holds the lock. An error leaves it as it is: nothing of it is used any more."""

    def __init__(
        self,
        db: Any,
        settings: AnomalyDeskSettings,
        clock: Callable[[], datetime],
        stopping: asyncio.Event | None = None,
    ) -> None:
        self._db, self._settings, self._clock = db, settings, clock
        self._stopping = stopping or asyncio.Event()
        self.watch = StreamWatch(
            most=settings.anomaly_stream_series,
            cool_down_s=settings.anomaly_stream_cooldown_s,
            least=settings.anomaly_stream_min_severity,
        )
        self._scan_at, self._save_at = 0.0, time.monotonic() + settings.anomaly_stream_save_s
        self._unwatched = 0
        self._taught_until = clock() - _OVERLAP

    async def look(self) -> bool:
        """Judge what has come; return whether more waits."""
        now = self._clock()
        if time.monotonic() >= self._scan_at:
            await self.scan(now)
            self._scan_at = time.monotonic() + self._settings.anomaly_stream_scan_s
        await self._heed(now)
        until = now - timedelta(seconds=self._settings.anomaly_stream_settle_s)
        judged, waiting_us = 0, None
        for series in in_parts(self.watch.series, _SERIES_AT_ONCE):
            if self._stopping.is_set():
                return False
            found = await series_rows.read(self._db, series, self._reach(now), until, most=_READINGS_OF_EACH)
            judged += await self._judge(found)
            last = [times[-1] for _, times, _ in found if len(times) == _READINGS_OF_EACH]
            waiting_us = min(last + ([] if waiting_us is None else [waiting_us]), default=None)
        await self._stand(now, judged, until if waiting_us is None else from_us(waiting_us))
        if time.monotonic() >= self._save_at:
            await self.save()
        return waiting_us is not None

    async def scan(self, now: datetime) -> None:
        """Find out who is to be watched: those that are, as long as they speak, and then whoever speaks."""
        is_all = self._settings.anomaly_stream is StreamMode.ON
        keys = await series_rows.eligible(self._db, all_devices=is_all, most=_ELIGIBLE_MOST)
        kept = set(keys)
        await self._drop([one.key for one in self.watch.series if one.key not in kept])
        spoke: list[tuple[Key, datetime]] = []
        for some in in_parts([key for key in keys if key not in self.watch], _SERIES_AT_ONCE):
            spoke += await series_rows.alive(self._db, some, self._reach(now), now)
        spoke.sort(key=lambda one: one[1], reverse=True)
        await self._make_room(spoke, now)
        for some in in_parts([key for key, _ in spoke[: self._room]], _SERIES_AT_ONCE):
            await self._admit(some, now)
        self._unwatched = len(keys) - len(self.watch)
        await series_rows.forget_series(self._db, now - _STATES_KEPT)

    async def save(self) -> None:
        """Keep what was learned since the last time."""
        for names in in_parts(self.watch.touched(), _SAVED_AT_ONCE):
            saved = await asyncio.to_thread(self.watch.saved, names)
            await series_rows.save(self._db, saved, self._clock())
            self.watch.was_saved(names)
        self._save_at = time.monotonic() + self._settings.anomaly_stream_save_s

    @property
    def _room(self) -> int:
        return max(0, self._settings.anomaly_stream_series - len(self.watch))

    def _reach(self, now: datetime) -> datetime:
        return now - timedelta(seconds=self._settings.anomaly_stream_reach_s)

    async def _make_room(self, spoke: Sequence[tuple[Key, datetime]], now: datetime) -> None:
        """Let series that are silent go, for those that speak."""
        silent_since = now - timedelta(seconds=self._settings.anomaly_stream_silent_s)
        lacking = sum(at > silent_since for _, at in spoke) - self._room
        if lacking > 0:
            silent = [one for one in self.watch.series if from_us(one.read_us) < silent_since]
            silent.sort(key=lambda one: one.read_us)
            await self._drop([one.key for one in silent[:lacking]])

    async def _admit(self, keys: Sequence[Key], now: datetime) -> None:
        admitted = await series_rows.admit(
            self._db, keys, reach=self._reach(now), begin=now - _BEGIN, now=now
        )
        for one in admitted:
            self.watch.admit(one)
        await self._teach(await series_rows.verdicts(self._db, now - _LESSONS_HOLD, keys))

    async def _drop(self, keys: Sequence[Key]) -> None:
        for some in in_parts(keys, _SAVED_AT_ONCE):
            names = [f"{device}/{datapoint}" for device, datapoint in some]
            touched = [name for name in names if name in set(self.watch.touched())]
            await series_rows.save(self._db, self.watch.saved(touched), self._clock())
            self.watch.drop(some)

    async def _heed(self, now: datetime) -> None:
        """Take in what people have said since the last look."""
        await self._teach(await series_rows.verdicts(self._db, self._taught_until))
        self._taught_until = now - _OVERLAP

    async def _teach(self, verdicts: Sequence[Any]) -> None:
        news: list[UUID] = []
        for row in verdicts:
            key = row["series_device_id"], row["series_datapoint_id"]
            if key in self.watch:
                at = row["judged_at"].timestamp()
                self.watch.teach(key, lesson_of(row["name"], Verdict(row["verdict"]), _event(row), at))
                if row["verdict_state"] == "waiting":
                    news.append(row["id"])
        if news:
            await series_rows.learned(self._db, news)

    async def _judge(self, readings: Readings) -> int:
        if not readings:
            return 0
        told, took_s = await asyncio.to_thread(_timed, self.watch, readings)
        new, more = await repository.put(self._db, Origin.STREAM, told, self._clock())
        judged = sum(len(times) for _, times, _ in readings)
        READINGS.inc(judged)
        CPU.inc(took_s)
        FOUND.labels("new").inc(new)
        FOUND.labels("changed").inc(more)
        share = self._settings.anomaly_stream_core_share
        await asyncio.sleep(min(took_s * (1 / share - 1), 10.0))
        return judged

    async def _stand(self, now: datetime, judged: int, until: datetime) -> None:
        learning, behind_s = self.watch.count_learning(), (now - until).total_seconds()
        SERIES.labels("learning").set(learning)
        SERIES.labels("watching").set(len(self.watch) - learning)
        SERIES.labels("unwatched").set(self._unwatched)
        BEHIND.set(behind_s)
        mode = self._settings.anomaly_stream.value
        standing = StreamStanding(mode, now, len(self.watch), learning, self._unwatched, judged, behind_s)
        await series_rows.stand(self._db, standing)


def in_parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield items in their order, so many at once."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _timed(watch: StreamWatch, readings: Readings) -> tuple[list[tuple[UUID, Told]], float]:
    began = time.thread_time()
    told = watch.take(readings)
    return told, time.thread_time() - began


def _event(row: Any) -> Event:
    """Return what a verdict is about, as far as a lesson needs it."""
    return Event(
        metric="",
        at=0.0,
        value=row["value"],
        method=Method.ZSCORE,
        severity=Severity.INFO,
        confidence=1.0,
        deviation=0.0,
        expected_low=row["expected_low"],
        expected_high=row["expected_high"],
        baseline=row["baseline"],
        trend=Trend.STEADY,
        score=1.0,
    )

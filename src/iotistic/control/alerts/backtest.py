"""Tries a rule on what is stored, before anybody is woken by it: the same evaluator, over a range of the past.

What it may cost is bounded in readings and in seconds. Where a bound is met, the answer says up to when it
holds. Nothing is written.
"""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

import asyncpg

from iotistic.control.alerts import stream_rows
from iotistic.control.alerts.conditions import (
    Anomaly,
    Definition,
    LogCount,
    LogPattern,
    LogSequence,
    NoData,
    RateOfChange,
    Threshold,
)
from iotistic.control.alerts.device_rows import standings
from iotistic.control.alerts.episodes import Episode, episodes_of
from iotistic.control.alerts.evaluate import SeriesState, Transition, evaluate
from iotistic.control.alerts.log_evaluate import LogLine, Matcher, evaluate_lines
from iotistic.control.alerts.model import LogsUnavailable, NotKept, RangeInvalid, Subject, from_us, to_us
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.sources import Sources
from iotistic.control.alerts.stream_rows import Chosen, Series
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.postgres.pool import database_errors

_MOST_DAYS = 366
_AT_ONCE = 2
_READINGS_A_STEP, _ANOMALY_READINGS_A_STEP = 200_000, 10_000
_LEAST_STEP_S, _MOST_STEP_S = 60.0, 86_400.0
# Lines are read whole into memory.
_MOST_LINES = 200_000


class BacktestBusy(Unavailable):
    """Others are being tried at the moment."""

    code = "alerts.backtest_busy"


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that would have been raised."""

    subject: Subject
    episode: Episode

    def duration_s(self, until: datetime) -> float:
        """Return how long it would have been open, up to `until` when it still is."""
        ended = self.episode.ended.at_us if self.episode.ended else to_us(until)
        return (ended - self.episode.fired.at_us) / 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule would have said, and what it cost to know."""

    raised: list[Raised]
    series: int
    readings: int
    seconds: float
    until: datetime
    """Up to when all of this is known: the end of the range, unless a bound was met."""
    is_complete: bool
    kept_from: datetime | None
    """Before that, readings are not kept any more."""

    def per_day(self) -> dict[date, int]:
        """Return how many alerts would have been raised on each UTC day."""
        return dict(sorted(Counter(from_us(one.episode.fired.at_us).date() for one in self.raised).items()))

    def durations_s(self) -> Mapping[str, float] | None:
        """Return total, median and longest duration, None without alerts."""
        lasted = [one.duration_s(self.until) for one in self.raised]
        if not lasted:
            return None
        return {"total": sum(lasted), "median": statistics.median(lasted), "longest": max(lasted)}


@dataclass(slots=True)
class _Bound:
    """How much may still be spent."""

    readings: int
    ends_at: float
    spent: int = 0

    @property
    def is_met(self) -> bool:
        return self.spent >= self.readings or time.monotonic() >= self.ends_at


@dataclass(slots=True)
class _Run:
    """What is known while a range is gone through."""

    definition: Definition
    start: datetime
    states: dict[str, SeriesState] = field(default_factory=dict[str, SeriesState])
    subjects: dict[str, Subject] = field(default_factory=dict[str, Subject])
    found: dict[str, list[Transition]] = field(default_factory=dict[str, list[Transition]])

    def judge(self, series: Sequence[Series], until: datetime) -> None:
        """Take a step in."""
        condition = self.definition.condition
        assert isinstance(condition, Threshold | RateOfChange | NoData | Anomaly)  # noqa: S101  by its stream
        first = SeriesState(last_us=to_us(self.start))
        for one in series:
            key = one.subject.key
            state = self.states.get(key, first)
            self.states[key], found = evaluate(
                condition, self.definition.for_s, state, one.batch, to_us(until)
            )
            self.subjects[key] = one.subject
            self.found.setdefault(key, []).extend(found)

    def raised(self) -> Iterator[Raised]:
        """Yield the alerts."""
        for key, transitions in self.found.items():
            for episode in episodes_of(transitions):
                yield Raised(self.subjects[key], episode)


class Backtest:
    """Tries rules, a few at a time."""

    def __init__(self, pool: asyncpg.Pool, settings: AlertSettings, sources: Sources | None = None) -> None:
        self._pool, self._settings, self._sources = pool, settings, sources or Sources()
        self._running = 0

    async def run(self, definition: Definition, start: datetime, end: datetime) -> Outcome:
        """Try a rule on [start, end). Raises RangeInvalid, NotKept, LogsUnavailable, TagsUnavailable, BacktestBusy."""
        if not timedelta(0) < end - start <= timedelta(days=_MOST_DAYS):
            raise RangeInvalid(hint=f"give up to {_MOST_DAYS} days", start=start.isoformat())
        if self._running >= _AT_ONCE:
            raise BacktestBusy(retry_after_s=self._settings.alert_backtest_s)
        self._running += 1
        try:
            with database_errors():
                match definition.condition:
                    case Threshold() | RateOfChange() | NoData() | Anomaly():
                        return await self._on_telemetry(definition, start, end)
                    case LogPattern() | LogCount() | LogSequence() as condition:
                        return await self._on_logs(definition, condition, start, end)
                    case _:
                        raise NotKept(hint="try it with an info severity and without targets for some days")
        finally:
            self._running -= 1

    def _bound(self) -> _Bound:
        settings = self._settings
        return _Bound(settings.alert_backtest_readings, time.monotonic() + settings.alert_backtest_s)

    async def _on_telemetry(self, definition: Definition, start: datetime, end: datetime) -> Outcome:
        began, bound, run = time.monotonic(), self._bound(), _Run(definition, start)
        chosen = Chosen(
            definition.selection, definition.metric, await self._sources.tagged(definition.selection)
        )
        async with self._pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
            await db.execute(stream_rows.SESSION)
            await db.execute(f"SET LOCAL statement_timeout = {self._settings.alert_backtest_s * 1000:.0f}")
            series = len(await stream_rows.list_series(db, chosen))
            kept_from = await db.fetchval("SELECT raw_kept_from FROM rollup_state")
            step = _step(definition, series)
            after, silent_too = start - timedelta(microseconds=1), isinstance(definition.condition, NoData)
            while after < end and series and not bound.is_met:
                until = min(after + step, end - timedelta(microseconds=1))
                if until <= after:
                    break
                try:
                    read = await stream_rows.read_series(db, chosen, after, until, silent_too=silent_too)
                except asyncpg.QueryCanceledError:  # the time was up inside a statement
                    break
                bound.spent += sum(len(one.batch.times_us) for one in read)
                await asyncio.to_thread(run.judge, read, until)
                after = until
        is_complete = not series or after >= end - timedelta(microseconds=1)
        return Outcome(
            raised=sorted(run.raised(), key=lambda one: one.episode.fired.at_us),
            series=series,
            readings=bound.spent,
            seconds=time.monotonic() - began,
            until=end if is_complete else after,
            is_complete=is_complete,
            kept_from=kept_from if kept_from > start else None,
        )

    async def _on_logs(
        self,
        definition: Definition,
        condition: LogPattern | LogCount | LogSequence,
        start: datetime,
        end: datetime,
    ) -> Outcome:
        if self._sources.logs is None:
            raise LogsUnavailable
        began, bound = time.monotonic(), self._bound()
        selection = definition.selection
        chosen = await standings(
            self._pool, selection, await self._sources.tagged(selection), with_reports=False
        )
        most = min(bound.readings, _MOST_LINES)
        lines = await self._sources.logs.between([one.uuid for one in chosen], start, end, limit=most)
        is_complete = len(lines) < most
        until = end if is_complete else from_us(lines[-1].at_us)
        raised, series = await asyncio.to_thread(_on_lines, condition, lines, until)
        return Outcome(
            raised=raised,
            series=series,
            readings=len(lines),
            seconds=time.monotonic() - began,
            until=until,
            is_complete=is_complete,
            kept_from=None,
        )


def _on_lines(
    condition: LogPattern | LogCount | LogSequence, lines: Sequence[LogLine], until: datetime
) -> tuple[list[Raised], int]:
    """Return the alerts that lines raise, and how many devices said something that is meant."""
    matcher = Matcher(condition)
    by_device: dict[str, list[tuple[int, list[bool]]]] = {}
    for line in lines:
        if matcher.concerns(line):
            by_device.setdefault(line.device_uuid, []).append((line.at_us, matcher.steps(line)))
    raised: list[Raised] = []
    for key, steps in by_device.items():
        _, found = evaluate_lines(condition, SeriesState(), steps, to_us(until))
        raised += [Raised(Subject(key, UUID(key)), episode) for episode in episodes_of(found)]
    return sorted(raised, key=lambda one: one.episode.fired.at_us), len(by_device)


def _step(definition: Definition, series: int) -> timedelta:
    """Return how much time is gone through at once, so that memory and a look at the clock stay small."""
    readings = _ANOMALY_READINGS_A_STEP if isinstance(definition.condition, Anomaly) else _READINGS_A_STEP
    seconds = readings / max(series, 1)  # as if each came once a second
    return timedelta(seconds=min(max(seconds, _LEAST_STEP_S), _MOST_STEP_S))

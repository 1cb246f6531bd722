"""Judges readings that came after their time had been judged.

The series is judged again from a while before the late reading, over all that stands there now:

- An alert that should have been is raised now, marked as late, once: where one of the same fingerprint
  stands at that time already, there is nothing to say.
- An alert that was raised is not taken back: somebody was told.
- What is known of the series after that replaces what was known, since it rests on more readings.

Anomalies are left out: a detector that has learned for weeks cannot be set back, and a fresh one knows nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from iotistic.control.alerts import alert_rows, rule_rows, stream_rows
from iotistic.control.alerts.conditions import Anomaly, NoData, RateOfChange, Threshold
from iotistic.control.alerts.episodes import Episode, episodes_of
from iotistic.control.alerts.evaluate import Change, Phase, SeriesState, Transition, evaluate
from iotistic.control.alerts.model import Database, Rule, Work, fingerprint, from_us, to_us
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.stream_rows import Chosen, Series

_MINUTE = timedelta(minutes=1)
_LOOK_BACK = timedelta(minutes=10)
_JOINED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Span:
    """Minutes of one device (or all of them) in which readings came late."""

    first: datetime
    last: datetime
    device_id: int | None


class LateJudge:
    """Judges minutes again."""

    def __init__(self, settings: AlertSettings) -> None:
        self._reach = timedelta(seconds=settings.alert_late_reach_s)

    async def judge(
        self,
        db: Database,
        work: Work,
        chosen: Chosen,
        marks: Sequence[tuple[datetime, int | None]],
        until: datetime,
        now: datetime,
    ) -> None:
        """Look at marked minutes, which the rule has judged to their end (`until` and before)."""
        if isinstance(work.rule.definition.condition, Anomaly):
            return
        for span in _joined(marks):
            if span.device_id is not None or await self._has_more(db, work.rule, chosen, span):
                await self._judge_span(db, work, chosen, span, until, now)

    async def _has_more(self, db: Database, rule: Rule, chosen: Chosen, span: _Span) -> bool:
        """Say whether more readings stand in a minute than were judged, and note that they are now."""
        has_more, minute = False, span.first
        while minute <= span.last:
            readings = await stream_rows.count_readings(db, chosen, minute, minute + _MINUTE)
            if readings != await stream_rows.judged_readings(db, rule.id, minute):
                has_more = True
                await stream_rows.set_readings(db, rule.id, minute, readings)
            minute += _MINUTE
        return has_more

    async def _judge_span(
        self, db: Database, work: Work, chosen: Chosen, span: _Span, until: datetime, now: datetime
    ) -> None:
        start = max(span.first - self._look_back(work.rule), work.started_at)
        end = min(until, span.last + _MINUTE + self._reach)
        if start >= end:
            return
        scope = None if span.device_id is None else [span.device_id]
        found = await stream_rows.read_series(db, replace(chosen, scope=scope), start, end)
        keys = [one.subject.key for one in found]
        known = await rule_rows.states(db, work.rule.id, keys)
        changed: dict[str, SeriesState] = {}
        for one in found:
            again = _Again(work.rule, one, (start, end), span.first)
            state = await again.judge(db, now)
            if end == until:
                before = known.get(one.subject.key, SeriesState())
                changed[one.subject.key] = await again.settle(db, before, state, now)
        await rule_rows.keep_states(db, work.rule.id, changed)

    @staticmethod
    def _look_back(rule: Rule) -> timedelta:
        condition, seconds = rule.definition.condition, rule.definition.for_s
        if isinstance(condition, RateOfChange):
            seconds += condition.window_s
        if isinstance(condition, NoData):
            seconds += condition.after_s
        return _LOOK_BACK + timedelta(seconds=seconds)


class _Again:
    """One series, judged again over a span."""

    def __init__(
        self, rule: Rule, series: Series, span: tuple[datetime, datetime], late_from: datetime
    ) -> None:
        self._rule, self._series, self._late_from = rule, series, late_from
        self._start, self._end = span
        self._transitions: list[Transition] = []

    async def judge(self, db: Database, now: datetime) -> SeriesState:
        """Raise what should have been raised; return what is known at the end of the span."""
        rule, subject = self._rule, self._series.subject
        condition = rule.definition.condition
        assert isinstance(condition, Threshold | RateOfChange | NoData)  # noqa: S101  anomalies are left out
        stood = await db.fetch(
            "SELECT since, coalesce(fired_at, since) AS fired_at, resolved_at FROM alerts WHERE fingerprint = $1 "
            "AND since <= $3 AND (resolved_at IS NULL OR resolved_at >= $2)",
            fingerprint(rule.id, subject.key),
            self._start,
            self._end,
        )
        state = SeriesState()
        for one in stood:
            if one["fired_at"] <= self._start:
                state = SeriesState(Phase.FIRING, to_us(one["since"]), to_us(self._start))
        after, self._transitions = evaluate(
            condition, rule.definition.for_s, state, self._series.batch, to_us(self._end)
        )
        spans = [(one["since"], one["resolved_at"]) for one in stood]
        for episode in episodes_of(self._transitions):
            if episode.ended is not None and self._is_news(episode, spans):
                await alert_rows.add_past(db, rule, subject, episode.fired, episode.ended, now)
        return after

    def _is_news(self, episode: Episode, spans: Sequence[tuple[datetime, datetime | None]]) -> bool:
        since, ended = (
            from_us(episode.fired.since_us),
            from_us(episode.ended.at_us) if episode.ended else None,
        )
        if ended is not None and ended < self._late_from:
            return False
        return not any(
            first <= (ended or self._end) and (last is None or last >= since) for first, last in spans
        )

    async def settle(
        self, db: Database, before: SeriesState, after: SeriesState, now: datetime
    ) -> SeriesState:
        """Let the open alert be what is known now; return that."""
        if before.phase is after.phase:
            return after
        if before.phase is Phase.FIRING and after.phase is Phase.PENDING:
            # The condition holds, only not for as long as it seemed: somebody was told, and it goes on.
            return msgspec.structs.replace(after, phase=Phase.FIRING)
        subject, last = self._series.subject, self._transitions[-1] if self._transitions else None
        if before.phase is not Phase.CLEAR and after.phase is Phase.CLEAR:
            over = Change.RESOLVED if before.phase is Phase.FIRING else Change.CANCELLED
            at_us = last.at_us if last is not None and last.change is over else to_us(self._end)
            await alert_rows.apply(db, self._rule, subject, [Transition(over, at_us, before.since_us)], now)
        elif last is not None and after.phase is Phase.FIRING:
            await alert_rows.fire(db, self._rule, subject, last, now, is_late=True)
        elif last is not None:
            await alert_rows.apply(db, self._rule, subject, [last], now)
        return after


def _joined(marks: Sequence[tuple[datetime, int | None]]) -> Iterator[_Span]:
    """Join minutes of one device that lie close together; `marks` are by device and minute, those of all last."""
    open_span: _Span | None = None
    for minute, device_id in marks:
        if (
            device_id is not None
            and open_span
            and open_span.device_id == device_id
            and minute - open_span.last <= _JOINED
        ):
            open_span = replace(open_span, last=minute)
        else:
            if open_span:
                yield open_span
            open_span = _Span(minute, minute, device_id)
    if open_span:
        yield open_span

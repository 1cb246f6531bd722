"""Judges telemetry as it is stored: the readings up to a little before now, then those that came late.

One look at one rule is one transaction: readings are read, judged, and what follows is written (alerts,
messages, states, how far we are), so a process that is killed has done all of it or nothing. The lock on the
rule's row of `alert_rule_work` keeps processes apart.

- In its turn: every reading after `evaluated_until` and up to `settle` before now that can be seen.
- Late: whoever stores readings marks their minutes in the same transaction (`alert_marks`). Once a rule has
  judged to the end of a marked minute, the readings that stand there are counted; more than it has judged
  means that some came late, and the series are judged again from before them (see `late`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from iotistic.control.alerts import alert_rows, rule_rows, stream_rows
from iotistic.control.alerts.conditions import Anomaly, Definition, NoData, RateOfChange, Threshold
from iotistic.control.alerts.evaluate import NEVER, SeriesState, Transition, evaluate
from iotistic.control.alerts.late import LateJudge
from iotistic.control.alerts.model import Database, Work, to_us
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.sources import Sources
from iotistic.control.alerts.stream_rows import Chosen, Series

_FORGET_MINUTES = timedelta(hours=6)
_LATE_A_LOOK = 500
_LEAST_SPAN_S, _MOST_SPAN_S = 10, 900


class TelemetryWatch:
    """One look at one rule on telemetry, in the caller's transaction."""

    def __init__(self, settings: AlertSettings, sources: Sources) -> None:
        self._settings, self._sources = settings, sources
        self._late = LateJudge(settings)

    async def look(self, db: Database, work: Work, now: datetime) -> bool:
        """Judge what has come; return whether more waits."""
        await db.execute(stream_rows.SESSION)
        condition = work.rule.definition.condition
        assert isinstance(condition, Threshold | RateOfChange | NoData | Anomaly)  # noqa: S101  by its stream
        selection = work.rule.definition.selection
        chosen = Chosen(selection, condition.metric, await self._sources.tagged(selection))
        settled = now - timedelta(seconds=self._settings.alert_settle_s)
        until = min(settled, work.evaluated_until + await self._span(db, chosen, work, settled))
        if until > work.evaluated_until:
            await self._advance(db, work, chosen, until, now)
        until = max(until, work.evaluated_until)
        marks = await stream_rows.take_late(db, work.rule.id, until, most=_LATE_A_LOOK)
        if marks:
            await self._late.judge(db, work, chosen, marks, until, now)
        await stream_rows.forget_minutes(db, work.rule.id, until - _FORGET_MINUTES)
        await rule_rows.looked(db, work.rule.id, now, until=until)
        return until < settled or len(marks) == _LATE_A_LOOK

    async def _span(self, db: Database, chosen: Chosen, work: Work, settled: datetime) -> timedelta:
        """Return how much time one look takes in; only catching up needs to ask."""
        if (settled - work.evaluated_until).total_seconds() <= _LEAST_SPAN_S:
            return timedelta(seconds=_LEAST_SPAN_S)
        series = len(await stream_rows.list_series(db, chosen))
        seconds = self._settings.alert_readings_per_round / max(series, 1)
        return timedelta(seconds=min(max(seconds, _LEAST_SPAN_S), _MOST_SPAN_S))

    async def _advance(
        self, db: Database, work: Work, chosen: Chosen, until: datetime, now: datetime
    ) -> None:
        rule = work.rule
        condition = rule.definition.condition
        silent_too = isinstance(condition, NoData)
        found = await stream_rows.read_series(db, chosen, work.evaluated_until, until, silent_too=silent_too)
        known = await rule_rows.states(db, rule.id, [one.subject.key for one in found])
        before = [known.get(one.subject.key) or first_state(condition, one, work.started_at) for one in found]
        # A rule over ten thousand series takes a quarter of a second, in which this process has other things to do.
        judged = await asyncio.to_thread(_judge, rule.definition, found, before, to_us(until))
        changed: dict[str, SeriesState] = {}
        for one, (after, transitions) in zip(found, judged, strict=True):
            if after.is_of_note or one.subject.key in known:
                changed[one.subject.key] = after
            await alert_rows.apply(db, rule, one.subject, transitions, now)
        await rule_rows.keep_states(db, rule.id, changed)
        times = stream_rows.concatenated([one.batch for one in found])
        if len(times):
            await stream_rows.add_readings(db, rule.id, times)


def _judge(
    definition: Definition, found: Sequence[Series], before: Sequence[SeriesState], until_us: int
) -> list[tuple[SeriesState, list[Transition]]]:
    condition = definition.condition
    assert isinstance(condition, Threshold | RateOfChange | NoData | Anomaly)  # noqa: S101  by its stream
    return [
        evaluate(condition, definition.for_s, state, one.batch, until_us)
        for one, state in zip(found, before, strict=True)
    ]


def first_state(condition: object, series: Series, started_at: datetime) -> SeriesState:
    """Return what is known of a series of which nothing is noted: silence counts from the last reading."""
    if not isinstance(condition, NoData):
        return SeriesState()
    before = NEVER if series.before_us is None else series.before_us
    if before == NEVER and not len(series.batch.times_us):
        return SeriesState()
    return SeriesState(last_us=int(np.maximum(before, to_us(started_at))))

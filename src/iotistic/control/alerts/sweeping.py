"""Judges what devices of fleets report, and the lines that they log. One look at one rule is one transaction."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import numpy as np

from iotistic.control.alerts import alert_rows, rule_rows
from iotistic.control.alerts.conditions import (
    DeviceOffline,
    LogCount,
    LogPattern,
    LogSequence,
    ReportedValue,
    ServiceNotRunning,
)
from iotistic.control.alerts.device_rows import Standing, measured, standings
from iotistic.control.alerts.evaluate import Batch, Phase, SeriesState, Transition, evaluate
from iotistic.control.alerts.log_evaluate import LogLine, Matcher, evaluate_lines
from iotistic.control.alerts.model import Database, LogsUnavailable, Rule, Subject, Work, to_us
from iotistic.control.alerts.sources import LogSource, Sources

_LINES_A_LOOK = 5000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class DeviceSweep:
    """One look at one rule on the state of devices: what stands there at this time."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def look(self, db: Database, work: Work, now: datetime) -> bool:
        """Judge every selected device; return False: nothing waits."""
        rule = work.rule
        selection, condition = rule.definition.selection, rule.definition.condition
        found = await standings(
            db,
            selection,
            await self._sources.tagged(selection),
            with_reports=not isinstance(condition, DeviceOffline),
        )
        known = await rule_rows.states(db, rule.id, await rule_rows.subjects_of_note(db, rule.id))
        seen = await self._seen(condition)
        changed: dict[str, SeriesState] = {}
        for one in found:
            subject = Subject(str(one.uuid), one.uuid, one.name, rule.definition.metric)
            before = known.pop(subject.key, None)
            after, transitions = _judge(
                rule, before, one, max(one.heard_at, work.started_at, seen.get(one.uuid, _NEVER)), now
            )
            if after.is_of_note or before is not None:
                changed[subject.key] = after
            await alert_rows.apply(db, rule, subject, transitions, now)
        for gone, state in known.items():  # removed, switched off, or selected no more
            changed[gone] = SeriesState()
            if state.phase is not Phase.CLEAR:
                await alert_rows.end(db, rule.id, now, "device left", subject=gone)
        await rule_rows.keep_states(db, rule.id, changed)
        await rule_rows.looked(db, rule.id, now, until=now)
        return False

    async def _seen(self, condition: object) -> Mapping[UUID, datetime]:
        presence = self._sources.presence
        return await presence.seen() if presence and isinstance(condition, DeviceOffline) else {}


def _judge(
    rule: Rule, before: SeriesState | None, one: Standing, heard_at: datetime, now: datetime
) -> tuple[SeriesState, list[Transition]]:
    condition, now_us = rule.definition.condition, to_us(now)
    match condition:
        case DeviceOffline():
            batch = Batch(np.array([min(to_us(heard_at), now_us)], np.int64), np.zeros(1))
        case ServiceNotRunning() | ReportedValue():
            said = [value] if (value := measured(condition, one)) is not None else []
            batch = Batch(np.full(len(said), now_us, np.int64), np.array(said, np.float64))
        case _:
            raise TypeError(f"{condition.type} is not about devices")
    return evaluate(condition, rule.definition.for_s, before or SeriesState(), batch, now_us)


class LogWatch:
    """One look at one rule on logs: the lines since the last look, by a cursor of their source."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def look(self, db: Database, work: Work, now: datetime) -> bool:
        """Judge what has come; return whether more waits. Raises LogsUnavailable."""
        logs = self._sources.logs
        if logs is None:
            raise LogsUnavailable
        if work.log_cursor is None:
            await rule_rows.looked(db, work.rule.id, now, until=now, log_cursor=await logs.end())
            return False
        return await self._judge(db, work, logs, now)

    async def _judge(self, db: Database, work: Work, logs: LogSource, now: datetime) -> bool:
        rule, condition = work.rule, work.rule.definition.condition
        assert isinstance(condition, LogPattern | LogCount | LogSequence)  # noqa: S101  by its stream
        lines, cursor = await logs.after(work.log_cursor or "", limit=_LINES_A_LOOK)
        by_device = await self._wanted(db, rule, Matcher(condition), lines)
        subjects = await rule_rows.subjects_of_note(db, rule.id)
        known = await rule_rows.states(db, rule.id, sorted({*by_device, *subjects}))
        # While lines wait, time has not come further than the last line.
        until_us = to_us(now) if len(lines) < _LINES_A_LOOK else lines[-1].at_us
        changed: dict[str, SeriesState] = {}
        for key in sorted({*by_device, *known}):
            before = known.get(key, SeriesState())
            after, transitions = evaluate_lines(condition, before, by_device.get(key, []), until_us)
            if after != before:
                changed[key] = after
            await alert_rows.apply(db, rule, Subject(key, UUID(key)), transitions, now)
        await rule_rows.keep_states(db, rule.id, changed)
        await rule_rows.looked(db, rule.id, now, until=now, log_cursor=cursor)
        return len(lines) == _LINES_A_LOOK

    async def _wanted(
        self, db: Database, rule: Rule, matcher: Matcher, lines: list[LogLine]
    ) -> dict[str, list[tuple[int, list[bool]]]]:
        """Return the lines that match something, of the devices that are selected."""
        found: defaultdict[str, list[tuple[int, list[bool]]]] = defaultdict(list)
        for line in lines:
            if matcher.concerns(line) and any(steps := matcher.steps(line)):
                found[line.device_uuid].append((line.at_us, steps))
        if not found:
            return {}
        selection = rule.definition.selection
        chosen = await standings(db, selection, await self._sources.tagged(selection), with_reports=False)
        names = {str(one.uuid) for one in chosen}
        return {key: steps for key, steps in found.items() if key in names}

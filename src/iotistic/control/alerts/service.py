"""What people do with rules, alerts and silences.

A rule that is changed in what it judges begins anew: what it knew of its subjects means nothing any more,
and its open alerts end, with the reason. Names, severities and targets change without that.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.access.model import Scope
from iotistic.control.alerts import alert_rows, desk_rows, rule_rows, target_rows
from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.model import (
    Alert,
    AlertOver,
    AlertUnknown,
    Database,
    Rule,
    RuleUnknown,
    Silence,
    SilenceInvalid,
    SilenceUnknown,
    TargetUnknown,
    utc_now,
)
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LONGEST_SILENCE = timedelta(days=366)
_STATS_DAYS = timedelta(days=7)


class RuleService:
    """Makes, changes and removes rules."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._clock = pool, clock

    async def list_all(self) -> list[Rule]:
        """Return every rule by name."""
        with database_errors():
            return await rule_rows.list_all(self._pool)

    async def find(self, rule_id: UUID) -> Rule:
        """Return one rule. Raises RuleUnknown."""
        with database_errors():
            return await _known_rule(self._pool, rule_id)

    async def create(self, spec: RuleSpec, *, by: str) -> Rule:
        """Keep a rule, which judges from now on. Raises RuleTaken, TargetUnknown."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await _check_targets(db, spec.targets)
                rule_id = await rule_rows.add(db, spec, now, by)
                if spec.is_enabled:
                    await rule_rows.start(db, rule_id, now)
                rule = await _known_rule(db, rule_id)
        log.info("alert_rule.created", rule_id=str(rule_id), by=by)
        return rule

    async def change(self, rule_id: UUID, spec: RuleSpec, *, by: str) -> Rule:
        """Replace a rule. Raises RuleUnknown, RuleTaken, TargetUnknown."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await _check_targets(db, spec.targets)
                await rule_rows.lock(db, rule_id)
                before = await _known_rule(db, rule_id)
                is_new = before.definition != spec.definition
                await rule_rows.replace(db, rule_id, spec, now, anew=is_new)
                if is_new or before.is_enabled != spec.is_enabled:
                    reason = "rule changed" if spec.is_enabled else "rule disabled"
                    await alert_rows.end(db, rule_id, now, reason)
                    await rule_rows.stop(db, rule_id)
                    if spec.is_enabled:
                        await rule_rows.start(db, rule_id, now)
                rule = await _known_rule(db, rule_id)
        log.info("alert_rule.changed", rule_id=str(rule_id), by=by, version=rule.version)
        return rule

    async def remove(self, rule_id: UUID, *, by: str) -> None:
        """Remove a rule; its alerts end and stay. Raises RuleUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                if not await rule_rows.lock(db, rule_id):
                    raise RuleUnknown
                await alert_rows.end(db, rule_id, self._clock(), "rule removed")
                await rule_rows.remove(db, rule_id)
        log.info("alert_rule.removed", rule_id=str(rule_id), by=by)


class AlertService:
    """What is open, and what people say of it."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._clock = pool, clock

    async def list_newest(
        self,
        scope: Scope,
        *,
        state: str | None = None,
        severity: str | None = None,
        rule_id: UUID | None = None,
        device_uuid: UUID | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[Alert]:
        """Return alerts, the newest first, before (created_at, id)."""
        with database_errors():
            return await desk_rows.list_alerts(
                self._pool,
                scope.parameter(),
                state=state,
                severity=severity,
                rule_id=rule_id,
                device_uuid=device_uuid,
                before=before,
                limit=limit,
            )

    async def find(self, scope: Scope, alert_id: UUID) -> Alert:
        """Return one alert. Raises AlertUnknown."""
        with database_errors():
            found = await desk_rows.find_alert(self._pool, scope.parameter(), alert_id)
        if found is None:
            raise AlertUnknown
        return found

    async def stats(self, scope: Scope) -> dict[str, dict[str, int]]:
        """Return counts by state and severity; what is resolved counts for a week."""
        with database_errors():
            rows = await desk_rows.stats(self._pool, scope.parameter(), self._clock() - _STATS_DAYS)
        counts: dict[str, dict[str, int]] = {}
        for row in rows:
            counts.setdefault(row["state"], {})[row["severity"]] = row["alerts"]
        return counts

    async def acknowledge(self, scope: Scope, alert_id: UUID, *, by: str) -> Alert:
        """Say that somebody looks after it. Raises AlertUnknown, AlertOver."""
        with database_errors():
            done = await desk_rows.acknowledge(self._pool, scope.parameter(), alert_id, self._clock(), by)
        return done or await self._refuse(scope, alert_id)

    async def resolve(self, scope: Scope, alert_id: UUID, *, by: str) -> Alert:
        """End it by a person's word; it is raised anew once its condition has ended and begins again."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                reason = f"resolved by {by}"
                done = await desk_rows.resolve(db, scope.parameter(), alert_id, now, reason)
                if done is not None:
                    await alert_rows.tell_the_end(db, done, now)
        return done or await self._refuse(scope, alert_id)

    async def _refuse(self, scope: Scope, alert_id: UUID) -> Alert:
        found = await self.find(scope, alert_id)
        raise AlertOver(state=found.state.value)

    async def silences(self, scope: Scope) -> list[Silence]:
        """Return the silences that are not over."""
        with database_errors():
            return await desk_rows.list_open(self._pool, scope.parameter(), self._clock())

    async def silence(
        self,
        scope: Scope,
        *,
        rule_id: UUID | None,
        device_uuid: UUID | None,
        until: datetime,
        starts_at: datetime | None,
        comment: str,
        by: str,
    ) -> Silence:
        """Let alerts of a rule, a device, or a rule on a device be told nobody. Raises SilenceInvalid, RuleUnknown."""
        now = self._clock()
        start = starts_at or now
        if rule_id is None and device_uuid is None:
            raise SilenceInvalid(hint="give ruleId, deviceUuid or both")
        if not start < until or until <= now or until - now > _LONGEST_SILENCE:
            raise SilenceInvalid(hint="give an `until` after its start, within a year")
        if device_uuid is not None:
            scope.require(device_uuid)
        try:
            with database_errors():
                async with self._pool.acquire() as db, db.transaction():
                    return await desk_rows.add(
                        db,
                        rule_id=rule_id,
                        device_uuid=device_uuid,
                        starts_at=start,
                        until=until,
                        comment=comment,
                        by=by,
                        now=now,
                    )
        except asyncpg.ForeignKeyViolationError as exc:
            raise RuleUnknown from exc

    async def end_silence(self, scope: Scope, silence_id: UUID) -> Silence:
        """Let a silence be over; what fires then is told. Raises SilenceUnknown."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                done = await desk_rows.end(db, scope.parameter(), silence_id, now)
                if done is None:
                    raise SilenceUnknown
                await alert_rows.wake(db, now)
        return done


async def _known_rule(db: Database, rule_id: UUID) -> Rule:
    found = await rule_rows.find(db, rule_id)
    if found is None:
        raise RuleUnknown
    return found


async def _check_targets(db: Database, targets: Sequence[UUID]) -> None:
    if missing := await target_rows.unknown(db, list(targets)):
        raise TargetUnknown(targets=[str(one) for one in missing])

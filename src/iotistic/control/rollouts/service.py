"""Preview a change, make a rollout of it, look after it.

- A rollout is durable before anybody is told that it exists; the loop (`engine`) does the rest.
- Making one takes its devices from older rollouts, in the same transaction.
- What somebody asks for (pause, resume, cancel, roll back) is a change of its state; the loop acts on it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog

from iotistic.control.access.model import Scope
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.rollouts import repository
from iotistic.control.rollouts.changes import Change
from iotistic.control.rollouts.durations import Durations
from iotistic.control.rollouts.health import baseline
from iotistic.control.rollouts.model import (
    BAD,
    TOUCHED,
    Counts,
    NothingToRollOut,
    Part,
    PartState,
    RolloutInvalid,
    RolloutState,
    RolloutUnknown,
    WrongState,
    may_become,
)
from iotistic.control.rollouts.policy import Policy, assign_waves
from iotistic.control.rollouts.preview import DevicePlan, FleetPlan, FleetPlanner, Outcome
from iotistic.control.rollouts.reading import Known, read_devices, read_durations, read_spread
from iotistic.control.rollouts.repository import Rollout, RolloutEvent
from iotistic.control.rollouts.selection import Selection, select
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Decision, DecisionKind, Surroundings
from iotistic.control.rollouts.writing import summary
from iotistic.kernel.postgres.pool import database_errors
from iotistic.planning.images import canonical

log = structlog.get_logger()

_MAKING = "SELECT pg_advisory_xact_lock(hashtextextended('rollouts: making', 0))"
_THERE = "SELECT uuid FROM fleet_devices WHERE uuid = ANY($1::uuid[])"
# Rollouts before their parts, as the loop takes them. One that is rolled back may begin again with any of its parts.
_LOCK_OLDER = (
    "SELECT id FROM rollouts r WHERE id IN (SELECT rollout_id FROM rollout_parts WHERE device_uuid = ANY($1::uuid[]) "
    "AND (state IN ('waiting', 'updating', 'watching', 'rolling_back') OR r.state = 'rolling_back')) "
    "ORDER BY id FOR UPDATE"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A rollout as somebody asks for it."""

    name: str
    change: Change
    selection: Selection
    policy: Policy


class RolloutService:
    """The use cases around rollouts. `changed` hears that the loop has something to do."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        around: Surroundings,
        settings: RolloutSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool, self._around, self._settings = pool, around, settings
        self._clock, self._changed = clock, changed

    async def preview(self, change: Change, selection: Selection, *, scope: Scope) -> FleetPlan:
        """Return what a change would do to each device.

        Raises NobodySelected, TooManyDevices, TagsUnavailable.
        """
        plan, _ = await self._plan(change, selection, scope)
        return plan

    async def create(self, asked: Asked, *, by: str, scope: Scope) -> Rollout:
        """Make a rollout, which begins at once if its policy lets it.

        Raises NobodySelected, TooManyDevices, TagsUnavailable, NothingToRollOut, RolloutInvalid.
        """
        plan, known = await self._plan(asked.change, asked.selection, scope)
        takes_part = [one for one in plan.devices if one.outcome in (Outcome.READY, Outcome.WAITS)]
        if not takes_part:
            codes = Counter(one.refusal.code for one in plan.devices if one.refusal)
            raise NothingToRollOut(
                hint="POST /rollouts/preview says why, for each device", refusals=dict(codes)
            )
        now, rollout_id = self._clock(), uuid4()
        rollout = Rollout(
            id=rollout_id,
            name=asked.name,
            state=RolloutState.RUNNING,
            change=asked.change.model_dump(
                mode="json", by_alias=True, exclude_none=asked.change.kind == "image"
            ),
            selection=asked.selection.write(),
            policy=asked.policy,
            created_at=now,
            created_by=by,
            expires_at=now + timedelta(seconds=asked.policy.ends_after_s),
        )
        parts = _parts(rollout, plan, known)
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                try:
                    await self._keep(db, rollout, parts)
                except asyncpg.DataError as exc:  # NUL, half a surrogate
                    raise RolloutInvalid(f"the rollout cannot be stored: {exc}") from exc
        log.info("rollout.created", rollout_id=str(rollout_id), devices=len(takes_part), by=by)
        self._changed()
        return rollout

    async def newest(
        self, *, states: Sequence[RolloutState], cursor: UUID | None, limit: int
    ) -> tuple[list[Rollout], dict[UUID, Counts]]:
        """Return rollouts after the cursor, the newest first, with the counts of their parts. Raises RolloutUnknown."""
        with database_errors():
            before = None
            if cursor is not None:
                at = await self._found(self._pool, cursor)
                before = (at.created_at, at.id)
            found = await repository.newest(
                self._pool, states=[str(one) for one in states] or None, before=before, limit=limit
            )
            return found, await repository.counts(self._pool, [one.id for one in found])

    async def find(self, rollout_id: UUID) -> tuple[Rollout, Counts]:
        """Return a rollout and the counts of its parts. Raises RolloutUnknown."""
        with database_errors():
            rollout = await self._found(self._pool, rollout_id)
            return rollout, (await repository.counts(self._pool, [rollout_id]))[rollout_id]

    async def parts(
        self, rollout_id: UUID, *, states: Sequence[PartState], after: UUID | None, limit: int
    ) -> list[tuple[Part, str]]:
        """Return its parts with the names of devices, in the order of uuids. Raises RolloutUnknown."""
        with database_errors():
            await self._found(self._pool, rollout_id)
            named = [str(one) for one in states] or None
            return await repository.parts(self._pool, rollout_id, states=named, after=after, limit=limit)

    async def events(self, rollout_id: UUID, *, after: int, limit: int) -> list[RolloutEvent]:
        """Return what happened, the oldest first. Raises RolloutUnknown."""
        with database_errors():
            await self._found(self._pool, rollout_id)
            return await repository.events(self._pool, rollout_id, after=after, limit=limit)

    async def pause(self, rollout_id: UUID, *, by: str) -> Rollout:
        """Let no further device begin. Raises RolloutUnknown, WrongState."""
        return await self._become(rollout_id, RolloutState.PAUSED, by=by)

    async def resume(self, rollout_id: UUID, *, by: str) -> Rollout:
        """Go on; failures until now do not count any more. Raises RolloutUnknown, WrongState."""
        return await self._become(rollout_id, RolloutState.RUNNING, by=by)

    async def cancel(self, rollout_id: UUID, *, by: str) -> Rollout:
        """Give up on those that wait; the others stay as they are. Raises RolloutUnknown, WrongState."""
        return await self._become(rollout_id, RolloutState.CANCELLING, by=by)

    async def roll_back(self, rollout_id: UUID, *, by: str) -> Rollout:
        """Give each device that has the new target the one of before. Raises RolloutUnknown, WrongState."""
        return await self._become(rollout_id, RolloutState.ROLLING_BACK, by=by)

    async def _become(self, rollout_id: UUID, state: RolloutState, *, by: str) -> Rollout:
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                rollout = await self._found(db, rollout_id, for_update=True)
                counts = (await repository.counts(db, [rollout_id]))[rollout_id]
                self._check(rollout, state, counts)
                if state is RolloutState.RUNNING:
                    rollout = replace(rollout, forgiven=counts.of(*BAD))
                rollout = replace(rollout, state=state, ended_at=None)
                await db.execute(
                    "UPDATE rollouts SET state = $2, forgiven = $3, ended_at = NULL, look_at = $4 WHERE id = $1",
                    rollout_id,
                    state,
                    rollout.forgiven,
                    now,
                )
                code = f"rollout.{state}_by_somebody"
                event = RolloutEvent(rollout_id=rollout_id, at=now, kind=f"rollout.{state}", code=code, by=by)
                await repository.add_events(db, [event])
                await self._decide(db, rollout, state, code, by, now)
        log.info("rollout.changed", rollout_id=str(rollout_id), state=str(state), by=by)
        self._changed()
        return rollout

    def _check(self, rollout: Rollout, state: RolloutState, counts: Counts) -> None:
        if not may_become(rollout.state, state):
            raise WrongState(f"the rollout is {rollout.state}", state=str(rollout.state))
        if state is RolloutState.ROLLING_BACK and not counts.of(*TOUCHED, PartState.WAITING):
            raise WrongState("no device has the new target of this rollout", state=str(rollout.state))

    async def _decide(
        self, db: Database, rollout: Rollout, state: RolloutState, code: str, by: str, now: datetime
    ) -> None:
        if state is RolloutState.RUNNING:
            return
        kind = DecisionKind.ROLLED_BACK if state is RolloutState.ROLLING_BACK else DecisionKind.STOPPED
        reason = f"somebody asked for it: {by}"
        decision = Decision(kind=kind, at=now, rollout_id=rollout.id, code=code, reason=reason, by=by)
        await self._around.decisions.record(db, [decision])

    async def _plan(self, change: Change, selection: Selection, scope: Scope) -> tuple[FleetPlan, Known]:
        settings = self._settings
        with database_errors():
            devices = await select(
                self._pool, selection, scope, self._around.tags, most=settings.rollout_most_devices
            )
            known = await read_devices(self._pool, devices)
        planner = FleetPlanner(
            change, Durations(), self._clock(), offline_after_s=settings.rollout_offline_after_s
        )
        # Both are work of the processor for seconds, in a large fleet: other requests go on meanwhile.
        images = await asyncio.to_thread(planner.images, known)
        sizes = await self._around.sizes.sizes(images)
        with database_errors():
            durations = await read_durations(
                self._pool, {canonical(name): size for name, size in sizes.items()}
            )
            spread = await read_spread(self._pool)
        return await asyncio.to_thread(planner.with_durations(durations, spread).plan, known), known

    async def _keep(self, db: Database, rollout: Rollout, planned: list[Part]) -> None:
        await db.execute(_MAKING)
        # Devices may have been removed since the plan was made; while rollouts are made none is.
        there = {row["uuid"] for row in await db.fetch(_THERE, [one.device_uuid for one in planned])}
        parts = [one for one in planned if one.device_uuid in there]
        now = rollout.created_at
        devices = [one.device_uuid for one in parts if one.state is PartState.WAITING]
        if not devices:
            raise NothingToRollOut("the devices were removed meanwhile")
        await db.fetch(_LOCK_OLDER, devices)
        taken = await repository.supersede(db, devices, rollout.id, now)
        await repository.add(db, rollout)
        await repository.add_parts(db, rollout.id, parts)
        code, reason = "rollout.superseded", f"the newer rollout {rollout.id} took it over"
        facts = {"devices": len(devices), "parts": len(parts)}
        events = [
            RolloutEvent(
                rollout_id=rollout.id, at=now, kind="rollout.created", by=rollout.created_by, facts=facts
            )
        ]
        events += [
            RolloutEvent(
                rollout_id=older,
                at=now,
                kind="device.superseded",
                device_uuid=device,
                code=code,
                reason=reason,
            )
            for older, device in taken
        ]
        await repository.add_events(db, events)
        decisions = [
            Decision(
                kind=DecisionKind.SUPERSEDED,
                at=now,
                rollout_id=older,
                device_uuid=device,
                code=code,
                reason=reason,
            )
            for older, device in taken
        ]
        decisions += [
            Decision(
                kind=DecisionKind.REFUSED,
                at=now,
                rollout_id=rollout.id,
                device_uuid=one.device_uuid,
                code=one.code,
                reason=one.reason,
            )
            for one in parts
            if one.state is PartState.REFUSED
        ]
        await self._around.decisions.record(db, decisions)

    async def _found(self, db: Database, rollout_id: UUID, *, for_update: bool = False) -> Rollout:
        found = await repository.find(db, rollout_id, for_update=for_update)
        if found is None:
            raise RolloutUnknown(rollout=str(rollout_id))
        return found


def _parts(rollout: Rollout, plan: FleetPlan, known: Known) -> list[Part]:
    """Return the parts in the order in which they begin; those that refuse have ended."""
    goes = [one.uuid for one in plan.devices if one.outcome in (Outcome.READY, Outcome.WAITS)]
    waves = assign_waves(goes, rollout.policy.waves, str(rollout.id))
    told = {one.uuid: one.told for one in known.devices}
    by_uuid = {one.uuid: one for one in plan.devices}
    ordered = [by_uuid[uuid] for uuid in waves] + [one for one in plan.devices if one.uuid not in waves]
    parts: list[Part] = []
    for one in ordered:
        prediction = plan.prediction(one)
        replaced = prediction.replaced if prediction else ()
        parts.append(
            Part(
                device_uuid=one.uuid,
                wave=waves.get(one.uuid, 0),
                state=_state(one),
                deadline=rollout.expires_at,
                code=one.refusal.code if one.refusal else "",
                reason=one.refusal.reason if one.refusal else "",
                from_version=one.from_version,
                ended_at=None if one.uuid in waves else rollout.created_at,
                baseline=baseline(told[one.uuid].services, replaced),
                predicted=_predicted(one, plan),
            )
        )
    return parts


def _predicted(one: DevicePlan, plan: FleetPlan) -> Mapping[str, Any]:
    expected = one.expected or plan.prediction(one)
    return summary(expected, plan.bytes_to_fetch[one.plan or ""], plan.spread) if expected else {}


def _state(one: DevicePlan) -> PartState:
    if one.outcome is Outcome.REFUSED:
        return PartState.REFUSED
    return PartState.UNCHANGED if one.outcome is Outcome.UNCHANGED else PartState.WAITING

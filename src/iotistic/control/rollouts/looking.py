"""One look at one rollout, in one transaction: what devices said, what becomes of parts, what the rollout does.

All of it is committed together or not at all, so a process that dies in the middle leaves what there was before,
and whoever looks next does the same again. What a device is told to be, and that its part says so, are one.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.rollouts import repository
from iotistic.control.rollouts.beginning import Batch, begin, events_of, go_back
from iotistic.control.rollouts.durations import Sample
from iotistic.control.rollouts.health import Told, actual_of, observe, samples_of
from iotistic.control.rollouts.judging import PartMove, Progress, Verdict, judge_part, judge_rollout
from iotistic.control.rollouts.model import BAD, Counts, Part, PartState, RolloutState, may_move
from iotistic.control.rollouts.reading import REPORT, content_of, own_times, read_durations, told_of
from iotistic.control.rollouts.repository import PART, Rollout, RolloutEvent, part_of
from iotistic.control.rollouts.sequential import Seen
from iotistic.control.rollouts.signals import Decision, DecisionKind, Surroundings
from iotistic.control.rollouts.waiting import ask, control_group, look_at, note
from iotistic.control.states.model import Target as StoredTarget
from iotistic.planning.model import Target
from iotistic.planning.target import read_target

_DUE = (
    f"SELECT {PART}, t.version AS in_force, t.document, {REPORT} FROM rollout_parts p "  # noqa: S608  constant
    "LEFT JOIN device_targets t ON t.device_uuid = p.device_uuid "
    "LEFT JOIN device_states s ON s.device_uuid = p.device_uuid "
    "WHERE p.rollout_id = $1 AND ((p.state IN ('updating', 'watching', 'rolling_back') AND (p.deadline <= $2 "
    "OR s.reported_at IS DISTINCT FROM p.report_at OR t.version IS DISTINCT FROM coalesce(p.back_version, p.to_version) "
    "OR p.device_uuid = ANY($4::uuid[]))) "
    "OR (p.state = 'succeeded' AND (s.reported_at IS DISTINCT FROM p.report_at OR p.device_uuid = ANY($4::uuid[])) "
    "AND t.version = p.to_version)) "
    "ORDER BY p.device_uuid LIMIT $3 FOR UPDATE OF p"
)
_MOVE = (
    "UPDATE rollout_parts p SET state = n.state, deadline = n.deadline, code = n.code, reason = n.reason, "
    "report_at = n.report_at, actual = CASE WHEN n.actual = '{}' THEN p.actual ELSE n.actual::jsonb END, "
    "settled_at = CASE WHEN n.state = 'watching' AND p.state <> 'watching' THEN $2 ELSE p.settled_at END, "
    "ended_at = CASE WHEN n.deadline IS NOT NULL THEN NULL WHEN p.state = n.state THEN p.ended_at ELSE $2 END "
    "FROM unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::timestamptz[], $9::text[]) "
    "AS n (device_uuid, state, deadline, code, reason, report_at, actual) "
    "WHERE p.rollout_id = $1 AND p.device_uuid = n.device_uuid"
)
_GIVE_UP = (
    "UPDATE rollout_parts SET state = 'cancelled', deadline = NULL, ended_at = $2, code = $3, reason = $4 "
    "WHERE rollout_id = $1 AND state = 'waiting' RETURNING device_uuid"
)
_STATE = (
    "UPDATE rollouts SET state = $2, wave = $3, halt_code = $4, halt_reason = $5, halt_facts = $6::text::jsonb, "
    "ended_at = $7, look_at = $8 WHERE id = $1"
)
_TOUCHED = "SELECT device_uuid FROM rollout_parts WHERE rollout_id = $1 AND state IN ('updating', 'watching', 'succeeded')"
_TARGETS_KEPT = 256


@dataclass
class Look:
    """What a look found and did. `again` says that there is more to do at once."""

    rollout: Rollout
    announce: list[tuple[UUID, StoredTarget]] = field(default_factory=list[tuple[UUID, StoredTarget]])
    events: list[RolloutEvent] = field(default_factory=list[RolloutEvent])
    decisions: list[Decision] = field(default_factory=list[Decision])
    again: bool = False
    silent: list[str] = field(default_factory=list[str])
    """Sources of health that did not answer. Parts end at their deadlines all the same, but no further device begins."""


class Looker:
    """Looks at rollouts; keeps nothing between two looks."""

    def __init__(self, around: Surroundings, *, batch: int, look_every_s: float) -> None:
        self._around, self._batch, self._every = around, batch, timedelta(seconds=look_every_s)

    async def look(self, db: Database, now: datetime) -> Look | None:
        """Look at the rollout that is due longest, in the caller's transaction; None when none is due."""
        rollout = await repository.claim(db, now)
        if rollout is None:
            return None
        look = Look(rollout)
        await self._move_parts(db, look, now)
        counts = (await repository.counts(db, [rollout.id]))[rollout.id]
        lately, ended_at, deadline = await repository.pace(db, rollout.id, rollout.wave, now)
        progress = Progress(
            state=rollout.state,
            wave=rollout.wave,
            counts=counts,
            expires_at=rollout.expires_at,
            wave_ended_at=ended_at,
            waiting=await self._waiting(db, look, counts),
            begun_lately=lately,
            forgiven=rollout.forgiven,
        )
        verdict = judge_rollout(progress, rollout.policy, now)
        if look.silent and (verdict.begin or verdict.next_wave):
            verdict = Verdict(look_at=now + self._every)
        await self._do(db, look, verdict, counts, now)
        await self._put(db, look, verdict, now, deadline)
        await repository.add_events(db, look.events)
        await self._around.decisions.record(db, look.decisions)
        return look

    async def _move_parts(self, db: Database, look: Look, now: datetime) -> None:
        rollout = look.rollout
        others = await self._others(db, look)
        rows = await db.fetch(_DUE, rollout.id, now, self._batch, list(others))
        look.again = len(rows) == self._batch
        moves: list[tuple[Part, PartMove, Told]] = []
        took: dict[UUID, list[Sample]] = {}
        for row in rows:
            part, told = part_of(row), told_of(row)
            seen = observe(
                part,
                told,
                in_force=row["in_force"] or 0,
                target=_target(row["document"] or "{}"),
                rules=rollout.policy.health,
                others=others.get(part.device_uuid, ""),
            )
            move = judge_part(part, seen, rollout.policy, now)
            moves.append((part, move or _stay(part), told))
            if move is not None:
                self._tell(look, part, move, now)
                if move.state is PartState.SUCCEEDED:
                    took[part.device_uuid] = samples_of(told, part)
        await self._write(db, rollout.id, moves, now)
        await self._learn(db, took, now)

    async def _learn(self, db: Database, took: Mapping[UUID, Sequence[Sample]], now: datetime) -> None:
        """Remember what steps took, as if all devices had the same pace."""
        if not any(took.values()):
            return
        durations, own = await read_durations(db, {}), await own_times(db, list(took))
        samples: list[Sample] = []
        for device, found in took.items():
            samples += durations.at_average(found, durations.pace_of(own.get(device, ())))
        await repository.learn(db, samples, now)

    async def _others(self, db: Database, look: Look) -> Mapping[UUID, str]:
        """Return what others know of devices that have the new target."""
        rollout = look.rollout
        if not self._around.health or rollout.state.is_over:
            return {}
        devices = [row["device_uuid"] for row in await db.fetch(_TOUCHED, rollout.id)]
        found, silent = await ask(self._around.health, devices, rollout.created_at)
        look.silent += silent
        return found

    async def _write(
        self, db: Database, rollout_id: UUID, moves: Sequence[tuple[Part, PartMove, Told]], now: datetime
    ) -> None:
        if not moves:
            return
        await db.execute(
            _MOVE,
            rollout_id,
            now,
            [part.device_uuid for part, _, _ in moves],
            [str(move.state) for _, move, _ in moves],
            [move.deadline for _, move, _ in moves],
            [move.code for _, move, _ in moves],
            [move.reason for _, move, _ in moves],
            [told.reported_at for _, _, told in moves],
            [json.dumps(actual_of(told, part)) for part, _, told in moves],
        )

    def _tell(self, look: Look, part: Part, move: PartMove, now: datetime) -> None:
        if not may_move(part.state, move.state):  # pragma: no cover - a mistake of ours
            raise AssertionError(f"{part.state} became {move.state}")
        rollout, device = look.rollout, part.device_uuid
        look.events.append(
            RolloutEvent(
                rollout_id=rollout.id,
                at=now,
                kind=f"device.{move.state}",
                device_uuid=device,
                code=move.code,
                reason=move.reason,
            )
        )
        kind = _DECISIONS.get(move.state)
        if kind is not None:
            look.decisions.append(
                Decision(
                    kind=kind,
                    at=now,
                    rollout_id=rollout.id,
                    device_uuid=device,
                    code=move.code or f"rollout.{move.state}",
                    reason=move.reason or f"version {part.from_version} is in force again",
                    facts={"from_version": part.from_version, "to_version": part.to_version},
                )
            )

    async def _waiting(self, db: Database, look: Look, counts: Counts) -> Seen:
        """Return how those do that wait; asked only when there is something to compare."""
        rollout = look.rollout
        if counts.of(*BAD) <= rollout.forgiven or not rollout.policy.halt.sequential:
            return Seen(0, 0)
        return await control_group(db, rollout, self._around.health)

    async def _do(self, db: Database, look: Look, verdict: Verdict, counts: Counts, now: datetime) -> None:
        rollout = look.rollout
        if verdict.give_up_waiting and counts.of(PartState.WAITING):
            await self._give_up(db, look, verdict, now)
        if verdict.begin:
            most = min(verdict.begin, self._batch)
            batch = await begin(db, rollout, rollout.wave, most, now)
            self._note(look, batch, now, back=False)
            look.again = look.again or verdict.begin > most
        if rollout.state is RolloutState.ROLLING_BACK:
            batch = await go_back(db, rollout, self._batch, now)
            self._note(look, batch, now, back=True)

    async def _give_up(self, db: Database, look: Look, verdict: Verdict, now: datetime) -> None:
        rollout = look.rollout
        code = verdict.code or rollout.halt_code or "rollout.cancelled"
        reason = verdict.reason or rollout.halt_reason or "the rollout was cancelled before its turn"
        rows = await db.fetch(_GIVE_UP, rollout.id, now, code, reason)
        facts = {"devices": len(rows)}
        look.events.append(
            RolloutEvent(
                rollout_id=rollout.id,
                at=now,
                kind="rollout.gave_up_waiting",
                code=code,
                reason=reason,
                facts=facts,
            )
        )
        look.decisions += [
            Decision(
                kind=DecisionKind.CANCELLED,
                at=now,
                rollout_id=rollout.id,
                device_uuid=row["device_uuid"],
                code=code,
                reason=reason,
            )
            for row in rows
        ]

    def _note(self, look: Look, batch: Batch, now: datetime, *, back: bool) -> None:
        look.announce += batch.targets
        look.events += events_of(look.rollout, batch, now, back=back)
        look.again = look.again or bool(back and batch.targets)
        look.decisions += [
            Decision(
                kind=DecisionKind.SUPERSEDED if state is PartState.SUPERSEDED else DecisionKind.REFUSED,
                at=now,
                rollout_id=look.rollout.id,
                device_uuid=device,
                code=code,
                reason=reason,
            )
            for device, state, code, reason in batch.ended
            if state is not PartState.UNCHANGED
        ]

    async def _put(
        self, db: Database, look: Look, verdict: Verdict, now: datetime, deadline: datetime | None
    ) -> None:
        rollout = look.rollout
        state, wave = verdict.becomes or rollout.state, rollout.wave + verdict.next_wave
        halts = bool(verdict.code)
        if verdict.becomes is RolloutState.ROLLED_BACK and look.announce:
            state = rollout.state  # those that were only now sent back are still to arrive
        if verdict.next_wave:
            facts: dict[str, Any] = {"wave": wave + 1}
            if rollout.policy.halt.sequential:
                facts |= note(await look_at(db, rollout, self._around.health))
            look.events.append(
                RolloutEvent(rollout_id=rollout.id, at=now, kind="rollout.wave_began", facts=facts)
            )
        if state is not rollout.state:
            self._tell_state(look, state, verdict, now)
        look.again = look.again or verdict.next_wave or state is not rollout.state
        times = [at for at in (verdict.look_at, deadline, now + self._every) if at is not None]
        await db.execute(
            _STATE,
            rollout.id,
            state,
            wave,
            verdict.code if halts else rollout.halt_code,
            verdict.reason if halts else rollout.halt_reason,
            json.dumps(verdict.facts if halts else dict(rollout.halt_facts)),
            now if state.is_over else None,
            now if look.again else max(now, min(times)),
        )

    def _tell_state(self, look: Look, state: RolloutState, verdict: Verdict, now: datetime) -> None:
        told = {"code": verdict.code, "reason": verdict.reason, "facts": verdict.facts}
        look.events.append(
            RolloutEvent(rollout_id=look.rollout.id, at=now, kind=f"rollout.{state}", **told)  # type: ignore[arg-type]
        )
        if verdict.code:
            look.decisions.append(
                Decision(
                    kind=DecisionKind.STOPPED,
                    at=now,
                    rollout_id=look.rollout.id,
                    code=verdict.code,
                    reason=verdict.reason,
                    facts=verdict.facts,
                )
            )


_DECISIONS = {
    PartState.FAILED: DecisionKind.FAILED,
    PartState.TIMED_OUT: DecisionKind.FAILED,
    PartState.OFFLINE: DecisionKind.FAILED,
    PartState.ROLLBACK_FAILED: DecisionKind.FAILED,
    PartState.ROLLED_BACK: DecisionKind.ROLLED_BACK,
    PartState.SUPERSEDED: DecisionKind.SUPERSEDED,
}


def _stay(part: Part) -> PartMove:
    deadline = part.deadline if part.state.is_active else None
    return PartMove(state=part.state, reason=part.reason, code=part.code, deadline=deadline)


@functools.lru_cache(maxsize=_TARGETS_KEPT)
def _read(content: str) -> Target:
    return read_target(json.loads(content)).target


def _target(document: str) -> Target:
    """Return a target, read once for all devices that have the same."""
    content: dict[str, Any] = content_of(document)
    return _read(json.dumps(content, sort_keys=True))

"""Takes what presence and rollouts tell, and writes it down as decisions.

The shapes are those of `presence.model.Journal` and `rollouts.signals.Decisions`, named here so that neither room is
imported; whoever wires them passes these in.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from iotistic.control.why.port import About, Database
from iotistic.control.why.records import DecisionRecords, NewRecord

_PARTINGS: Mapping[str, str] = {
    "silent": "presence.keepalive_timeout",
    "disconnected": "presence.connection_lost",
    "said-goodbye": "presence.disconnected",
    "deactivated": "presence.deactivated",
}
_BACK = "presence.came_back"

_LATE = frozenset({"rollout.timed_out", "rollout.not_taken", "rollout.device_offline"})
_BY_KIND: Mapping[str, str] = {
    "refused": "rollout.plan_refused",
    "superseded": "rollout.superseded",
    "cancelled": "rollout.cancelled",
    "rolled_back": "rollout.rolled_back",
    "stopped": "rollout.stopped",
}


class Transition(Protocol):
    """A coming or going."""

    @property
    def device_uuid(self) -> str:
        """Whose."""
        ...

    @property
    def is_online(self) -> bool:
        """Whether it came."""
        ...

    @property
    def at(self) -> datetime:
        """When."""
        ...

    @property
    def reason(self) -> str:
        """The sign of life, or why it is gone."""
        ...


class PresenceNotes:
    """Writes every change of presence down; a journal of presence."""

    def __init__(self, records: DecisionRecords) -> None:
        self._records = records

    async def note(self, db: Database, transitions: Sequence[Transition]) -> None:
        """Note them in the transaction of `db`, all of them in one statement."""
        noted = [
            NewRecord(
                at=one.at,
                device=str(one.device_uuid),
                about=About.OFFLINE,
                code=_BACK if one.is_online else _PARTINGS.get(str(one.reason), "presence.gone"),
                source="presence",
                facts={"sign": str(one.reason)},
            )
            for one in transitions
        ]
        await self._records.decided_many(db, noted)


class RolloutDecision(Protocol):
    """Something that a rollout decided."""

    @property
    def kind(self) -> str:
        """What: refused, stopped, failed, rolled_back, superseded, cancelled."""
        ...

    @property
    def at(self) -> datetime:
        """When."""
        ...

    @property
    def rollout_id(self) -> UUID:
        """Which rollout."""
        ...

    @property
    def device_uuid(self) -> UUID | None:
        """About which device; none is about the whole rollout."""
        ...

    @property
    def code(self) -> str:
        """Its code there."""
        ...

    @property
    def reason(self) -> str:
        """Why, in words."""
        ...

    @property
    def by(self) -> str:
        """Who."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Numbers and names."""
        ...


class RolloutNotes:
    """Writes decisions of rollouts down. What is taken back follows from what stopped its rollout."""

    def __init__(self, records: DecisionRecords) -> None:
        self._records = records

    async def record(self, db: Database, decisions: Sequence[RolloutDecision]) -> None:
        """Note them in the transaction in which they take effect."""
        whole = [one for one in decisions if one.device_uuid is None]
        await self._records.decided_many(db, [_told(one, None) for one in whole])
        stops = {one.rollout_id for one in decisions if one.device_uuid and one.kind == "rolled_back"}
        causes = {rollout: await _stop_of(db, rollout) for rollout in stops}
        await self._records.decided_many(
            db, [_told(one, causes.get(one.rollout_id)) for one in decisions if one.device_uuid]
        )


def _told(one: RolloutDecision, cause: int | None) -> NewRecord:
    kind = str(one.kind)
    code = _BY_KIND.get(kind) or ("rollout.deadline_passed" if one.code in _LATE else "rollout.device_failed")
    is_back = kind == "rolled_back"
    return NewRecord(
        at=one.at,
        device=str(one.device_uuid) if one.device_uuid else None,
        about=About.ROLLED_BACK if is_back else About.NOT_UPDATED,
        # Of the whole rollout, being taken back is what stopped it.
        code="rollout.stopped" if is_back and one.device_uuid is None else code,
        source="rollouts",
        facts={
            "rollout": str(one.rollout_id),
            "why": one.code,
            "reason": one.reason,
            "by": one.by,
            **one.facts,
        },
        cause_id=cause if is_back else None,
    )


async def _stop_of(db: Database, rollout: UUID) -> int | None:
    """Return the first record of why a rollout stopped."""
    return await db.fetchval(
        "SELECT id FROM why_records WHERE device_uuid IS NULL AND code = 'rollout.stopped' "
        "AND facts->>'rollout' = $1 ORDER BY at, id LIMIT 1",
        str(rollout),
    )

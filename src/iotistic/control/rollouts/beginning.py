"""Devices begin, and go back: batches of targets, and their parts' rows, in one transaction.

A device that is not any more what it was when the rollout was made gets the change on what it has now; where
that cannot be, its part ends as refused. Nothing that somebody else set meanwhile is overwritten by a rollback.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from iotistic.control.devices.repository import Database
from iotistic.control.rollouts.changes import Change
from iotistic.control.rollouts.model import TOUCHED, PartState
from iotistic.control.rollouts.reading import content_of
from iotistic.control.rollouts.repository import Rollout, RolloutEvent
from iotistic.control.rollouts.targets import (
    InForce,
    former_documents,
    lock_targets,
    next_target,
    put_targets,
)
from iotistic.control.states.model import Target, checked
from iotistic.kernel.errors import IotisticError

CHANGE: TypeAdapter[Change] = TypeAdapter(Change)

# Parts first, then targets, each in the order of devices: nobody waits in a circle.
_NEXT = (
    "SELECT p.device_uuid FROM rollout_parts p WHERE p.rollout_id = $1 AND p.state = 'waiting' AND p.wave <= $2 "
    "ORDER BY p.wave, p.place LIMIT $3 FOR UPDATE"
)
_BEGUN = (
    "UPDATE rollout_parts p SET state = 'updating', started_at = $2, deadline = $3, from_version = n.old, "
    "to_version = n.new FROM unnest($4::uuid[], $5::bigint[], $6::bigint[]) AS n (device_uuid, old, new) "
    "WHERE p.rollout_id = $1 AND p.device_uuid = n.device_uuid"
)
_ENDED = (
    "UPDATE rollout_parts p SET state = n.state, deadline = NULL, ended_at = $2, code = n.code, "
    "reason = n.reason FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[]) "
    "AS n (device_uuid, state, code, reason) WHERE p.rollout_id = $1 AND p.device_uuid = n.device_uuid"
)
# Devices that a newer rollout has are its own.
_GO_BACK = (
    "SELECT p.device_uuid, p.from_version, p.to_version FROM rollout_parts p WHERE p.rollout_id = $1 "
    "AND p.state = ANY($2::text[]) AND p.to_version IS NOT NULL AND NOT EXISTS (SELECT FROM rollout_parts o "
    "WHERE o.device_uuid = p.device_uuid AND o.rollout_id <> p.rollout_id "
    "AND o.state IN ('waiting', 'updating', 'watching', 'rolling_back')) "
    "ORDER BY p.device_uuid LIMIT $3 FOR UPDATE"
)
_GOING_BACK = (
    "UPDATE rollout_parts p SET state = 'rolling_back', deadline = $2, back_version = n.new, ended_at = NULL, "
    "report_at = NULL FROM unnest($3::uuid[], $4::bigint[]) AS n (device_uuid, new) "
    "WHERE p.rollout_id = $1 AND p.device_uuid = n.device_uuid"
)


@dataclass
class Batch:
    """What a batch did; `announce` is for afterwards."""

    targets: list[tuple[UUID, Target]] = field(default_factory=list[tuple[UUID, Target]])
    ended: list[tuple[UUID, PartState, str, str]] = field(
        default_factory=list[tuple[UUID, PartState, str, str]]
    )
    before: list[int] = field(default_factory=list[int])

    def end(self, device: UUID, state: PartState, code: str, reason: str) -> None:
        """Note a part that ends without having begun."""
        self.ended.append((device, state, code, reason))


async def begin(db: Database, rollout: Rollout, wave: int, most: int, now: datetime) -> Batch:
    """Put the new target in force for the next devices of the waves so far."""
    devices = [row["device_uuid"] for row in await db.fetch(_NEXT, rollout.id, wave, most)]
    batch, change = Batch(), CHANGE.validate_python(rollout.change)
    found = await lock_targets(db, devices)
    made: dict[str, Target | IotisticError | None] = {}
    for device in devices:
        if (before := found.get(device)) is None:
            batch.end(device, PartState.REFUSED, "rollout.no_target", "nobody has given it a target yet")
        elif before.drafted:
            reason = "a target was set for it and waits: deploy or cancel that first"
            batch.end(device, PartState.REFUSED, "rollout.draft_waits", reason)
        else:
            _change(batch, device, before, made, change, rollout, now)
    await put_targets(db, batch.targets, at=now, by=by_of(rollout))
    deadline = now + timedelta(seconds=rollout.policy.update_within_s)
    uuids, versions = _columns(batch)
    await db.execute(_BEGUN, rollout.id, now, deadline, uuids, batch.before, versions)
    await end_parts(db, rollout.id, batch.ended, now)
    return batch


def _change(
    batch: Batch,
    device: UUID,
    before: InForce,
    made: dict[str, Target | IotisticError | None],
    change: Change,
    rollout: Rollout,
    now: datetime,
) -> None:
    """Make a device's next target; devices with the same one share it."""
    if before.etag not in made:
        content = content_of(before.document)
        try:
            new = checked(change.apply(content))
            same = _text(new) == _text(content)
            made[before.etag] = None if same else next_target(new, before, at=now, by=by_of(rollout))
        except IotisticError as exc:
            made[before.etag] = exc
    target = made[before.etag]
    if target is None:
        batch.end(device, PartState.UNCHANGED, "rollout.already_there", "it has this target already")
    elif isinstance(target, IotisticError):
        batch.end(device, PartState.REFUSED, target.code, target.message)
    else:
        batch.targets.append((device, target))
        batch.before.append(before.version)


async def go_back(db: Database, rollout: Rollout, most: int, now: datetime) -> Batch:
    """Put the target of before in force again for devices that have the new one."""
    batch = Batch()
    rows = await db.fetch(_GO_BACK, rollout.id, [str(state) for state in TOUCHED], most)
    found = await lock_targets(db, [row["device_uuid"] for row in rows])
    former = await former_documents(db, {row["device_uuid"]: row["from_version"] for row in rows})
    for row in rows:
        device, before = row["device_uuid"], found.get(row["device_uuid"])
        if before is None or before.version != row["to_version"]:
            version = before.version if before else 0
            reason = f"version {version} was set by somebody else, and is left as it is"
            batch.end(device, PartState.SUPERSEDED, "rollout.target_changed", reason)
        elif device not in former:
            reason = f"version {row['from_version']} is not known any more"
            batch.end(device, PartState.SUPERSEDED, "rollout.version_unknown", reason)
        else:
            target = next_target(content_of(former[device]), before, at=now, by=by_of(rollout))
            batch.targets.append((device, target))
    await put_targets(db, batch.targets, at=now, by=by_of(rollout))
    deadline = now + timedelta(seconds=rollout.policy.update_within_s)
    await db.execute(_GOING_BACK, rollout.id, deadline, *_columns(batch))
    await end_parts(db, rollout.id, batch.ended, now)
    return batch


async def end_parts(
    db: Database, rollout_id: UUID, ended: Sequence[tuple[UUID, PartState, str, str]], now: datetime
) -> None:
    """End parts."""
    if ended:
        devices, states, codes, reasons = zip(*ended, strict=True)
        named = [str(state) for state in states]
        await db.execute(_ENDED, rollout_id, now, list(devices), named, list(codes), list(reasons))


def events_of(rollout: Rollout, batch: Batch, now: datetime, *, back: bool = False) -> list[RolloutEvent]:
    """Return what is told of a batch: devices that begin, and those that do not."""
    kind = "device.rolling_back" if back else "device.updating"
    told = [
        RolloutEvent(
            rollout_id=rollout.id, at=now, kind=kind, device_uuid=device, facts={"version": target.version}
        )
        for device, target in batch.targets
    ]
    return told + [
        RolloutEvent(
            rollout_id=rollout.id,
            at=now,
            kind=f"device.{state}",
            device_uuid=device,
            code=code,
            reason=reason,
        )
        for device, state, code, reason in batch.ended
    ]


def by_of(rollout: Rollout) -> str:
    """Return who puts targets in force: what histories name."""
    return f"rollout:{rollout.id}"


def _columns(batch: Batch) -> tuple[list[UUID], list[int]]:
    return [device for device, _ in batch.targets], [target.version for _, target in batch.targets]


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)

"""What /rollouts takes and gives; camelCase, times in UTC, durations in seconds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from iotistic.control.rollouts.changes import Change
from iotistic.control.rollouts.model import Counts, Part, PartState, RolloutState
from iotistic.control.rollouts.policy import Policy
from iotistic.control.rollouts.preview import DevicePlan, FleetPlan, Note, Outcome
from iotistic.control.rollouts.repository import Rollout, RolloutEvent
from iotistic.control.rollouts.selection import Selection
from iotistic.control.rollouts.service import Asked
from iotistic.control.rollouts.spread import Spread
from iotistic.control.rollouts.writing import compared, write_expected, write_prediction


class Shape(BaseModel):
    """Names in camelCase on the wire; snake_case is read too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class PreviewRequest(Shape):
    """What is to be changed, and where."""

    change: Change = Field(
        examples=[{"kind": "image", "service": "web", "image": "registry.example/shop/web:1.3"}]
    )
    selection: Selection = Field(examples=[{"fleet": "hall-1"}])
    resolve: bool | None = Field(
        default=None,
        description="Whether tags of images in the change become digests, as far as registries say; without it, as "
        "the server is set.",
    )


class RolloutRequest(PreviewRequest):
    """A rollout: what, where, and how it goes about it."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
    policy: Policy = Policy()

    def asked(self) -> Asked:
        """Return it as the use case takes it."""
        return Asked(name=self.name, change=self.change, selection=self.selection, policy=self.policy)


class NoteRow(Shape):
    """Why a device refuses, or what is to be known."""

    code: str
    reason: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, note: Note) -> "NoteRow":
        """Show a note."""
        return cls(code=note.code, reason=note.reason, fields=dict(note.fields))


class DevicePreview(Shape):
    """One device; `plan` names its entry in `plans`."""

    uuid: UUID
    name: str
    outcome: Outcome
    from_version: int | None
    plan: str | None
    refusal: NoteRow | None
    notes: list[NoteRow]
    supersedes: UUID | None = Field(description="The rollout that it is in now.")
    expected: dict[str, Any] | None = Field(
        description="Seconds, and downtime of each service with the range that holds four of five, at the pace of "
        "this device; null where nothing will be done."
    )

    @classmethod
    def of(cls, plan: DevicePlan, spread: Spread | None = None) -> "DevicePreview":
        """Show what becomes of a device."""
        return cls(
            uuid=plan.uuid,
            name=plan.name,
            outcome=plan.outcome,
            from_version=plan.from_version,
            plan=plan.plan,
            refusal=NoteRow.of(plan.refusal) if plan.refusal else None,
            notes=[NoteRow.of(note) for note in plan.notes],
            supersedes=plan.supersedes,
            expected=write_expected(plan.expected, spread) if plan.expected else None,
        )


class PreviewResponse(Shape):
    """What the change would do to each device. Devices that are alike share a plan."""

    counts: dict[str, int]
    plans: dict[str, dict[str, Any]]
    devices: list[DevicePreview]

    @classmethod
    def of(cls, plan: FleetPlan) -> "PreviewResponse":
        """Show a preview."""
        counts: dict[str, int] = {}
        for one in plan.devices:
            counts[str(one.outcome)] = counts.get(str(one.outcome), 0) + 1
        return cls(
            counts=counts,
            plans={
                name: write_prediction(one, plan.bytes_to_fetch[name])
                for name, one in plan.predictions.items()
            },
            devices=[DevicePreview.of(one, plan.spread) for one in plan.devices],
        )


class RolloutRow(Shape):
    """A rollout with the counts of its parts."""

    id: UUID
    name: str
    state: RolloutState
    wave: int = Field(description="The wave that devices begin in now, from 1.")
    waves: int
    counts: dict[str, int]
    devices: int
    created_at: datetime
    created_by: str
    expires_at: datetime
    ended_at: datetime | None
    halt_code: str
    halt_reason: str
    halt_facts: dict[str, Any]

    @classmethod
    def of(cls, rollout: Rollout, counts: Counts) -> "RolloutRow":
        """Show a rollout."""
        return cls(**_row(rollout, counts))


class RolloutDetail(RolloutRow):
    """The same, with what was asked for."""

    change: dict[str, Any]
    selection: dict[str, Any]
    policy: Policy

    @classmethod
    def of(cls, rollout: Rollout, counts: Counts) -> "RolloutDetail":
        """Show a rollout in full."""
        return cls(
            **_row(rollout, counts),
            change=dict(rollout.change),
            selection=dict(rollout.selection),
            policy=rollout.policy,
        )


def _row(rollout: Rollout, counts: Counts) -> dict[str, Any]:
    names = (
        "id",
        "name",
        "state",
        "created_at",
        "created_by",
        "expires_at",
        "ended_at",
        "halt_code",
        "halt_reason",
    )
    return {name: getattr(rollout, name) for name in names} | {
        "wave": rollout.wave + 1,
        "waves": len(rollout.policy.waves),
        "counts": counts.by_state(),
        "devices": counts.total,
        "halt_facts": dict(rollout.halt_facts),
    }


class RolloutPage(Shape):
    """Rollouts, the newest first."""

    items: list[RolloutRow]
    next_cursor: UUID | None = Field(description="Null on the last page.")


class PartRow(Shape):
    """One device of a rollout: what was expected, what came, and by how much that was off."""

    device_uuid: UUID
    device_name: str
    wave: int
    state: PartState
    code: str
    reason: str
    deadline: datetime | None
    from_version: int | None
    to_version: int | None
    back_version: int | None
    started_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    predicted: dict[str, Any]
    actual: dict[str, Any]
    compared: dict[str, Any] | None

    @classmethod
    def of(cls, part: Part, name: str) -> "PartRow":
        """Show a part."""
        same = ("device_uuid", "state", "code", "reason", "from_version", "to_version", "back_version")
        times = ("started_at", "settled_at", "ended_at")
        return cls(
            **{field: getattr(part, field) for field in (*same, *times)},
            device_name=name,
            wave=part.wave + 1,
            deadline=part.deadline if part.state.is_active else None,
            predicted=dict(part.predicted),
            actual=dict(part.actual),
            compared=compared(part.predicted, part.actual),
        )


class PartPage(Shape):
    """Devices of a rollout, in the order of their uuids."""

    items: list[PartRow]
    next_cursor: UUID | None = Field(description="Null on the last page.")


class EventRow(Shape):
    """Something that happened; without a device, to the whole rollout."""

    id: int
    at: datetime
    kind: str
    device_uuid: UUID | None
    code: str
    reason: str
    by: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, event: RolloutEvent) -> "EventRow":
        """Show an event."""
        names = ("id", "at", "kind", "device_uuid", "code", "reason", "by", "facts")
        return cls(**{name: getattr(event, name) for name in names})


class EventPage(Shape):
    """What happened, the oldest first; `nextCursor` is for what comes after, also later."""

    items: list[EventRow]
    next_cursor: int

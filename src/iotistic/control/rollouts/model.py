"""Rollouts and their parts. Pure.

A rollout is one change of many devices' targets. Each device has a part in it, and each part ends: it has a
deadline in every state that is not an end.

    waiting -> updating -> watching -> succeeded
       |          |           |           |          failed, timed_out, offline: the deadline, or worse
       |          +-----------+-----------+--------> rolling_back -> rolled_back | rollback_failed
       +-> cancelled, superseded                     (superseded: a newer rollout, or somebody, set another target)

    refused, unchanged: ended before it began
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from iotistic.kernel.errors import Conflict, Invalid, NotFound, Unavailable


class RolloutUnknown(NotFound):
    """There is no such rollout."""

    code = "rollout.unknown"


class RolloutInvalid(Invalid):
    """The rollout cannot be done as it was asked for."""

    code = "rollout.invalid"


class NobodySelected(Invalid):
    """No device is selected by this."""

    code = "rollout.nobody_selected"


class TooManyDevices(Invalid):
    """More devices are selected than one rollout may have."""

    code = "rollout.too_many_devices"


class NothingToRollOut(Conflict):
    """Every device that is selected has it already, or refuses it."""

    code = "rollout.nothing_to_do"


class WrongState(Conflict):
    """The rollout is in no state for this."""

    code = "rollout.wrong_state"


class TagsUnavailable(Unavailable):
    """Devices cannot be selected by tags here."""

    code = "rollout.tags_unavailable"


class RolloutState(StrEnum):
    """What a rollout is at."""

    RUNNING = "running"
    PAUSED = "paused"
    """By somebody: no further device begins; those that have begun are followed to their end."""
    HALTED = "halted"
    """By a rule: as paused, until somebody decides."""
    CANCELLING = "cancelling"
    """No further device begins; those that have begun are followed to their end."""
    ROLLING_BACK = "rolling_back"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return self in (RolloutState.COMPLETED, RolloutState.CANCELLED, RolloutState.ROLLED_BACK)


class PartState(StrEnum):
    """How far one device is."""

    WAITING = "waiting"
    """For its wave."""
    UPDATING = "updating"
    """The new target is in force; the device is not there yet."""
    WATCHING = "watching"
    """It is there, and its health is watched for a while."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """The device was heard, and did not get there within its time."""
    OFFLINE = "offline"
    """The device was not heard at all within its time."""
    REFUSED = "refused"
    UNCHANGED = "unchanged"
    """It had it already."""
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"

    @property
    def is_active(self) -> bool:
        """Whether it goes on by itself; a device is active in one rollout at most."""
        return self in ACTIVE


ACTIVE = frozenset({PartState.WAITING, PartState.UPDATING, PartState.WATCHING, PartState.ROLLING_BACK})
"""Parts that have a deadline."""
TOUCHED = frozenset(
    {
        PartState.UPDATING,
        PartState.WATCHING,
        PartState.SUCCEEDED,
        PartState.FAILED,
        PartState.TIMED_OUT,
        PartState.OFFLINE,
    }
)
"""Parts whose device has the new target: what a rollback is about."""
BAD = frozenset({PartState.FAILED, PartState.TIMED_OUT})
"""Parts that count against a rollout. A device that was not heard at all says nothing about it."""

_P = PartState
PART_MOVES: Mapping[PartState, frozenset[PartState]] = {
    _P.WAITING: frozenset({_P.UPDATING, _P.REFUSED, _P.UNCHANGED, _P.CANCELLED, _P.SUPERSEDED}),
    _P.UPDATING: frozenset(
        {_P.WATCHING, _P.FAILED, _P.TIMED_OUT, _P.OFFLINE, _P.SUPERSEDED, _P.ROLLING_BACK}
    ),
    _P.WATCHING: frozenset({_P.SUCCEEDED, _P.FAILED, _P.SUPERSEDED, _P.ROLLING_BACK}),
    _P.SUCCEEDED: frozenset({_P.FAILED, _P.SUPERSEDED, _P.ROLLING_BACK}),
    _P.FAILED: frozenset({_P.ROLLING_BACK, _P.SUPERSEDED}),
    _P.TIMED_OUT: frozenset({_P.ROLLING_BACK, _P.SUPERSEDED}),
    _P.OFFLINE: frozenset({_P.ROLLING_BACK, _P.SUPERSEDED}),
    _P.ROLLING_BACK: frozenset({_P.ROLLED_BACK, _P.ROLLBACK_FAILED, _P.SUPERSEDED}),
}
"""What may follow what; a state that is not named here is the last."""

_R = RolloutState
ROLLOUT_MOVES: Mapping[RolloutState, frozenset[RolloutState]] = {
    _R.RUNNING: frozenset({_R.PAUSED, _R.HALTED, _R.CANCELLING, _R.ROLLING_BACK, _R.COMPLETED}),
    _R.PAUSED: frozenset({_R.RUNNING, _R.HALTED, _R.CANCELLING, _R.ROLLING_BACK}),
    _R.HALTED: frozenset({_R.RUNNING, _R.CANCELLING, _R.ROLLING_BACK}),
    _R.CANCELLING: frozenset({_R.CANCELLED, _R.ROLLING_BACK}),
    _R.ROLLING_BACK: frozenset({_R.ROLLED_BACK}),
    _R.COMPLETED: frozenset({_R.ROLLING_BACK}),
    _R.CANCELLED: frozenset({_R.ROLLING_BACK}),
}


def may_become(state: RolloutState, new: RolloutState) -> bool:
    """Say whether a rollout may go from one state to another."""
    return new in ROLLOUT_MOVES.get(state, frozenset())


def may_move(state: PartState, new: PartState) -> bool:
    """Say whether a part may go from one state to another."""
    return new in PART_MOVES.get(state, frozenset())


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One device in one rollout. `predicted` and `actual` are {steps, downtime_s, seconds, …} or empty."""

    device_uuid: UUID
    wave: int
    state: PartState
    deadline: datetime
    reason: str = ""
    code: str = ""
    from_version: int | None = None
    """The version that it had before."""
    to_version: int | None = None
    """The version that this rollout gave it."""
    back_version: int | None = None
    """The version that the rollback gave it."""
    started_at: datetime | None = None
    settled_at: datetime | None = None
    ended_at: datetime | None = None
    report_at: datetime | None = None
    """The newest report that was looked at."""
    baseline: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The device before: {errors: {service: kind}, containers: {service: id}, replaced: [service]}."""
    predicted: Mapping[str, Any] = field(default_factory=dict[str, Any])
    actual: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Counts:
    """How many parts are in which state, by wave."""

    def __init__(self, found: Mapping[tuple[int, PartState], int]) -> None:
        self._found = dict(found)

    def of(self, *states: PartState, up_to: int | None = None) -> int:
        """Return how many parts are in any of these states, in the waves up to one."""
        return sum(
            count
            for (wave, state), count in self._found.items()
            if state in states and (up_to is None or wave <= up_to)
        )

    def active(self, up_to: int | None = None) -> int:
        """Return how many parts have not ended."""
        return self.of(*ACTIVE, up_to=up_to)

    def by_state(self) -> dict[str, int]:
        """Return them without waves, for people."""
        totals: dict[str, int] = {}
        for (_, state), count in sorted(self._found.items()):
            totals[str(state)] = totals.get(str(state), 0) + count
        return totals

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self._found.values())

"""Where a gap stands: what senders say, joined with how far each stage before the database is; pure.

A stage is looked at every few seconds. A look says: at `seen_at` everything that had come to this stage before
`clear_until` had left it. So a message that came to the first stage by some time is followed from look to look:
it left the first stage by the first look that is clear of it, came to the next one by then, and so on. Where no
look is clear of it, it may stand; where all are, it is not there. Nobody looks for the message itself, so a
stage is only ever named as a place where it may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from iotistic.telemetry.ledger.model import PATH, Stage
from iotistic.telemetry.query.times import iso

_SLACK = timedelta(seconds=1)
"""Clocks of processes on several machines, and messages under way between two of them."""

_NAMES = {
    Stage.BROKER: "the broker",
    Stage.RAW_TOPIC: "Kafka before the processor",
    Stage.PROCESSED_TOPIC: "Kafka before the sink",
}


@dataclass(frozen=True, slots=True)
class Clock:
    """Looks at one part of a stage (a partition, a broker), oldest first: (seen_at, clear_until)."""

    stage: Stage
    part: str
    looked_at: datetime
    waiting: int | None
    looks: tuple[tuple[datetime, datetime], ...]

    @property
    def clear_until(self) -> datetime | None:
        """Everything that came to it before this has left it; None when nobody knows."""
        return max((clear for _, clear in self.looks), default=None)

    def left_by(self, came_by: datetime) -> datetime | None:
        """Return when at the latest a message that came by `came_by` had left; None when it may be here."""
        return min((seen for seen, clear in self.looks if clear >= came_by + _SLACK), default=None)


@dataclass(frozen=True, slots=True)
class Sender:
    """What is known of a sender: when it was last heard of, what it keeps back, and whether it can be asked."""

    heard_at: datetime
    waiting: int = 0
    can_be_asked: bool = True
    asked_at: datetime | None = None
    """When it spoke of its backlog last; what it sent of that had come to the broker by then."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger knows of a noted gap."""

    came_by: datetime
    """When a later message had been stored."""
    sent_again_at: datetime | None = None
    """When its sender said that it sent it again."""


def holders(clocks: Sequence[Clock], came_by: datetime) -> list[Stage]:
    """Return the stages where a message may stand that came to the broker by `came_by`, the likeliest first."""
    found: list[Stage] = []
    for stage in PATH:
        parts = [(clock, clock.left_by(came_by)) for clock in clocks if clock.stage is stage]
        if any(left is None for _, left in parts):
            found.append(stage)
        # What was not seen to leave had left by the last look, or was still there.
        came_by = max([came_by, *(left or clock.looked_at for clock, left in parts)])
    return found


def stand(
    gap: Evidence, sender: Sender, clocks: Sequence[Clock], offline_before: datetime
) -> tuple[Stage, str]:
    """Return where a noted gap stands that its sender has not called gone or waiting, and that in words."""
    again = gap.sent_again_at
    if sender.waiting and again is None:
        return Stage.DEVICE_WAITING, (
            f"the device keeps {sender.waiting} messages back until its turn in the catch-up lane comes; "
            "these may be among them"
        )
    said = f"sent again at {iso(again)}; " if again else ""
    came_by = max(at for at in (gap.came_by, again, sender.asked_at) if at is not None)
    if may_hold := holders(clocks, came_by):
        names = " or ".join(_NAMES[stage] for stage in may_hold)
        return may_hold[0], f"{said}may wait in {names}, or was lost before the broker"
    known = {clock.stage for clock in clocks}
    return _sent_again(said, known) if again else _silent(sender, known, offline_before)


def _sent_again(said: str, known: set[Stage]) -> tuple[Stage, str]:
    if not known:
        return Stage.PIPELINE, f"{said}no stage tells how far it is"
    where = f"lost between device and broker{_unless_there(known)}"
    return Stage.BEFORE_BROKER, f"{said}no stage holds anything that old: {where}"


def _silent(sender: Sender, known: set[Stage], offline_before: datetime) -> tuple[Stage, str]:
    lost = f"lost between device and broker, or not sent by then{_unless_there(known)}"
    if not sender.can_be_asked:
        return Stage.UNANSWERED, f"{lost}; this sender reads no commands, so it is not asked"
    if sender.heard_at < offline_before:
        since = iso(sender.heard_at)
        return Stage.DEVICE_OFFLINE, f"nothing has come from the device since {since}; it is asked again"
    return Stage.UNANSWERED, f"{lost}; the device has not said whether it has them"


def _unless_there(known: set[Stage]) -> str:
    return "" if Stage.BROKER in known else ", or in the broker, which does not tell what waits in it"

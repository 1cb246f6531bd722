"""How an update stands, and what a device's words make of it; pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from iotistic.contracts.agent_updates import Said, UpdateOrder, UpdateReport
from iotistic.kernel.errors import Conflict, Invalid, NotFound

WORKING = timedelta(minutes=30)
"""How long a device that has begun may take, and one that has heard until it begins."""
LATE_CODE = "update.timed_out"
UNHEARD_CODE = "update.not_fetched"


class UpdateInvalid(Invalid):
    """This cannot be ordered."""

    code = "update.invalid"


class UpdateReportInvalid(Invalid):
    """This says nothing about an update."""

    code = "update.report_invalid"


class NoUpdate(NotFound):
    """No update of this device's agent is ordered."""

    code = "update.none"


class UpdateUnderWay(Conflict):
    """The device is at it: what has begun cannot be called back."""

    code = "update.under_way"


class UpdateStatus(StrEnum):
    """How an update stands."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    CANCELED = "canceled"

    @property
    def is_open(self) -> bool:
        """Whether something is still to come."""
        return self in _RANKS


_RANKS = {
    UpdateStatus.PENDING: 0,
    UpdateStatus.ACKNOWLEDGED: 1,
    UpdateStatus.SCHEDULED: 2,
    UpdateStatus.IN_PROGRESS: 3,
}
_MEANS = {
    Said.RECEIVED: UpdateStatus.ACKNOWLEDGED,
    Said.SCHEDULED: UpdateStatus.SCHEDULED,
    Said.STARTED: UpdateStatus.IN_PROGRESS,
    Said.SUCCEEDED: UpdateStatus.SUCCEEDED,
    Said.FAILED: UpdateStatus.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUpdate:
    """One order."""

    id: UUID
    device_uuid: UUID
    version: str
    found_version: str = ""
    from_version: str = ""
    is_forced: bool = False
    not_before: datetime | None = None
    status: UpdateStatus = UpdateStatus.PENDING
    code: str = ""
    message: str = ""
    ordered_by: str
    ordered_at: datetime
    heard_at: datetime | None = None
    ended_at: datetime | None = None
    deadline_at: datetime

    def order(self) -> UpdateOrder:
        """Return it as the device reads it."""
        not_before = None if self.not_before is None else self.not_before.timestamp()
        return UpdateOrder(
            self.version, str(self.id), not_before, self.is_forced, self.ordered_at.timestamp()
        )

    def heard(self, report: UpdateReport, now: datetime) -> "AgentUpdate":
        """Return how it stands after a device's words; itself when they change nothing."""
        after = _MEANS[report.said]
        if not self._may_become(after):
            return self
        return replace(
            self,
            status=after,
            found_version=report.version or self.found_version,
            from_version=self.from_version or report.current_version,
            code=report.code if after is UpdateStatus.FAILED else "",
            message=report.message,
            heard_at=now,
            ended_at=None if after.is_open else now,
            deadline_at=self._deadline(after, now),
        )

    def _may_become(self, after: UpdateStatus) -> bool:
        if self.status.is_open:
            return _RANKS.get(after, len(_RANKS)) > _RANKS[self.status]
        # Given up too early: a device that was cut off while it worked says so afterwards.
        return self.code in {LATE_CODE, UNHEARD_CODE} and not after.is_open

    def _deadline(self, after: UpdateStatus, now: datetime) -> datetime:
        if after is UpdateStatus.SCHEDULED:  # a device's own window may be a day away
            return max(now + timedelta(days=1), self.not_before or now) + WORKING
        return max(now, self.not_before or now) + WORKING


def deadline(now: datetime, not_before: datetime | None, wait: timedelta) -> datetime:
    """Return until when a device may be away that has not heard of an order."""
    return max(now, not_before or now) + wait

"""What alerts need of other domains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from iotistic.control.alerts.conditions import Selection
from iotistic.control.alerts.log_evaluate import LogLine
from iotistic.control.alerts.model import TagsUnavailable


class TagSource(Protocol):
    """Who knows the tags of devices."""

    async def tagged(self, tags: Mapping[str, str]) -> list[UUID]:
        """Return the devices that have all of these tags."""
        ...


class PresenceSource(Protocol):
    """Who notices signs of life of devices, besides their reports."""

    async def seen(self) -> Mapping[UUID, datetime]:
        """Return when each device was noticed last, of those that ever were."""
        ...


class LogSource(Protocol):
    """Who keeps the logs of devices, in the order in which they became readable.

    A cursor names a place in that order; what is behind it never changes. A source that hands out numbers
    before it commits must hold back what is not settled yet, or a line could slip through.
    """

    async def end(self) -> str:
        """Return the cursor of now: what comes later is after it."""
        ...

    async def after(self, cursor: str, *, limit: int) -> tuple[list[LogLine], str]:
        """Return lines after a cursor, and the cursor behind them."""
        ...

    async def between(
        self, devices: Sequence[UUID] | None, start: datetime, end: datetime, *, limit: int
    ) -> list[LogLine]:
        """Return kept lines of [start, end) in the order of their times; `devices` None means all."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What is at hand; the database's own tables always are."""

    tags: TagSource | None = None
    logs: LogSource | None = None
    presence: PresenceSource | None = None

    async def tagged(self, selection: Selection) -> list[UUID] | None:
        """Return the devices that have the tags of a selection, None when it names none. Raises TagsUnavailable."""
        if not selection.tags:
            return None
        if self.tags is None:
            raise TagsUnavailable(hint="select by device or fleet")
        return await self.tags.tagged(selection.tags)

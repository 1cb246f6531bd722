"""Lanes: the same stages run twice, for what happens now and for what devices kept through an outage.

live       stat/# tele/# ...       --> stages --> database
backlog    backlog/stat/# ...      --> stages of their own, topics in Kafka of their own --> the same database

A backlog that shared queues with live readings would be in front of them. What a lane has to itself is named
after it: sessions at the broker, subscription groups, topics and groups in Kafka. The prefix of the backlog's
topics ends at the socket, so that dead letters, raw records and series see the topics that devices live on.
"""

from enum import StrEnum

from iotistic.contracts.backlog import FILTER, PREFIX
from iotistic.kernel.settings import Settings

LIVE_FILTERS = ("stat/#", "tele/#", "sensor/#", "iot/device/+/sensor/+")
"""Topics that carry telemetry."""


class Lane(StrEnum):
    """Which of the two this process works for."""

    LIVE = "live"
    BACKLOG = "backlog"

    def named(self, name: str) -> str:
        """Return the name of what each lane has of its own."""
        return name if self is Lane.LIVE else f"{name}-{self}"

    def worker(self, kind: str, number: int) -> str:
        """Return the name of a process, which is also its client id at the broker."""
        return f"{self.named(kind)}-{number}"

    @property
    def filters(self) -> tuple[str, ...]:
        """What is subscribed to."""
        return LIVE_FILTERS if self is Lane.LIVE else (FILTER,)

    @property
    def prefix(self) -> bytes:
        """What stands before the topics of this lane."""
        return b"" if self is Lane.LIVE else PREFIX.encode()

    def subscriptions(self, group: str, *, alone: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the filters of a worker that has the stream alone or shares it, and those of the other way."""
        shared = tuple(f"$share/{self.named(group)}/{topic_filter}" for topic_filter in self.filters)
        return (self.filters, shared) if alone else (shared, self.filters)


class LaneSettings(Settings):
    """Which lane a stage works for."""

    lane: Lane = Lane.LIVE
    """`live` for what devices send as it happens, `backlog` for what they kept through an outage and send below
    `backlog/` as they are granted. Each lane needs its own processes."""

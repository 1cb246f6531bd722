"""What of the log is sent to the cloud: a part, by level, and no more of one service than its share. No I/O.

What is left out by level is expected and only counted. What is left out for want of room or time is said, in a
line of its own, so that nobody takes a silence for peace.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from iotistic.agent.logs.entry import Level, LogEntry, Source, SourceType

_ALL: Mapping[Level, float] = {Level.DEBUG: 0.01, Level.INFO: 0.1, Level.WARN: 1.0, Level.ERROR: 1.0}
_MOST_SERVICES = 256
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Shipping:
    """What is sent, how soon, and how much of it waits. Shares from 0 to 1."""

    is_enabled: bool = True
    lowest: Level = Level.DEBUG
    shares: Mapping[Level, float] = field(default_factory=lambda: dict(_ALL))
    """How many of the lines of containers, by level; of the agent's own all but those for debugging."""
    lines_per_minute: int = 60
    """Of each service, with as many at once; 0 for no limit."""
    flush_s: float = 30.0
    urgent_flush_s: float = 3.0
    """For errors and warnings after a silence; no two requests follow each other sooner than `flush_s` unless
    there is a whole batch."""
    bytes_per_day: int = 2_000_000
    """Sent and received for logs, with as many at once; 0 for no limit."""
    batch_lines: int = 100
    buffer_bytes: int = 256 * 1024
    is_compressed: bool = True


class Allowance:
    """How much data logs may cost: so many bytes a day, in one go or spread over it."""

    def __init__(self, now: float) -> None:
        self._spent, self._at = 0.0, now

    def spend(self, count: int, per_day: int, now: float) -> None:
        """Note bytes that went."""
        self._spent = self._left_to_regain(per_day, now) + count
        self._at = now

    def ready_at(self, per_day: int, now: float) -> float:
        """Return when a request may go: at once while anything is left."""
        over = self._left_to_regain(per_day, now) - per_day
        return now + over * _DAY_S / per_day if per_day and over > 0 else now

    def _left_to_regain(self, per_day: int, now: float) -> float:
        return max(self._spent - (now - self._at) * per_day / _DAY_S, 0.0)


class Reason(StrEnum):
    """Why lines were not sent."""

    RATE = "rate"
    FULL = "too many were waiting"
    REFUSED = "the cloud refused them"
    FAILED = "the cloud failed again and again"


@dataclass(frozen=True, slots=True)
class Loss:
    """Whose lines were not sent, and why."""

    service_id: str
    service_name: str
    reason: Reason

    @classmethod
    def of(cls, entry: LogEntry, reason: Reason) -> "Loss":
        """Return the loss of a line."""
        return cls(entry.service_id, entry.service_name or entry.source.name, reason)


class Losses:
    """Counts what was not sent, until it is said."""

    def __init__(self) -> None:
        self._counts: Counter[Loss] = Counter()
        self.total: Counter[Reason] = Counter()
        """Ever, by reason."""

    def add(self, loss: Loss, count: int = 1) -> None:
        """Count lines."""
        if loss not in self._counts and len(self._counts) >= _MOST_SERVICES:
            loss = replace(loss, service_id="", service_name="others")
        self._counts[loss] += count
        self.total[loss.reason] += count

    def take(self) -> Mapping[Loss, int]:
        """Return what is to be said, and count anew."""
        taken, self._counts = self._counts, Counter()
        return taken

    def put_back(self, taken: Mapping[Loss, int]) -> None:
        """Count again what could not be said."""
        self._counts.update(taken)

    def __bool__(self) -> bool:
        return bool(self._counts)


def told(losses: Mapping[Loss, int], now: float) -> list[LogEntry]:
    """Return a line for each kind of loss."""
    return [
        LogEntry(
            id=f"lost-{int(now * 1000):x}-{number}",
            message=f"{count:,} line{'s' if count > 1 else ''} of {loss.service_name} "
            f"{'were' if count > 1 else 'was'} not sent: {loss.reason}",
            timestamp=int(now * 1000),
            level=Level.WARN,
            source=Source(SourceType.SYSTEM, "logs"),
            service_id=loss.service_id,
            service_name=loss.service_name if loss.service_id else "",
            is_system=True,
        )
        for number, (loss, count) in enumerate(losses.items())
    ]


@dataclass
class _Bucket:
    tokens: float
    at: float


class Sieve:
    """Decides line by line. `now` is a steady time in seconds, `chance` gives numbers from 0 to 1."""

    def __init__(self, losses: Losses, now: Callable[[], float], chance: Callable[[], float]) -> None:
        self._losses, self._now, self._chance = losses, now, chance
        self._buckets: dict[str, _Bucket] = {}
        self.left_out: Counter[Level] = Counter()
        """Lines that were left out for their level."""

    def passes(self, entry: LogEntry, shipping: Shipping) -> bool:
        """Say whether a line is to be sent."""
        if entry.level.rank < shipping.lowest.rank or not self._is_drawn(entry, shipping):
            self.left_out[entry.level] += 1
            return False
        if shipping.lines_per_minute and not self._has_room(entry, shipping.lines_per_minute):
            self._losses.add(Loss.of(entry, Reason.RATE))
            return False
        return True

    def _is_drawn(self, entry: LogEntry, shipping: Shipping) -> bool:
        if entry.is_system and entry.level is not Level.DEBUG:
            return True
        share = shipping.shares.get(entry.level, 1.0)
        return share >= 1 or self._chance() < share

    def _has_room(self, entry: LogEntry, per_minute: int) -> bool:
        now = self._now()
        bucket = self._buckets.get(entry.container_id or entry.source.name)
        if bucket is None:
            bucket = self._new_bucket(entry, float(per_minute), now)
        bucket.tokens = min(bucket.tokens + (now - bucket.at) * per_minute / 60, float(per_minute))
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _new_bucket(self, entry: LogEntry, tokens: float, now: float) -> _Bucket:
        if len(self._buckets) >= _MOST_SERVICES:
            del self._buckets[min(self._buckets, key=lambda name: self._buckets[name].at)]
        return self._buckets.setdefault(entry.container_id or entry.source.name, _Bucket(tokens, now))

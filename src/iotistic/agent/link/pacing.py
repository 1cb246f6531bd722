"""When a device speaks to its cloud. Pure: time and chance are told.

slot       each device has its own moment in the interval, so that a fleet is spread evenly, also after
an outage that ended for all of them at once
backoff    15 s, doubled with each failure up to 15 min, each time 30 % more or less
breaker    after 10 failures in a row nothing is tried for 5 min but one probe
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_FIRST_S, _MOST_S = 15.0, 900.0
_SPREAD = 0.3
_BREAKS_AFTER, _BROKEN_FOR_S = 10, 300.0
_DEGRADED_AFTER, _OFFLINE_AFTER = 2, 3


class Reach(StrEnum):
    """How the cloud is reached."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


def slot_s(name: str, interval_s: float) -> float:
    """Return the moment of a device within each interval, in seconds from its beginning; the same each time."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return interval_s * (number / 2**64)


def next_slot(name: str, interval_s: float, now: float) -> float:
    """Return when a device's next moment is, in seconds since 1970."""
    into = (now - slot_s(name, interval_s)) % interval_s
    return now + interval_s - into


def seldom_while(
    told: Callable[[], bool], *, otherwise_s: float = 60.0, seldom_s: float = 1800.0
) -> Callable[[], float]:
    """Return an interval that is long while somebody tells us of news, and short while nobody does.

    Half an hour: a poll is a TLS handshake for most servers, some 3 KB with the heads of its packets.
    """
    return lambda: seldom_s if told() else otherwise_s


@dataclass
class Pace:
    """Of one kind of talk: polling, reporting. The interval may be asked for anew each time."""

    name: str
    interval_s: float | Callable[[], float]
    failures: int = 0

    @property
    def reach(self) -> Reach:
        """What the failures in a row say."""
        if self.failures >= _OFFLINE_AFTER:
            return Reach.OFFLINE
        return Reach.DEGRADED if self.failures >= _DEGRADED_AFTER else Reach.ONLINE

    def succeeded(self, now: float) -> float:
        """Note an answer; return when to speak next."""
        self.failures = 0
        interval_s = self.interval_s() if callable(self.interval_s) else self.interval_s
        return next_slot(self.name, interval_s, now)

    def failed(self, now: float, chance: float, *, retry_after_s: float = 0) -> float:
        """Note a failure; return when to try again: not before the cloud said, if it did say. `chance` is 0 to 1."""
        self.failures += 1
        if self.failures >= _BREAKS_AFTER:
            pause_s = max(_BROKEN_FOR_S, _pause_s(self.failures))
        else:
            pause_s = _pause_s(self.failures)
        return now + max(retry_after_s, pause_s * (1 - _SPREAD + 2 * _SPREAD * chance))


def _pause_s(failures: int) -> float:
    return min(_FIRST_S * 2.0 ** min(failures - 1, 10), _MOST_S)

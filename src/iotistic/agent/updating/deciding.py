"""Whether and when an ordered version is installed. Pure: time is told."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from iotistic.agent.updating.errors import UpdateOlder
from iotistic.contracts.agent_updates import LATEST, UpdateOrder, is_older

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day, UTC; it may reach over midnight."""

    begins: int
    ends: int

    def next(self, now: float) -> float:
        """Return when it is open next: `now` while it is open."""
        at = datetime.fromtimestamp(now, UTC)
        minute = at.hour * 60 + at.minute
        if (minute - self.begins) % _DAY < (self.ends - self.begins) % _DAY:
            return now
        whole = at.replace(second=0, microsecond=0)
        return (whole + timedelta(minutes=(self.begins - minute) % _DAY)).timestamp()


def read_window(text: str) -> Window | None:
    """Read `01:00-04:30`; empty is None. Raises ValueError."""
    if not text:
        return None
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError("is to be two times of the day like 01:00-04:30")
    begins, ends = (int(found[place]) * 60 + int(found[place + 1]) for place in (1, 3))
    if begins == ends:
        raise ValueError("begins when it ends; leave it empty for any time")
    return Window(begins, ends)


def due_at(order: UpdateOrder, window: Window | None, now: float) -> float:
    """Return when an order is to be carried out; not after `now` when that is at once."""
    wanted = max(now, order.not_before or now)
    return wanted if window is None or order.is_forced else window.next(wanted)


def is_here(order: UpdateOrder, version: str, running: str) -> bool:
    """Whether `version` runs already and nothing is to be done. Raises UpdateOlder.

    `version` is what was ordered, or what `latest` turned out to be.
    """
    if order.is_forced or version == LATEST:
        return False
    if is_older(version, running):
        raise UpdateOlder(f"{version} is older than {running}, which runs", hint="order it with force")
    return version == running

"""When a schedule is due. Pure.

Cron expressions are read in the schedule's time zone, and when clocks change as Debian's cron does: a moment that
the clock skips comes right after the gap, one that it shows twice comes once; what comes every hour or minute
goes by real time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from iotistic.control.jobs.model import ScheduleInvalid

_FIELDS = 5
_MOST_EXPRESSION = 200
_LEAST_INTERVAL_S = 60
_MOST_MISSED = 1000
"""What passed is counted so far and no further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """The moments of a schedule: by a cron expression, or so many seconds apart, counted from `begins_at`."""

    begins_at: datetime
    cron_expression: str | None = None
    interval_s: int | None = None
    time_zone: str = "UTC"
    ends_at: datetime | None = None

    def next_after(self, at: datetime) -> datetime | None:
        """Return the first moment after `at`; None when there is none any more. Raises ScheduleInvalid."""
        found = self._by_interval(at) if self.interval_s is not None else self._by_cron(at)
        return None if found is None or (self.ends_at is not None and found > self.ends_at) else found

    def due(self, first: datetime, now: datetime) -> tuple[datetime, int]:
        """Return the newest moment that came by `now`, and how many came before it; `first` is one that came."""
        newest, missed = first, 0
        if self.interval_s is not None:
            missed = int((now - first).total_seconds() // self.interval_s)
            newest = first + timedelta(seconds=missed * self.interval_s)
            if self.ends_at is not None and newest > self.ends_at:
                missed = int((self.ends_at - first).total_seconds() // self.interval_s)
                newest = first + timedelta(seconds=missed * self.interval_s)
            return newest, missed
        while (following := self.next_after(newest)) is not None and following <= now:
            newest, missed = following, missed + 1
            if missed >= _MOST_MISSED:
                return self._last_before(now) or newest, missed
        return newest, missed

    def _by_interval(self, at: datetime) -> datetime | None:
        if at < self.begins_at:
            return self.begins_at
        every = timedelta(seconds=self.interval_s or _LEAST_INTERVAL_S)
        return self.begins_at + ((at - self.begins_at) // every + 1) * every

    def _by_cron(self, at: datetime) -> datetime | None:
        # A schedule that begins at a moment of its own has that moment.
        after = max(at, self.begins_at - timedelta(microseconds=1))
        found = next(self._moments(after), None)
        return None if found is None else found.astimezone(UTC)

    def _last_before(self, now: datetime) -> datetime | None:
        found = next(self._moments(now + timedelta(seconds=1), backwards=True), None)
        return None if found is None else found.astimezone(UTC)

    def _moments(self, after: datetime, *, backwards: bool = False) -> CronSim:
        expression = self.cron_expression or ""
        if len(expression) > _MOST_EXPRESSION or len(expression.split()) != _FIELDS:
            raise ScheduleInvalid(
                "the cron expression is to have five fields: minute, hour, day of month, month, day of week"
            )
        try:
            return CronSim(expression, after.astimezone(zone(self.time_zone)), reverse=backwards)
        except CronSimError as exc:
            raise ScheduleInvalid(f"the cron expression cannot be understood: {exc}") from exc


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name. Raises ScheduleInvalid."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as exc:
        raise ScheduleInvalid("there is no such time zone", hint="as Europe/Vienna or UTC") from exc


def checked(rhythm: Rhythm, now: datetime) -> datetime:
    """Return the first moment of a schedule that is new. Raises ScheduleInvalid, also when none ever comes."""
    if rhythm.interval_s is not None and rhythm.interval_s < _LEAST_INTERVAL_S:
        raise ScheduleInvalid("the interval is to be a minute or more")
    zone(rhythm.time_zone)
    first = rhythm.next_after(now)
    if first is None:
        raise ScheduleInvalid("the schedule never comes", hint="look at its end, and at its days")
    return first

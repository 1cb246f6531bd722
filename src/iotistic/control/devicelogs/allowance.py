"""How much a device may send: so many bytes an hour, in one go or spread over it."""

import time
from collections import OrderedDict
from collections.abc import Callable

from iotistic.kernel.web.problems import RateLimited

_HOUR_S = 3600.0
_MOST_DEVICES = 50_000


class LogsTooMany(RateLimited):
    """This device sent as many logs as it may within an hour."""

    code = "logs.too_many"


class Allowance:
    """Of all devices, in this process; past 50,000 the one that was quiet longest is forgotten."""

    def __init__(self, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_hour, self._clock = per_hour, clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, uuid: str) -> None:
        """Raise LogsTooMany while nothing is left for a device."""
        self.spend(uuid, 0)

    def spend(self, uuid: str, count: int) -> None:
        """Note bytes that came. Raises LogsTooMany, with the time after which a tenth of an hour's is left."""
        now = self._clock()
        at, spent = self._spent.pop(uuid, (now, 0.0))
        spent = max(0.0, spent - (now - at) * self._per_hour / _HOUR_S) + count
        self._spent[uuid] = (now, spent)
        if len(self._spent) > _MOST_DEVICES:
            self._spent.popitem(last=False)
        if spent > self._per_hour:
            wait_s = (spent - 0.9 * self._per_hour) * _HOUR_S / self._per_hour
            raise LogsTooMany(
                f"more than {self._per_hour} bytes of logs within an hour",
                retry_after_s=wait_s,
                hint=f"wait {wait_s:.0f} s; what was taken until now is kept, and is not kept twice",
                limit=self._per_hour,
                window_s=_HOUR_S,
            )

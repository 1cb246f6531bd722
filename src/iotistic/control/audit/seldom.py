"""At most once a minute: what is noted of refusals, so that whoever is refused again and again fills no table."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

_MOST = 10_000


class Seldom:
    """Says whether something is due again; remembers 10,000 things, in this process."""

    def __init__(self, every_s: float = 60.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._noted: OrderedDict[Hashable, float] = OrderedDict()

    def is_due(self, thing: Hashable) -> bool:
        """Return whether it was not due within the last minute, and count from now."""
        now = self._clock()
        noted = self._noted.get(thing)
        if noted is not None and now - noted < self._every_s:
            return False
        self._noted[thing] = now
        self._noted.move_to_end(thing)
        if len(self._noted) > _MOST:
            self._noted.popitem(last=False)
        return True

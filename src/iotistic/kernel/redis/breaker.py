"""How long something that failed is left alone: longer each time, until it has held for a while."""

import random
import time
from collections.abc import Callable

FIRST_S, MOST_S, HELD_S = 0.5, 30.0, 60.0


class Breaker:
    """Gives growing, jittered pauses; a success counts only once it has lasted `held_s` seconds.

    Otherwise something that answers a probe and fails at work would be tried at the first pause for ever.
    """

    def __init__(
        self,
        *,
        first_s: float = FIRST_S,
        most_s: float = MOST_S,
        held_s: float = HELD_S,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.0),  # noqa: S311  no secret
    ) -> None:
        self._first_s, self._most_s, self._held_s = first_s, most_s, held_s
        self._clock, self._jitter = clock, jitter
        self._pause_s = first_s
        self._well_since: float | None = None

    def succeeded(self) -> None:
        """Note that it works now."""
        if self._well_since is None:
            self._well_since = self._clock()

    def failed(self) -> float:
        """Return for how many seconds to leave it alone."""
        if self._well_since is not None and self._clock() - self._well_since >= self._held_s:
            self._pause_s = self._first_s
        self._well_since = None
        pause_s = self._pause_s * self._jitter()
        self._pause_s = min(self._pause_s * 2, self._most_s)
        return pause_s

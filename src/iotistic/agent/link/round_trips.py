"""How long the broker takes to answer, measured on messages that go out anyway.

Only one that has nothing before it is measured: behind others it would be their time too.
"""

import asyncio
from collections.abc import Callable


class RoundTrips:
    """Of one connection; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_s: float | None = None

    def watch(self, answer: asyncio.Future[None]) -> None:
        """Measure until the answer is there."""
        began = self._clock()

        def answered(answer: asyncio.Future[None]) -> None:
            if not answer.cancelled() and answer.exception() is None:
                self._last_s = self._clock() - began

        answer.add_done_callback(answered)

    def take(self) -> float | None:
        """Return the seconds of the last one since this was asked, None when there was none."""
        taken, self._last_s = self._last_s, None
        return taken

"""Slows down guessing of credentials: failed attempts are counted per caller's address."""

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request

from iotistic.kernel.web.problems import RateLimited

_MOST_ADDRESSES = 10_000


def caller_address(request: Request) -> str:
    """Return the address of the connection itself; what a header claims is not believed."""
    return request.client.host if request.client else ""


class FailedAttempts:
    """Refuses an address for the rest of the window after `limit` failures within `window_s` seconds.

    Counts live in this process and are bounded: past 10,000 addresses the oldest is forgotten.
    """

    def __init__(
        self, *, limit: int = 20, window_s: float = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise RateLimited while `address` has used up its failures."""
        started, count = self._counts.get(address, (0.0, 0))
        left_s = started + self._window_s - self._clock()
        if count >= self._limit and left_s > 0:
            raise RateLimited(
                "too many wrong credentials from this address",
                retry_after_s=left_s,
                hint=f"wait {left_s:.0f} s",
                limit=self._limit,
                window_s=self._window_s,
            )

    def failed(self, address: str) -> None:
        """Count one failure of `address`."""
        now = self._clock()
        started, count = self._counts.pop(address, (now, 0))
        if now - started > self._window_s:
            started, count = now, 0
        self._counts[address] = (started, count + 1)
        if len(self._counts) > _MOST_ADDRESSES:
            self._counts.popitem(last=False)

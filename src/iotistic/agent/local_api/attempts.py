"""Slows down guessing of the key: wrong ones are counted for each address that they come from."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from iotistic.agent.local_api.problems import RateLimited

_MOST_ADDRESSES = 1000
_NEIGHBOURHOOD = 64
"""Bits of an IPv6 address that one caller cannot choose."""


class WrongKeys:
    """Refuses an address for the rest of the window after `limit` wrong keys within `window_s` seconds.

    Counts live in this process and are bounded: past 1,000 addresses the oldest is forgotten.
    """

    def __init__(self, clock: Callable[[], float], *, limit: int = 10, window_s: float = 60.0) -> None:
        self._clock, self._limit, self._window_s = clock, limit, window_s
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise RateLimited while an address has used up its attempts."""
        began, count = self._counts.get(_of(address), (0.0, 0))
        left_s = began + self._window_s - self._clock()
        if count >= self._limit and left_s > 0:
            raise RateLimited(
                "too many wrong keys from this address", retry_after_s=left_s, hint=f"wait {left_s:.0f} s"
            )

    def wrong(self, address: str) -> None:
        """Count one wrong key."""
        now, name = self._clock(), _of(address)
        began, count = self._counts.pop(name, (now, 0))
        if now - began > self._window_s:
            began, count = now, 0
        self._counts[name] = (began, count + 1)
        if len(self._counts) > _MOST_ADDRESSES:
            self._counts.popitem(last=False)


def _of(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback and not found.is_link_local:
        return str(ipaddress.ip_network((int(found), _NEIGHBOURHOOD), strict=False))
    return str(found)

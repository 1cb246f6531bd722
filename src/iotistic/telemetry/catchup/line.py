"""Devices that wait for their turn: who asks first is served first, and asking again keeps the place."""

from collections import OrderedDict
from typing import NamedTuple

from iotistic.contracts.mac import Mac


class Waiting(NamedTuple):
    """A device in the line: the messages it holds, its number, and until when it is believed to be there."""

    mac: Mac
    messages: int
    number: int
    until: float


class Line:
    """Holds `most` devices at most, each once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._devices: OrderedDict[Mac, Waiting] = OrderedDict()
        self._given = 0

    def __len__(self) -> int:
        return len(self._devices)

    def join(self, mac: Mac, messages: int, *, until: float, now: float) -> Waiting | None:
        """Put a device into the line, or keep it where it is; None when there is no room."""
        known = self._devices.get(mac)
        if known is None:
            if len(self._devices) >= self._most:
                self._drop_gone(now)
            if len(self._devices) >= self._most:
                return None
            self._given += 1
        number = self._given if known is None else known.number
        entry = self._devices[mac] = Waiting(mac, messages, number, until)
        return entry

    def expect(self, mac: Mac, until: float) -> None:
        """Believe that a device is there for longer."""
        self._devices[mac] = self._devices[mac]._replace(until=until)

    def leave(self, mac: Mac) -> None:
        """Take a device out of the line, if it is in it."""
        self._devices.pop(mac, None)

    def first(self, now: float) -> Waiting | None:
        """Return who is next; those that should have asked again and did not are let go."""
        self._drop_gone(now)
        return next(iter(self._devices.values()), None)

    def before(self, entry: Waiting) -> int:
        """Return about how many stand before a device: who left from among them is counted too."""
        first = next(iter(self._devices.values()), entry)
        return entry.number - first.number

    def _drop_gone(self, now: float) -> None:
        while self._devices and next(iter(self._devices.values())).until < now:
            self._devices.popitem(last=False)

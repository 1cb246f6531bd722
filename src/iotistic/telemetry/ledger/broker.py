"""How far the broker is, by the figures that Mosquitto publishes below $SYS; pure.

Messages that wait for a client, or that it has not acknowledged, are in the store beside retained ones. When
nothing waits, everything that came has been taken. While messages flow something always waits: then what waits
is as old as it takes to hand so many on, at the pace of the last interval. That is an estimate; a single client
that hangs while others work does not show in it.

Mosquitto publishes a figure when it has changed, and `uptime` at every interval before the others. So when
uptime comes, the figures are those of the interval before.
"""

from iotistic.telemetry.ledger.looks import Look, Watch
from iotistic.telemetry.ledger.model import Stage

_UPTIME = "$SYS/broker/uptime"
_STORED = "$SYS/broker/store/messages/count"
_RETAINED = "$SYS/broker/retained messages/count"
_HANDED_ON = "$SYS/broker/publish/messages/sent"
FILTERS = (_UPTIME, _STORED, _RETAINED, _HANDED_ON)
_MOST_DIGITS = 18


class BrokerFigures:
    """Looks at the broker through what it says of itself."""

    def __init__(self) -> None:
        self._figures: dict[str, int] = {}
        self._ticked_at: float | None = None
        self._handed_on: tuple[float, int] | None = None
        self._watch = Watch(Stage.BROKER, "")
        self._look: Look | None = None

    def hear(self, topic: str, payload: bytes, *, at: float, retained: bool) -> None:
        """Take up a figure that came at `at` (seconds since the epoch)."""
        if topic == _UPTIME:
            if retained:
                self._ticked_at = None  # a new connection: when the figures were made is not known
            else:
                self._tick(at)
        elif payload.isdigit() and len(payload) <= _MOST_DIGITS:
            self._figures[topic] = int(payload)

    def take(self) -> Look | None:
        """Return the newest look, once."""
        look, self._look = self._look, None
        return look

    def _tick(self, at: float) -> None:
        made_at, self._ticked_at = self._ticked_at, at
        stored, retained = self._figures.get(_STORED), self._figures.get(_RETAINED)
        if made_at is None or stored is None or retained is None:
            return
        waiting = max(0, stored - retained)
        age_s = 0.0 if not waiting else self._age_s(waiting, made_at)
        self._remember(made_at)
        if age_s is not None:
            self._watch.clear(made_at, made_at - age_s)
        self._look = self._watch.told(made_at, waiting)

    def _age_s(self, waiting: int, at: float) -> float | None:
        """Return how old what waits is, at the pace of the last interval; None when nothing moved."""
        handed_on = self._figures.get(_HANDED_ON)
        if self._handed_on is None or handed_on is None:
            return None
        since, before = self._handed_on
        moved = handed_on - before
        return waiting * (at - since) / moved if moved > 0 and at > since else None

    def _remember(self, at: float) -> None:
        handed_on = self._figures.get(_HANDED_ON)
        self._handed_on = None if handed_on is None else (at, handed_on)

"""Who may send how much of a backlog, and when. Pure: it is told what happens and at what time.

    asks --> line --> lease --> account --> nothing, once it is stored
               |        |          |
               |        `----------+-- no more than the window
               `-- refusals: why, and when to ask again

Promises:
- nothing is granted beyond the window, and nothing at all while it is not known that both lanes are well;
- devices get their turn in the order in which they asked, one lease each;
- every question of a device that holds something back is answered at once, with a grant or with a reason;
- nothing here has to survive: devices ask again.
"""

from collections import deque
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from iotistic.contracts.backlog import Grant
from iotistic.contracts.mac import Mac
from iotistic.telemetry.catchup.account import Account, Lease
from iotistic.telemetry.catchup.line import Line, Waiting
from iotistic.telemetry.catchup.loads import NOT_KNOWN, Situation
from iotistic.telemetry.catchup.settings import CatchupSettings
from iotistic.telemetry.catchup.window import Window

LINE_FULL, NOT_YET = "catchup.line_full", "catchup.not_your_turn"

_SETTLED_S = 5.0
_TIMES_THE_DELAY = 3
_RETRY_FIRST_S, _RETRY_MOST_S = 5.0, 60.0
_ASKS_A_SECOND = 100
"""Questions that are welcome: a longer line is told to ask less often."""
_PATIENCE = 3
"""A device that let so many times of its wait go by without a word is believed to be gone."""
_CROSSED_S = 3.0
"""Seconds within which a question that repeats the last one has crossed with the grant that answered it."""
_REMEMBERED_LOOKS = 120
_MOST_REASON_CHARS = 300
_RATE_WEIGHT = 0.2


class Answer(NamedTuple):
    """What a device is told; `code` is the reason of a refusal."""

    mac: Mac
    grant: Grant
    code: str = ""


class Granter:
    """`jitter` returns numbers from 0 to 1; times are seconds of a clock that does not go back."""

    def __init__(self, settings: CatchupSettings, jitter: Callable[[], float]) -> None:
        self._settings, self._jitter = settings, jitter
        self._account = Account()
        self._line = Line(settings.catchup_queue)
        self._window = Window(settings.catchup_chunk, settings.catchup_window)
        self._situation = Situation(NOT_KNOWN)
        self._usual: deque[float] = deque(maxlen=_REMEMBERED_LOOKS)
        self._limited = False
        self._rate = 0.0
        self._looked_at: float | None = None
        self._stored_at = float("-inf")
        self.given_up = 0
        """Messages that were granted and never seen, since the start."""

    @property
    def outstanding(self) -> int:
        """Messages under way: by our account, or what waits in front of the workers if that is more."""
        return max(self._account.outstanding, self._situation.waiting)

    @property
    def window(self) -> int:
        """Messages that may be under way."""
        return self._window.size

    @property
    def leases(self) -> int:
        """Devices that send at the moment."""
        return self._account.leases

    @property
    def waiting(self) -> int:
        """Devices that wait for their turn."""
        return len(self._line)

    @property
    def live_delay_s(self) -> float:
        """How long live readings take at the moment."""
        return self._situation.live_delay_s

    @property
    def live_limit_s(self) -> float:
        """How long they may take: twice what was usual while nothing was caught up, or the floor."""
        # Each look is the worst of a second, about what 99 of 100 readings stay below; the median of looks
        # keeps out what a busy machine does now and then.
        usual = median(self._usual) if self._usual else 0.0
        return max(self._settings.catchup_live_delay_s, 2 * usual)

    def hear(self, mac: Mac, waiting: int, now: float) -> list[Answer]:
        """Hear that a device holds so many messages; return what is to be said, to it and to others."""
        lease = self._account.lease(mac)
        if lease is not None and lease.waiting == waiting and now - lease.began_at < _CROSSED_S:
            return self.due(now)
        self._account.close(mac, waiting=waiting, now=now)
        if not waiting:
            self._line.leave(mac)
            return self.due(now)
        entry = self._line.join(mac, waiting, until=now + _RETRY_MOST_S, now=now)
        answers = self.due(now)
        if self._account.lease(mac) is None:
            answers.append(self._refuse(mac, entry, now))
        return answers

    def due(self, now: float) -> list[Answer]:
        """Return the grants that are possible now."""
        self._account.expire(now)
        granted: list[Answer] = []
        while self._situation.trouble is None and (entry := self._line.first(now)) is not None:
            amount = min(self._settings.catchup_chunk, entry.messages)
            if self.outstanding + amount > self._window.size:
                self._limited = True
                break
            granted.append(self._grant(entry, amount, now))
        return granted

    def observe(self, situation: Situation, now: float) -> None:
        """Hear how the lanes are doing."""
        self._situation = situation
        self._account.stored(situation.stored)
        self._measure_rate(situation.stored, now)
        if situation.stored:
            self._stored_at = now
        if situation.trouble is None:
            self._judge(situation, now)
        self._limited = False

    def _judge(self, situation: Situation, now: float) -> None:
        settled = now - _SETTLED_S - _TIMES_THE_DELAY * situation.backlog_delay_s
        given_up = self._account.give_up(settled)
        self.given_up += given_up
        if given_up and self._stored_at < settled:
            self._window.collapse()
        quiet = not self.outstanding and not situation.stored
        if quiet and situation.live_delay_s:
            self._usual.append(situation.live_delay_s)
        elif self._window.look(situation.live_delay_s / self.live_limit_s, now) and self._limited:
            self._window.grow(situation.stored)

    def _measure_rate(self, stored: int, now: float) -> None:
        if self._looked_at is not None and now > self._looked_at:
            self._rate += _RATE_WEIGHT * (stored / (now - self._looked_at) - self._rate)
        self._looked_at = now

    def _grant(self, entry: Waiting, amount: int, now: float) -> Answer:
        self._line.leave(entry.mac)
        # One that asks again before its lease is over ends it; one that waited in the line has none.
        lease_s = self._settings.catchup_lease_s
        self._account.open(entry.mac, Lease(amount, entry.messages, now, now + lease_s))
        return Answer(entry.mac, Grant(amount, within_s=lease_s))

    def _refuse(self, mac: Mac, entry: Waiting | None, now: float) -> Answer:
        before = len(self._line) if entry is None else self._line.before(entry)
        retry_s = self._retry_s(before)
        code, words = NOT_YET, f"{before} devices are before this one"
        if entry is None:
            code, words = LINE_FULL, f"{before} devices wait already, no more are noted"
        if self._situation.trouble is not None:
            code, words = self._situation.trouble
        if entry is not None:
            self._line.expect(mac, now + _PATIENCE * retry_s)
        reason = f"{code}: {words}"[:_MOST_REASON_CHARS]
        return Answer(mac, Grant(0, retry_after_s=round(retry_s, 1), reason=reason), code)

    def _retry_s(self, before: int) -> float:
        """Return about how long it takes until it is the turn of a device with so many before it."""
        takes_s = before * self._settings.catchup_chunk / self._rate if self._rate >= 1 else 0.0
        at_most = max(_RETRY_MOST_S, len(self._line) / _ASKS_A_SECOND)
        at_least = max(_RETRY_FIRST_S, len(self._line) / _ASKS_A_SECOND)
        return min(max(takes_s, at_least), at_most) * (1 + self._jitter() / 2)

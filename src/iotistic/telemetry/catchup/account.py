"""What was granted and is not known to be stored.

    open lease --the device asks again, or time is over--> entered --stored, or too old--> nothing

Devices say how many messages they still hold, so what a lease was used for is known when its device asks
again. Of a device that does not, all of it is taken to be under way, until it could long have been stored.
What is stored is not told apart by device: it counts for what entered first, and beyond that for what is
being sent under the leases that are open.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

from iotistic.contracts.mac import Mac


@dataclass(frozen=True, slots=True)
class Lease:
    """`amount` messages until `ends_at`, for a device that held `waiting` of them at `began_at`."""

    amount: int
    waiting: int
    began_at: float
    ends_at: float


class Account:
    """Counts; knows no clock, and takes times of any one that does not go back."""

    def __init__(self) -> None:
        self._leases: OrderedDict[Mac, Lease] = OrderedDict()
        self._leased = 0
        self._entered: deque[tuple[float, int]] = deque()
        self._entered_sum = 0
        self._early = 0

    @property
    def outstanding(self) -> int:
        """Messages that were granted and are neither stored nor given back."""
        return self._leased + self._entered_sum - self._early

    @property
    def leases(self) -> int:
        """How many devices hold a lease."""
        return len(self._leases)

    def lease(self, mac: Mac) -> Lease | None:
        """Return a device's lease, if it has one."""
        return self._leases.get(mac)

    def open(self, mac: Mac, lease: Lease) -> None:
        """Give a lease to a device that has none; of two leases the later one must not end earlier."""
        self._leases[mac] = lease
        self._leased += lease.amount

    def close(self, mac: Mac, *, waiting: int, now: float) -> None:
        """End a device's lease, if it has one; it still holds `waiting` messages."""
        lease = self._leases.pop(mac, None)
        if lease is not None:
            self._end(lease, min(lease.amount, max(0, lease.waiting - waiting)), now)

    def expire(self, now: float) -> int:
        """End the leases whose time is over; return how many there were."""
        ended = 0
        while self._leases and next(iter(self._leases.values())).ends_at <= now:
            _, lease = self._leases.popitem(last=False)
            self._end(lease, lease.amount, lease.ends_at)
            ended += 1
        return ended

    def stored(self, messages: int) -> None:
        """Count stored messages; more of them than were granted count for nothing."""
        while messages and self._entered:
            at, amount = self._entered[0]
            taken = min(messages, amount)
            messages -= taken
            self._entered_sum -= taken
            if taken == amount:
                self._entered.popleft()
            else:
                self._entered[0] = at, amount - taken
        self._early = min(self._leased, self._early + messages)

    def give_up(self, before: float) -> int:
        """Forget what entered until `before`: it never came, or was counted already. Return how much it was."""
        given_up = 0
        while self._entered and self._entered[0][0] <= before:
            given_up += self._entered.popleft()[1]
        self._entered_sum -= given_up
        return given_up

    def _end(self, lease: Lease, sent: int, at: float) -> None:
        self._leased -= lease.amount
        seen = min(self._early, sent)
        self._early = min(self._leased, self._early - seen)
        if sent > seen:
            self._entered.append((at, sent - seen))
            self._entered_sum += sent - seen

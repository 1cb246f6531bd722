"""What is usual at this time of day: one level for each slot of the day."""

from iotistic.detection.constants import DAY_S


class DayProfile:
    """Mean of each slot over the days; a visit counts once it has ended, so a slot never judges itself."""

    __slots__ = ("count", "gain", "levels", "slot", "total", "visits", "width_s")

    def __init__(self, slots: int, gain: float) -> None:
        self.width_s = DAY_S / slots
        self.gain = gain
        self.levels = [0.0] * slots
        self.visits = [0] * slots
        self.slot = -1
        self.total = 0.0
        self.count = 0

    def residual(self, second: float, x: float) -> float | None:
        """Return `x` less its slot's level, None while the slot is unknown; `second` is that of the day."""
        slot = int(second / self.width_s)
        if slot != self.slot:
            if self.count:
                self._learn()
            self.slot, self.total, self.count = slot, 0.0, 0
        self.total += x
        self.count += 1
        return x - self.levels[slot] if self.visits[slot] else None

    def _learn(self) -> None:
        visits = self.visits[self.slot] + 1
        level = self.levels[self.slot]
        share = max(self.gain, 1.0 / visits)
        self.levels[self.slot] = level + share * (self.total / self.count - level)
        self.visits[self.slot] = visits

    def to_list(self) -> list[float]:
        """Return the whole state as numbers; the length depends on the number of slots only."""
        return [self.slot, self.total, self.count, *self.levels, *self.visits]

    def from_list(self, numbers: list[float]) -> None:
        """Take the state back."""
        slots = len(self.levels)
        self.slot, self.total, self.count = int(numbers[0]), numbers[1], int(numbers[2])
        self.levels = numbers[3 : 3 + slots]
        self.visits = [int(number) for number in numbers[3 + slots :]]

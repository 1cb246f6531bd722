"""By how much a value breaks the range known so far, in units of that range.

The range shrinks slowly towards the mean, and one sample may widen it by a share (the cap) only: a single
huge spike then does not hide the next one. Several caps at once, averaged.
"""

from iotistic.detection.constants import FULL_SCORE, Constants


class Extremes:
    """Highest and lowest value of one residual, per cap."""

    __slots__ = ("constants", "highs", "lows", "mean", "seen")

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.seen = 0
        self.mean = 0.0
        self.highs = [0.0] * len(constants.caps)
        self.lows = [0.0] * len(constants.caps)

    @property
    def ripe(self) -> bool:
        """Whether enough was seen to judge."""
        return self.seen > self.constants.warm_up

    def update(self, x: float, floor: float) -> float:
        """Take one value in; return the sum of the scores (0..1 each). Below `floor` is rounding."""
        constants = self.constants
        if not self.seen:
            self.seen, self.mean = 1, x
            self.highs = [x] * len(constants.caps)
            self.lows = [x] * len(constants.caps)
            return 0.0
        self.seen += 1
        gain = 1.0 / self.seen
        gain = max(gain, constants.mean_gain)
        self.mean += (x - self.mean) * gain
        return self._compare(x, floor)

    def _compare(self, x: float, floor: float) -> float:
        highs, lows, mean, forget = self.highs, self.lows, self.mean, self.constants.forget
        ripe, total = self.ripe, 0.0
        for i, cap in enumerate(self.constants.caps):
            high, low = highs[i], lows[i]
            if x > high + floor or x < low - floor:
                above = x > high
                beyond = x - high if above else low - x
                span = high - low
                known = span > floor
                if ripe:
                    score = beyond / span if known else FULL_SCORE
                    total += min(FULL_SCORE, score)
                if ripe and known and beyond > cap * span:
                    beyond = cap * span
                if above:
                    high += beyond
                else:
                    low -= beyond
            highs[i] = high - (high - mean) * forget
            lows[i] = low + (mean - low) * forget
        return total

    def to_list(self) -> list[float]:
        """Return the whole state as numbers."""
        return [self.seen, self.mean, *self.highs, *self.lows]

    def from_list(self, numbers: list[float]) -> None:
        """Take the state back."""
        caps = len(self.highs)
        self.seen, self.mean = int(numbers[0]), numbers[1]
        self.highs, self.lows = numbers[2 : 2 + caps], numbers[2 + caps :]

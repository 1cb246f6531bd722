"""The constants of the detector: the same for every stream.

They were chosen on labelled data, in the middle of plateaus that `iotistic bench detection` draws.
Rates are per sample. Several values of one constant at once (slots, caps) are averaged over: an average
of plain detectors has wider plateaus than the best of them.
"""

from dataclasses import dataclass

LARGEST_WEIGHT = 100.0


@dataclass(frozen=True, slots=True)
class Constants:
    """How a stream is learned and judged."""

    slots: tuple[int, ...] = (12, 24, 48, 96)
    """Parts of a day; each gives a profile of its own."""
    profile_gain: float = 0.1
    """Share of a slot's level that one more day replaces, once ten days are known."""
    caps: tuple[float, ...] = (0.15, 0.25, 0.4)
    """How far one sample may widen the known range, in units of that range."""
    forget: float = 0.0002
    """Share by which the known range shrinks towards the mean."""
    mean_gain: float = 0.001
    """Gain of that mean."""
    level_gain: float = 0.0005
    """Gain of the stream's level and of its ordinary spread."""
    warm_up: int = 50
    """Samples without judgement."""
    mute: int = 100
    """Samples after an alert in which only a higher score is an alert."""
    hold: int = 24
    """Samples over which the raw score forgets an alert."""
    steady_window: int = 144
    """Samples of the steady deviation; from 96 to 192 labelled data tells no difference (docs/performance.md)."""
    steady_weight: float = 0.04
    """Weight of one ordinary spread of steady deviation in the raw score."""
    gauge_gain: float = 0.02
    """Step of the running quartiles, in ordinary spreads."""
    forecast_weight: float = 0.0
    """Weight of a forecast's error among the judges, where each profile has 1. With 0 a forecast decides nothing:
    labelled data got no better by any weight (docs/performance.md). Its error still names events."""

    def __post_init__(self) -> None:
        """Refuse what can never work; ValueError names the field."""
        for name in ("profile_gain", "forget", "mean_gain", "level_gain", "gauge_gain"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share of one sample: above 0, at most 1")
        for name in ("warm_up", "mute", "hold", "steady_window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a number of samples: at least 1")
        if not 0 <= self.forecast_weight <= LARGEST_WEIGHT:
            raise ValueError(f"forecast_weight is a weight: 0 to {LARGEST_WEIGHT:g}")
        if not self.slots or min(self.slots) < 1 or not self.caps or min(self.caps) <= 0:
            raise ValueError("slots and caps need at least one positive value each")


DEFAULTS = Constants()

DAY_S = 86_400.0
LARGEST = 1e150
"""A larger value is no measurement: its square would not be a number."""
RESOLUTION = 1e-12
"""Differences below this share of the largest value seen are rounding."""
FULL_SCORE = 1.0
"""Where the scores of one extreme end: a value beyond the range by the range itself."""
STEADY_LIMIT = 25.0
"""Steady deviation counts up to this many ordinary spreads."""

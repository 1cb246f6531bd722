"""A bank that grows: streams by their places, stepped in one call of numpy. Only here and in `bank` is numpy needed."""

from collections.abc import Sequence

import numpy as np

from iotistic.detection.bank import Bank
from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import SCALARS, Detector
from iotistic.detection.gauges import FIELDS
from iotistic.detection.watches import Score

_SLOW = len(SCALARS) + FIELDS.index("slow")
_ROOM = 32


class Banked:
    """Streams in one bank; its columns double when they are all taken."""

    def __init__(self, constants: Constants = DEFAULTS) -> None:
        self._bank = Bank(_ROOM, constants)

    def put(self, place: int, detector: Detector) -> None:
        """Let a stream go on from a detector's state."""
        while place >= self._bank.streams:
            self._grow()
        self._bank.put(place, detector)

    def detector(self, place: int) -> Detector:
        """Return a detector that goes on as this stream would."""
        return self._bank.detector(place)

    def step(self, samples: Sequence[tuple[int, float, float]]) -> list[Score]:
        """Take samples in, each place once."""
        bank = self._bank
        values, times = np.full(bank.streams, np.nan), np.zeros(bank.streams)
        places = [place for place, _, _ in samples]
        times[places] = [at for _, at, _ in samples]
        values[places] = [value for _, _, value in samples]
        spreads = np.sqrt(bank.numbers[_SLOW, places])
        alerts, raws = bank.step(times, values)
        return [
            Score(*found)
            for found in zip(
                places, alerts[places].tolist(), raws[places].tolist(), spreads.tolist(), strict=True
            )
        ]

    def _grow(self) -> None:
        before = self._bank
        self._bank = Bank(2 * before.streams, before.constants)
        self._bank.numbers[:, : before.streams] = before.numbers

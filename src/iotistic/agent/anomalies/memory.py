"""What the detectors have learned: in memory while detection is on, on disk in between and afterwards."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import structlog

from iotistic.agent.store.errors import StoreUnavailable
from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import Detector
from iotistic.detection.watches import Alert, Sample, Standing, Streams, Watches

log = structlog.get_logger()

_DAY_S = 86_400.0
_FORGOTTEN_AFTER_S = 30 * _DAY_S
"""A stream that was not seen for so long is forgotten."""


class Disk(Protocol):
    """States by the names of streams."""

    async def load_states(self, *, since: float = 0.0) -> dict[str, bytes]:
        """Return those that were saved since then."""
        ...

    async def save_states(self, states: Mapping[str, bytes], *, since: float = 0.0) -> None:
        """Keep some; those that were saved before `since` go. Raises StoreUnavailable."""
        ...


class Equipment(NamedTuple):
    """By what values are judged. `streams` makes others than usual ones, such as those with forecasts."""

    constants: Constants = DEFAULTS
    streams: Callable[[], Streams] | None = None
    name: str = ""


class Memory:
    """Of one device; `most` bounds the streams, `bytes_a_day` what saving them may wear the flash."""

    def __init__(
        self, disk: Disk, clock: Callable[[], float], *, most: int = 256, bytes_a_day: float = 8e6
    ) -> None:
        self._disk, self._clock, self._most, self._bytes_a_day = disk, clock, most, bytes_a_day
        self._watches: Watches | None = None
        self._equipment = Equipment()
        self._touched: set[str] = set()
        self._state_bytes = 0

    @property
    def engine(self) -> str:
        """How streams are stepped: none, singles, bank, or by what equipment."""
        if self._watches is None:
            return "none"
        if self._equipment.name:
            return self._equipment.name
        return "bank" if self._watches.is_banked else "singles"

    @property
    def refused(self) -> int:
        """Values of metrics that there was no room for."""
        return 0 if self._watches is None else self._watches.refused

    async def load(self) -> None:
        """Go on as was saved; a state that cannot be read begins anew."""
        if self._watches is not None:
            return
        watches = self._fresh()
        for name, state in (await self._disk.load_states(since=self._since())).items():
            try:
                watches.put(name, Detector.restore(state, self._equipment.constants))
            except ValueError as exc:
                log.warning("anomaly.state_unreadable", metric=name, reason=str(exc))
        self._watches = watches

    def unload(self) -> None:
        """Let go of everything."""
        self._watches = None
        self._touched.clear()

    def forget(self) -> None:
        """Begin anew: the disk was emptied."""
        if self._watches is not None:
            self._watches = self._fresh()
        self._touched.clear()

    def equip(self, equipment: Equipment) -> None:
        """Judge by this from now on; what was learned goes on."""
        self._equipment, before = equipment, self._watches
        if before is None:
            return
        self._watches = self._fresh()
        for name in before.names:
            state = before.detector(name).save()
            self._watches.put(name, Detector.restore(state, equipment.constants))

    def step(self, samples: Iterable[Sample]) -> list[Alert]:
        """Take samples in; return those that are unusual."""
        if self._watches is None:
            return []
        samples = list(samples)
        self._touched.update(one.stream for one in samples)
        return self._watches.step(samples)

    def standing(self, stream: str) -> Standing | None:
        """Return how a stream stands, None when it is not watched."""
        watches = self._watches
        return watches.standing(stream) if watches is not None and stream in watches else None

    def save_every_s(self, wanted_s: float) -> float:
        """Return how often to save, so that flash is spared."""
        return max(wanted_s, self._state_bytes / self._bytes_a_day * _DAY_S)

    async def save(self) -> None:
        """Keep what was learned since the last time; a disk that takes no writes is tried again the next time."""
        watches = self._watches
        if watches is None or not self._touched:
            return
        names, self._touched = self._touched, set()
        states = {name: watches.detector(name).save() for name in names if name in watches}
        self._state_bytes = sum(map(len, states.values()))
        try:
            await self._disk.save_states(states, since=self._since())
        except BaseException as exc:
            self._touched |= names
            if not isinstance(exc, StoreUnavailable):
                raise  # the store has said why, once

    def _fresh(self) -> Watches:
        return Watches(most=self._most, constants=self._equipment.constants, streams=self._equipment.streams)

    def _since(self) -> float:
        return self._clock() - _FORGOTTEN_AFTER_S

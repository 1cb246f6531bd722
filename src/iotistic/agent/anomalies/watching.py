"""Watches everything that the agent measures, in one task that sleeps until something was measured.

Promises
- Nothing is learned or kept while detection is off; what was learned before stays on disk.
- Each value that is fed is taken in, in its order; what unusual values mean is on disk before anybody is told.
- What was learned is saved now and then and at the end: `kill -9` costs what was learned since, never more.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from iotistic.agent.anomalies.config import AnomalyConfig, Wanted
from iotistic.agent.anomalies.forecasting import Forecasting
from iotistic.agent.anomalies.journal import Journal
from iotistic.agent.anomalies.lessons import Lessons
from iotistic.agent.anomalies.memory import Memory
from iotistic.agent.anomalies.model import Anomaly, DetectionOff, Measured
from iotistic.agent.anomalies.standing import Known, describe_metric
from iotistic.agent.anomalies.testing import made_up
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.detection.feedback import Verdict, lesson_of
from iotistic.detection.incidents import Incidents, News
from iotistic.detection.watches import Alert, Sample
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_MOST_PENDING = 1000
_AT_ONCE = 100
_CLOSE_WITHIN_S = 5.0


@dataclass(frozen=True)
class Around:
    """What the watch needs of the rest. `clock` in seconds since 1970."""

    clock: Callable[[], float]
    look_every_s: float = 30.0
    save_every_s: float = 900.0
    save_bytes_a_day: float = 8e6
    most_metrics: int = 256
    most_anomalies: int = 1000
    gather_s: float = 0.5
    """Readings of one moment come one after the other: they are stepped together."""


@dataclass
class Counts:
    """What became of values since the start."""

    values: int = 0
    anomalies: int = 0
    repeated: int = 0
    tolerated: int = 0
    """Unusual values that are usual by what people said."""
    ruled_out: int = 0
    """Unusual values that nobody wants to hear of."""
    lost: int = 0
    """Values that came faster than they could be taken in."""


@dataclass(eq=False)
class AnomalyWatch:
    """Of one device; made by `open_watch`. `look` returns the machine's figures now."""

    around: Around
    memory: Memory
    journal: Journal
    lessons: Lessons
    wanted: Wanted = field(default_factory=Wanted)
    counts: Counts = field(default_factory=Counts)
    look: Callable[[], Iterable[Measured]] = tuple

    def __post_init__(self) -> None:
        self._pending: list[Measured] = []
        self._known: dict[str, Known] = {}
        self._incidents = Incidents(self.journal.incidents())
        self._forecasting, self._ca_pem = Forecasting(self.memory), ""
        self._woken = asyncio.Event()
        self._look_at = self._save_at = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything is watched."""
        return self.wanted.is_on

    def feed(self, measured: Iterable[Measured]) -> None:
        """Take values in, soon; never raises, and returns at once."""
        if not self.is_on:
            return
        for one in measured:
            if len(self._pending) >= _MOST_PENDING:
                self.counts.lost += 1
                continue
            self._pending.append(one)
        self._woken.set()

    def configure(
        self,
        *,
        here: AnomalyConfig | None = None,
        cloud: AnomalyConfig | None = None,
        ca_pem: str | None = None,
    ) -> None:
        """Let other rules be in force from now on; `ca_pem` is the CA that signs what the cloud ships."""
        before = self.wanted, self._ca_pem
        here, cloud = here or self.wanted.here, cloud or self.wanted.cloud
        self.wanted = Wanted(here, cloud)
        self._ca_pem = self._ca_pem if ca_pem is None else ca_pem
        if before != (self.wanted, self._ca_pem):
            self._woken.set()

    async def run(self) -> None:
        """Watch until cancelled; then save what was learned."""
        self._save_at = self.around.clock() + self.around.save_every_s
        try:
            while True:
                self._woken.clear()
                await self._heed_cloud()
                self._forecasting.heed(self.wanted.cloud.forecaster, self._ca_pem)
                if self.is_on:
                    await self._turn()
                else:
                    await self._leave()
                await self._rest()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._leave()

    async def feedback(self, name: str, verdict: Verdict) -> Anomaly:
        """Take what a person says of an anomaly. Raises AnomalyUnknown, AnomalyAmbiguous and StoreUnavailable."""
        anomaly = self.journal.find(name)
        if anomaly.verdict is verdict:
            return anomaly
        event = anomaly.incident.event
        await self.lessons.learn(event.metric, lesson_of(anomaly.id, verdict, event, self.around.clock()))
        log.info("anomaly.judged", anomaly_id=anomaly.id, metric=event.metric, verdict=str(verdict))
        judged = self.journal.change(replace(self.journal.find(anomaly.id), verdict=verdict), is_news=True)
        await self.journal.write()
        return judged

    async def test(self, document: Mapping[str, object]) -> dict[str, Any]:
        """Let a made-up anomaly be found and told like any other. Raises DetectionOff and AnomalyRequestInvalid."""
        if not self.is_on:
            raise DetectionOff(hint="set ANOMALY_DETECTION_ENABLED=true")
        known, alert = made_up(document, self.around.clock())
        anomaly = self._tell(known, alert)
        await self.journal.write()
        return {"status": "ok", "found": anomaly is not None, "anomaly": anomaly and anomaly.document()}

    def recent(self, count: int) -> list[Anomaly]:
        """Return the last anomalies, the oldest first."""
        return self.journal.recent(count)

    def find(self, name: str) -> Anomaly:
        """Return one. Raises AnomalyUnknown and AnomalyAmbiguous."""
        return self.journal.find(name)

    def follow(self, *, recent: int = 0) -> AsyncIterator[Anomaly]:
        """Yield the last anomalies, and then those that come or become worse."""
        return self.journal.follow(recent=recent)

    def metrics(self) -> list[dict[str, Any]]:
        """Return how each metric stands: learning, watching or off."""
        found: list[dict[str, Any]] = []
        for name, known in sorted(self._known.items()):
            watched = self.is_on and self.wanted.of(name).is_on
            standing = self.memory.standing(name) if watched else None
            found.append(describe_metric(name, known, standing, self.lessons.of(name), self.around.clock()))
        return found

    def status(self) -> dict[str, Any]:
        """Return how the watch stands, for whoever looks for a fault."""
        states = [one["status"] for one in self.metrics()]
        return {
            "state": "on" if self.is_on else "off",
            "engine": self.memory.engine,
            **self._forecasting.describe(),
            "metrics": len(states),
            "learning": states.count("learning"),
            "kept": len(self.journal),
            "dropped_untold": self.journal.dropped_untold,
            "feedback": dict(self.lessons.counts),
            "without_room": self.memory.refused,
            **vars(self.counts),
        }

    def report(self) -> dict[str, Any]:
        """Return what the cloud is to know of the watch: it changes when somebody wants something else of it."""
        state = "on" if self.is_on else "off"
        return {"anomaly_detection": {"state": state, **self._forecasting.describe()}}

    def forget(self) -> None:
        """Begin anew: the disk was emptied."""
        self.memory.forget()
        self.journal.forget()
        self.lessons.forget()
        self._known.clear()
        self._incidents = Incidents()

    async def _turn(self) -> None:
        now = self.around.clock()
        try:
            await self.memory.load()
        except StoreUnavailable:  # the store has said why, once
            self._look_at = now + self.around.look_every_s
            self._save_at = now + self.around.save_every_s
            return
        if not 0 < self._look_at - now <= self.around.look_every_s:  # also after the clock was set back
            self._look_at = now + self.around.look_every_s
            self._pending += self.look()
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), _AT_ONCE):
            self._take(pending[start : start + _AT_ONCE])
            await asyncio.sleep(0)  # others wait for this loop too
        await self.journal.write()
        if not 0 < self._save_at - now <= self.memory.save_every_s(self.around.save_every_s):
            await self._save()

    def _take(self, measured: Iterable[Measured]) -> None:
        samples: list[Sample] = []
        for one in measured:
            known = self._known.get(one.metric)
            if known is None:
                known = self._known[one.metric] = Known()
            known.take(one)
            if self.wanted.of(one.metric).is_on:
                samples.append(Sample(one.metric, one.at, one.value))
        self.counts.values += len(samples)
        for alert in self.memory.step(samples):
            self._tell(self._known[alert.stream], alert)

    def _tell(self, known: Known, alert: Alert) -> Anomaly | None:
        """Make something of an unusual value; None when nobody is to hear of it."""
        event = alert.event(self.lessons.factor(alert.stream, alert.value, alert.at))
        rules = self.wanted.of(alert.stream)
        if event is None:
            self.counts.tolerated += 1
            return None
        if not rules.tells(event):
            self.counts.ruled_out += 1
            return None
        incident, news = self._incidents.take(alert.stream, event, cool_down_s=rules.cool_down)
        kept = self.journal.by_incident(incident)
        if kept is not None and news is not News.NEW:
            self.counts.repeated += 1
            return self.journal.change(replace(kept, incident=incident), is_news=news is News.WORSE)
        self.counts.anomalies += 1
        found = self.journal.add(incident, lambda number: known.anomaly(number, incident, alert))
        log.warning("anomaly.found", anomaly_id=found.id, metric=alert.stream, severity=str(event.severity))
        return found

    async def _heed_cloud(self) -> None:
        """Take what people in the cloud say of anomalies; those that are not here any more are passed over."""
        for name, verdict in self.wanted.cloud.feedback:
            if name in self.journal:
                with contextlib.suppress(
                    IotisticError
                ):  # a disk that takes no writes: tried again the next time
                    await self.feedback(name, verdict)

    async def _save(self) -> None:
        self._save_at = self.around.clock() + self.memory.save_every_s(self.around.save_every_s)
        await self.memory.save()
        await self.journal.write(even_counts=True)

    async def _leave(self) -> None:
        """Save what was learned, and let go of it."""
        self._pending.clear()
        await self._save()
        self.memory.unload()

    async def _rest(self) -> None:
        """Wait until something was measured, or is to be."""
        due_at = min(self._look_at, self._save_at) - self.around.clock() if self.is_on else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due_at is None else max(0.0, due_at)):
                await self._woken.wait()
                await asyncio.sleep(self.around.gather_s)


async def open_watch(store: Store, around: Around, here: AnomalyConfig) -> AnomalyWatch:
    """Return the watch as it was left; detectors are read once it runs."""
    journal, lessons = Journal(store.anomalies, most=around.most_anomalies), Lessons(store.metadata)
    await journal.open()
    await lessons.open()
    memory = Memory(
        store.anomalies, around.clock, most=around.most_metrics, bytes_a_day=around.save_bytes_a_day
    )
    return AnomalyWatch(around, memory, journal, lessons, Wanted(here))

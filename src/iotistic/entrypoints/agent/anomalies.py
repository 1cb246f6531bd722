"""The watch over readings, by the agent's settings, and what it sees of the machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iotistic.agent.anomalies.model import Measured
from iotistic.agent.anomalies.settings import AnomalySettings
from iotistic.agent.anomalies.sources import figures_of, of_machine
from iotistic.agent.anomalies.watching import AnomalyWatch, Around, open_watch
from iotistic.agent.local_config.config import Listener, LocalConfig
from iotistic.agent.local_config.options import OPTIONS
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.store.store import Store


@dataclass
class MachineLook:
    """Looks at the machine apart from the reports: shares of CPU are since the look before, whoever looked."""

    data: Path
    disturb: Callable[[Mapping[str, object]], Mapping[str, object]]
    """Puts anomalies into figures, in simulation mode."""
    latency_s: Callable[[], float | None]
    clock: Callable[[], float]
    _observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        self._observer = Observer(self.data)

    def __call__(self) -> list[Measured]:
        """Return the figures of now."""
        figures = self.disturb(figures_of(self._observer.glance()))
        return of_machine(figures, self.clock(), self.latency_s())


def heed_settings(config: LocalConfig, settings: AnomalySettings, watch: AnomalyWatch) -> None:
    """Let what is set on the device be in force at once."""
    said: dict[str, object] = {}

    def listener(name: str) -> Listener:
        async def take(value: object) -> None:
            said[name.lower()] = value
            watch.configure(here=settings.model_copy(update=said).anomaly_config)

        return take

    for name in OPTIONS:
        if name.startswith("ANOMALY_"):
            config.listen(name, listener(name))


async def opened_watch(settings: AnomalySettings, store: Store, clock: Callable[[], float]) -> AnomalyWatch:
    """Return the watch as it was left. Raises AnomalySettingsInvalid."""
    around = Around(
        clock,
        look_every_s=settings.anomaly_interval_ms / 1000,
        save_every_s=settings.anomaly_save_ms / 1000,
        save_bytes_a_day=settings.anomaly_save_mb_a_day * 1e6,
        most_metrics=settings.anomaly_max_metrics,
        most_anomalies=settings.anomaly_max_events,
    )
    return await open_watch(store, around, settings.anomaly_config)

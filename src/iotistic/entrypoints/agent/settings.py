"""The settings of an agent's process: one group of each room, and where it keeps what it knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iotistic.agent.anomalies.settings import AnomalySettings
from iotistic.agent.jobs.settings import JobSettings
from iotistic.agent.link.mqtt_settings import MqttLinkSettings
from iotistic.agent.local_api.settings import DeviceApiSettings
from iotistic.agent.local_config.options import OPTIONS
from iotistic.agent.logs.settings import AgentLogSettings
from iotistic.agent.provisioning.settings import ProvisioningSettings
from iotistic.agent.scenarios.settings import SimulationSettings
from iotistic.agent.sensors.settings import SensorSettings
from iotistic.agent.updating.settings import UpdateSettings
from iotistic.entrypoints.agent.engine_settings import AgentSettings
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field


class IntervalSettings(Settings):
    """How often the agent speaks to its cloud. The cloud's own wishes (`config.settings`) come first."""

    poll_interval_ms: int = Field(default=60_000, ge=1000)
    """Milliseconds between two looks at the target while no MQTT connection announces changes."""
    poll_interval_announced_ms: int = Field(default=1_800_000, ge=1000)
    """The same while one does: then polling is only there to catch what an announcement lost."""
    report_interval_ms: int = Field(default=60_000, ge=1000)
    """Milliseconds after which the state is compared with what the cloud knows, although nothing happened."""
    metrics_interval_ms: int = Field(default=300_000, ge=1000)
    """Milliseconds between two reports of the machine's figures."""
    collect_top_processes: bool = True
    """Whether the ten busiest processes are reported, once an hour."""


class AgentProcessSettings(
    AgentSettings,
    ProvisioningSettings,
    MqttLinkSettings,
    IntervalSettings,
    JobSettings,
    AgentLogSettings,
    SensorSettings,
    SimulationSettings,
    AnomalySettings,
    DeviceApiSettings,
    UpdateSettings,
    HomeSettings,
    LogSettings,
):
    """Settings of an agent's process."""

    config_dir: Path | None = None
    """Folder of what the agent keeps (default: agent/ in IOTISTIC_HOME)."""

    @property
    def data(self) -> Path:
        """The agent's own folder."""
        return self.config_dir or self.home.path / "agent"

    def given(self) -> dict[str, Any]:
        """Return what the process was started with, of what can be changed on the device."""
        names = {name.lower() for name in OPTIONS} & self.model_fields_set
        return {name.upper(): getattr(self, name) for name in names}

    def with_local(self, local: Mapping[str, Any]) -> "AgentProcessSettings":
        """Return these settings with what was set on the device on top. Nothing is read anew."""
        known = type(self).model_fields
        changes = {name.lower(): value for name, value in local.items() if name.lower() in known}
        return self.model_copy(update=changes)

"""Simulation mode in the environment."""

from iotistic.agent.scenarios.config import read_simulation
from iotistic.agent.scenarios.model import SENSOR_DATA, Simulation
from iotistic.kernel.settings import Settings


class SimulationSettings(Settings):
    """Whether the agent simulates something."""

    simulation_mode: bool = False
    """Whether scenarios may run at all. Never on a device that people rely on: its data would be invented."""
    simulation_config: str = ""
    """What is simulated, as JSON: {"scenarios": {"sensor_data": {"pattern": "sine"}}}. Empty: sensor_data."""

    @property
    def simulation(self) -> Simulation:
        """What is simulated. Raises SimulationInvalid with every fault."""
        if not self.simulation_mode:
            return Simulation()
        if not self.simulation_config.strip():
            return Simulation(enabled=True, begins=frozenset({SENSOR_DATA}))
        return read_simulation(self.simulation_config)

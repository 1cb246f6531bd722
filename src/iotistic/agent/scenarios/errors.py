"""What simulation mode refuses."""

from iotistic.kernel.errors import Conflict, Invalid, NotFound


class SimulationInvalid(Invalid):
    """The configuration of the simulation has faults."""

    code = "simulation.config_invalid"


class SimulationOff(Conflict):
    """Simulation mode is not switched on."""

    code = "simulation.off"


class ScenarioUnknown(NotFound):
    """There is no such scenario."""

    code = "simulation.scenario_unknown"

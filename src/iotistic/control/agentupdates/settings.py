"""Settings of agents' updates in the control plane."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class AgentUpdateSettings(Settings):
    """How updates of agents are looked after."""

    agent_update_wait_hours: float = Field(default=168.0, gt=0, le=8784)
    """Hours that an ordered update of an agent waits for a device that is away, past the time that was asked for."""
    agent_update_round_s: float = Field(default=2.0, gt=0)
    """Seconds between two looks for updates of agents that are to be told or given up."""

"""What the device API needs of the rest of the agent. What an agent does not have is None, and answered with 501."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from iotistic.agent.anomalies.model import Anomaly
from iotistic.agent.jobs.model import JobExecution
from iotistic.agent.local_config.config import LocalConfig
from iotistic.agent.logs.entry import LogEntry
from iotistic.agent.metrics.model import Machine
from iotistic.agent.operations.operations import Operations
from iotistic.agent.provisioning.model import Farewell, ProvisioningRequest, ProvisioningStatus
from iotistic.agent.reconcile.reconciler import Standing
from iotistic.detection.feedback import Verdict
from iotistic.planning.facts import Facts
from iotistic.planning.steps import Action

Document = Mapping[str, Any]


class Provisioning(Protocol):
    """Brings the device into a fleet, and out of it. Raises IotisticError."""

    def status(self) -> ProvisioningStatus:
        """Return how far it is."""
        ...

    async def provision(self, request: ProvisioningRequest) -> ProvisioningStatus:
        """Bring it into a fleet."""
        ...

    async def deprovision(self) -> Farewell:
        """Leave the fleet; uuid and device key stay."""
        ...

    async def factory_reset(self) -> Farewell:
        """Leave the fleet, and forget everything but the uuid."""
        ...


class Loop(Protocol):
    """The reconciler, to be looked at."""

    standing: Standing

    @property
    def under_way(self) -> tuple[Action, ...]:
        """What is being done now."""
        ...


class Logs(Protocol):
    """Log lines of containers and of the agent."""

    def recent(self, n: int, service: str | None = None) -> Sequence[LogEntry]:
        """Return the last lines, of everybody or of one service by its name or id, the oldest first."""
        ...

    def follow(self, service: str | None = None, *, recent: int = 0) -> AsyncIterator[LogEntry]:
        """Yield the last `recent` lines, and then those that come."""
        ...


class Simulation(Protocol):
    """Scenarios of the simulation mode. Raises SimulationOff, ScenarioUnknown and SimulationInvalid."""

    def status(self) -> Document:
        """Return which scenarios there are, and which run."""
        ...

    def start(self, name: str, config: Mapping[str, object] | None = None) -> Document:
        """Start a scenario, also with another configuration; return how it is."""
        ...

    def stop(self, name: str) -> Document:
        """Stop a scenario; return how it is."""
        ...

    def stop_all(self) -> Document:
        """Stop all; return how everything is."""
        ...


class Anomalies(Protocol):
    """The edge's watch over readings."""

    async def test(self, document: Document) -> Document:
        """Let a made-up anomaly be found, and return what was found. Raises IotisticError."""
        ...

    def recent(self, count: int) -> Sequence[Anomaly]:
        """Return the last anomalies, the oldest first."""
        ...

    def follow(self, *, recent: int = 0) -> AsyncIterator[Anomaly]:
        """Yield the last anomalies, and then those that come or become worse."""
        ...

    def find(self, name: str) -> Anomaly:
        """Return one by its id, or by how that begins. Raises AnomalyUnknown and AnomalyAmbiguous."""
        ...

    async def feedback(self, name: str, verdict: Verdict) -> Anomaly:
        """Take what a person says of one. Raises what `find` does, and StoreUnavailable."""
        ...

    def metrics(self) -> Sequence[Document]:
        """Return how each metric stands."""
        ...

    def status(self) -> Document:
        """Return how the watch stands."""
        ...


class Host(Protocol):
    """The machine. Raises NotPossible with the reason where the agent may not."""

    async def reboot(self) -> None:
        """Restart the machine, soon."""
        ...

    async def shutdown(self) -> None:
        """Switch the machine off, soon."""
        ...

    async def restart_agent(self) -> None:
        """End this process so that another one takes its place, soon."""
        ...


@dataclass(frozen=True)
class Parts:
    """The agent as the device API sees it."""

    operations: Operations
    loop: Loop
    facts: Callable[[], Facts]
    config: LocalConfig
    version: str
    engine: str = ""
    provisioning: Provisioning | None = None
    logs: Logs | None = None
    simulation: Simulation | None = None
    anomalies: Anomalies | None = None
    host: Host | None = None
    machine: Callable[[], Machine] | None = None
    jobs: Callable[[], Sequence[JobExecution]] | None = None
    """The last jobs, newest first."""
    diagnoses: Mapping[str, Callable[[], Document]] | None = None
    """What parts say of themselves, by name: cloud, mqtt, store, outbox."""
    refused: Callable[[], Sequence[str]] = tuple
    """What is wrong with the newest target, when it is not in force."""
    clock: Callable[[], float] = time.time

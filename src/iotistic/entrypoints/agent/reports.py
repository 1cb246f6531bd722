"""What the agent says of its device: the state when it changes, figures of the machine now and then."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iotistic.agent.engines.port import Engine
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.metrics.model import Machine
from iotistic.agent.reconcile.reconciler import Reconciler
from iotistic.agent.reconcile.record import Record
from iotistic.agent.reporting.chronicle import Chronicle, describe_facts
from iotistic.agent.reporting.machine import describe_interfaces, describe_machine, local_ip
from iotistic.agent.reporting.services import describe_apps
from iotistic.contracts.forecasts import without_file
from iotistic.entrypoints.catalogue import version
from iotistic.planning.facts import Facts

_OS_RELEASE = Path("/etc/os-release")
_LOOK_EVERY_S = 30.0
_PROCESSES_EVERY_S = 3600.0


@dataclass
class DeviceReport:
    """Describes one device. `wanted` returns the target document as it came, with its version and config."""

    reconciler: Reconciler
    record: Record
    observer: Observer
    wanted: Callable[[], Mapping[str, Any]]
    extra: Callable[[], Mapping[str, Any]] = dict[str, Any]
    """More fields of the state, such as how anomalies are looked for."""
    chronicle: Chronicle | None = None
    """What was done to reach the newest target; with `engine` and `facts`, it is told."""
    engine: Engine | None = None
    facts: Callable[[], Facts] | None = None
    clock: Callable[[], float] = time.time
    collect_processes: bool = True
    _machine: Machine | None = field(default=None, init=False)
    _looked_at: float = field(default=0.0, init=False)
    _processes_at: float = field(default=0.0, init=False)

    def apps(self) -> dict[str, Any]:
        """Return the services of the device as they are."""
        facts = self.record.facts(self.clock(), locked=(), disk_is_full=False, shares_ports=False)
        return describe_apps(self.reconciler.target, self.reconciler.standing.current, facts)

    def state(self) -> dict[str, Any]:
        """Return everything that is told when it changes."""
        machine, wanted = self._look(), self.wanted()
        return {
            "apps": self.apps(),
            "is_online": True,
            "version": wanted.get("version", 0),
            "config": without_file(wanted.get("config") or {}),
            "os_version": os_version(),
            "agent_version": version(),
            "local_ip": local_ip(machine.interfaces),
            "network_interfaces": describe_interfaces(machine.interfaces),
            **self._update(wanted.get("version", 0)),
            **self.extra(),
        }

    def _update(self, version: object) -> dict[str, Any]:
        if self.chronicle is None or self.engine is None or self.facts is None:
            return {}
        facts = self.facts()
        settled = self.reconciler.is_settled
        return {
            "update": self.chronicle.describe(version, facts, settled=settled),
            "facts": describe_facts(self.engine, facts),
        }

    def metrics(self) -> dict[str, Any]:
        """Return figures of the machine; the ten busiest processes once an hour, which is most of their price."""
        now = self.clock()
        # A clock that was set back makes nobody wait, here and below.
        due = self.collect_processes and not 0 <= now - self._processes_at < _PROCESSES_EVERY_S
        if due:
            self._processes_at = now
        return describe_machine(self._look(processes=due))

    def figures(self) -> dict[str, Any]:
        """Return the same for somebody on the device: with the processes, if they are wanted at all."""
        return describe_machine(self._look(processes=self.collect_processes))

    def _look(self, *, processes: bool | None = None) -> Machine:
        now = self.clock()
        if processes is None and self._machine is not None and 0 <= now - self._looked_at < _LOOK_EVERY_S:
            return self._machine
        self._machine, self._looked_at = self.observer.look(processes=bool(processes)), now
        return self._machine


def os_version() -> str:
    """Return what the operating system calls itself."""
    try:
        lines = _OS_RELEASE.read_text("utf-8", "replace").splitlines()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    names = [line.partition("=")[2].strip("\"'") for line in lines if line.startswith("PRETTY_NAME=")]
    return names[0] if names else f"{platform.system()} {platform.release()}"

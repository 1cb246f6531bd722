"""Our own processes as `up` starts them: arguments, environment, log, readiness."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from iotistic.entrypoints.up import try_out
from iotistic.entrypoints.up.parts import OwnProcess
from iotistic.entrypoints.up.ports import LOOPBACK, Chosen
from iotistic.entrypoints.up.probes import ready_at
from iotistic.entrypoints.up.reach import in_url, reach
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.home import Home
from iotistic.telemetry.transports.lanes import Lane

_DRAIN_WITHIN_S = 30.0
_SIMULATED_INTERVAL_S = 5


@dataclass(frozen=True)
class Processes:
    """Makes the children of one installation; `base` is the environment that all of them get."""

    settings: UpSettings
    ports: Mapping[str, Chosen]
    base: Mapping[str, str]

    @property
    def home(self) -> Home:
        """The installation's home."""
        return self.settings.home

    def pki(self) -> OwnProcess:
        """The certificate authority, HTTPS on its own port."""
        port = self.ports["pki"].port
        return OwnProcess(
            name="pki",
            arguments=("pki",),
            environment=self._environment(PKI_HOST=self.settings.listen_address, PKI_PORT=str(port)),
            log=self.home.logs / "pki.log",
            health_url=f"https://{self._local_host()}:{port}/health/ready",
            ready=ready_at(f"https://{self._local_host()}:{port}/health/ready", ca=self.home.ca_certificate),
        )

    def api(self) -> OwnProcess:
        """The API, on loopback."""
        port = self.ports["api"].port
        where = {"API_HOST": LOOPBACK, "API_PORT": str(port)}
        return self._observed("api", port, where | self._devices_broker())

    def ingest(self, worker: int, *, on_ready: Callable[[], Awaitable[None]] | None) -> OwnProcess:
        """One ingest worker; it finishes the batch in its hands before it ends."""
        return self._ingest(Lane.LIVE, worker, workers=self.settings.workers, on_ready=on_ready)

    def backlog(self, *, on_ready: Callable[[], Awaitable[None]] | None) -> OwnProcess:
        """The one ingest worker for what devices kept through an outage."""
        return self._ingest(Lane.BACKLOG, 0, workers=1, on_ready=on_ready)

    def _ingest(
        self, lane: Lane, worker: int, *, workers: int, on_ready: Callable[[], Awaitable[None]] | None
    ) -> OwnProcess:
        name = lane.worker("ingest", worker)
        port = self.ports[name].port
        process = self._observed(
            name,
            port,
            {"METRICS_PORT": str(port), "INGEST_WORKERS": str(workers), "LANE": lane.value},
            arguments=("ingest", "--worker", str(worker)),
        )
        process.on_ready = on_ready
        return process

    def maintenance(self) -> OwnProcess:
        """Partitions, rollups and retention."""
        port = self.ports["maintenance"].port
        return self._observed("maintenance", port, {"METRICS_PORT": str(port)})

    def control(self) -> OwnProcess:
        """The background work of the control plane."""
        port = self.ports["control"].port
        where = {"METRICS_PORT": str(port)}
        return self._observed("control", port, where | self._devices_broker())

    def _devices_broker(self) -> dict[str, str]:
        """Return the broker as devices reach it: by certificate, and, where it is ours, by password."""
        return reach(self.settings, self.ports).environment()

    def simulator(self) -> OwnProcess:
        """Simulated F2 controllers; ready as soon as it runs, since enrolling takes as long as it takes."""
        return OwnProcess(
            name="simulator",
            arguments=(
                *("simulate", "f2", "--controllers", str(self.settings.simulate)),
                *("--interval", str(_SIMULATED_INTERVAL_S)),
            ),
            environment=self._environment(),
            log=self.home.logs / "simulator.log",
            health_url=None,
            ready=_at_once,
        )

    def agent(self) -> OwnProcess:
        """An agent of this machine with an app to try; what it started ends with it."""
        port = self.ports["device_api"].port
        url = f"http://{LOOPBACK}:{port}/ping"
        return OwnProcess(
            name="agent",
            arguments=("agent-process", "--clean-up"),
            environment=self._environment(
                CONFIG_DIR=str(try_out.folder(self.home)),
                DEVICE_API_PORT=str(port),
                DEVICE_NAME=try_out.NAME,
                ENGINE_SCOPE=try_out.SCOPE,
                SENSOR_BATCH_MESSAGES="1",
                SIMULATION_MODE="true",
            ),
            log=self.home.logs / "agent.log",
            health_url=url,
            ready=ready_at(url),
            stop_within_s=_DRAIN_WITHIN_S,
        )

    def retirement(self, worker: int) -> OwnProcess:
        """A run that stores what still waits for a worker that is no more, and forgets its session."""
        return OwnProcess(
            name=f"retire-{worker}",
            arguments=("ingest", "--retire", str(worker)),
            environment=self._environment(LANE=Lane.LIVE.value),
            log=self.home.logs / f"ingest-{worker}.log",
            health_url=None,
            ready=_at_once,
        )

    def _observed(
        self,
        name: str,
        port: int,
        environment: Mapping[str, str],
        *,
        arguments: tuple[str, ...] | None = None,
    ) -> OwnProcess:
        url = f"http://{LOOPBACK}:{port}/health/ready"
        return OwnProcess(
            name=name,
            arguments=arguments or (name,),
            environment=self._environment(**environment),
            log=self.home.logs / f"{name}.log",
            health_url=url,
            ready=ready_at(url),
            stop_within_s=_DRAIN_WITHIN_S,
        )

    def _environment(self, **more: str) -> dict[str, str]:
        return {**self.base, **more}

    def _local_host(self) -> str:
        return local_host(self.settings.listen_address)


def local_host(listen_address: str) -> str:
    """Return the host under which this machine reaches what listens on `listen_address`."""
    if listen_address in {"0.0.0.0", "::", LOOPBACK}:
        return LOOPBACK
    return in_url(listen_address)


async def _at_once() -> bool:
    return True

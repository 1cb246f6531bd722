"""Services as they are wanted, containers as they are, and what else a plan depends on.

Everything here is a frozen value that compares by meaning: what has no order is a set, so that two
descriptions of one thing are equal whatever order an engine or a person listed it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Pairs = frozenset[tuple[str, str]]
"""A mapping of names to values that can be hashed."""


class ServiceKey(NamedTuple):
    """A service's name on one device: ids as texts, since some clouds write them as numbers."""

    app_id: str
    service_id: str


class Named(NamedTuple):
    """A network or volume of one app."""

    app_id: str
    name: str


class ServiceState(StrEnum):
    """What a service is wanted to be."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"


class Restart(StrEnum):
    """What happens when a container ends by itself."""

    NO = "no"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"
    ON_FAILURE = "on-failure"


class Strategy(StrEnum):
    """How a container is replaced by one of another configuration."""

    DOWNLOAD_THEN_KILL = "download-then-kill"
    """Short gap; disk for both images."""
    KILL_THEN_DOWNLOAD = "kill-then-download"
    """Gap as long as the download; memory for one."""
    DELETE_THEN_DOWNLOAD = "delete-then-download"
    """As before, and disk for one image: there is no way back."""
    HAND_OVER = "hand-over"
    """No gap: both run until the new one is ready."""


class Port(NamedTuple):
    """A port of a container that the device offers; `address` is empty for all of its addresses."""

    host: int
    container: int
    protocol: str = "tcp"
    address: str = ""

    def clashes(self, other: "Port") -> bool:
        """Say whether both cannot be offered at once."""
        same_address = not self.address or not other.address or self.address == other.address
        return (self.host, self.protocol) == (other.host, other.protocol) and same_address


class Mount(NamedTuple):
    """A volume of the app (by its name) or a folder of the device (by its path), seen at `target`."""

    source: str
    target: str
    read_only: bool = False

    @property
    def is_volume(self) -> bool:
        """Whether it is a volume."""
        return not self.source.startswith("/")


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits and reservations: CPU in billionths of a core, memory in bytes; None is none."""

    cpu_limit: int | None = None
    memory_limit: int | None = None
    cpu_request: int | None = None
    memory_request: int | None = None


class ProbeKind(StrEnum):
    """How a probe looks."""

    HTTP = "http"
    TCP = "tcp"
    EXEC = "exec"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that is asked of a running container again and again. Times in seconds."""

    kind: ProbeKind
    path: str = "/"
    port: int = 0
    scheme: str = "http"
    headers: Pairs = frozenset()
    expected_status: frozenset[int] = frozenset()
    command: tuple[str, ...] = ()
    initial_delay_s: float = 0
    period_s: float = 10
    timeout_s: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class Probes:
    """Startup holds the others back, liveness restarts, readiness says whether it serves."""

    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Everything that makes a container."""

    image: str
    environment: Pairs = frozenset()
    ports: frozenset[Port] = frozenset()
    mounts: frozenset[Mount] = frozenset()
    networks: frozenset[str] = frozenset()
    network_mode: str = ""
    labels: Pairs = frozenset()
    command: tuple[str, ...] = ()
    restart: Restart = Restart.UNLESS_STOPPED
    resources: Resources = Resources()
    probes: Probes = Probes()
    stop_timeout_s: int = 10
    strategy: Strategy = Strategy.DOWNLOAD_THEN_KILL
    handover_s: int = 5
    """How long both run in a hand-over when no probe says that the new one is ready."""

    @property
    def volumes(self) -> frozenset[str]:
        """Names of the volumes that it needs."""
        return frozenset(mount.source for mount in self.mounts if mount.is_volume)


@dataclass(frozen=True, slots=True)
class Service:
    """A service as it is wanted."""

    key: ServiceKey
    name: str
    config: ServiceConfig
    state: ServiceState = ServiceState.RUNNING
    app_name: str = field(default="", compare=False)
    """For people: what containers are called by."""


@dataclass(frozen=True, slots=True)
class App:
    """Services that belong together. `rolling` replaces one of them at a time."""

    id: str
    name: str
    services: tuple[Service, ...] = ()
    rolling: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What a target says about everything in it."""

    keep_images: bool = False
    keep_volumes: bool = True
    force: bool = False
    """Do not honour the locks of apps."""
    fall_back: bool = True
    """Run the last good configuration of a service whose new one does not start or keeps crashing."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a device is to be."""

    apps: tuple[App, ...] = ()
    options: Options = Options()


class Status(StrEnum):
    """What an engine says of a container."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"


class Health(StrEnum):
    """What probes say of a container."""

    UNKNOWN = "unknown"
    """Nobody asks it."""
    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not-ready"
    FAILED = "failed"
    """Its liveness probe has failed: it is to be started again."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as it is. `name` is the service's name that it was made under; times in seconds since 1970."""

    id: str
    key: ServiceKey
    name: str
    config: ServiceConfig
    status: Status
    health: Health = Health.UNKNOWN
    exit_code: int | None = None
    started_at: float = 0
    stopped_by_us: bool = False

    @property
    def is_up(self) -> bool:
        """Whether it holds processes."""
        return self.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)

    @property
    def serves(self) -> bool:
        """Whether it runs and no probe says that it is not ready."""
        return self.status is Status.RUNNING and self.health in (Health.UNKNOWN, Health.READY)


@dataclass(frozen=True, slots=True)
class Current:
    """What is on the device. `volumes` with the time they were made; `images` by the names services use."""

    containers: tuple[Container, ...] = ()
    images: frozenset[str] = frozenset()
    networks: frozenset[Named] = frozenset()
    volumes: Mapping[Named, float] = field(default_factory=dict[Named, float])


class Release(NamedTuple):
    """One configuration of one service."""

    key: ServiceKey
    config: ServiceConfig


@dataclass(frozen=True, slots=True)
class Failures:
    """How often something failed in a row, when last, and what was said."""

    count: int
    at: float
    reason: str = ""

"""The closed set of steps. A step is a value and its own name: the same step is never under way twice."""

from dataclasses import dataclass, field

from iotistic.planning.model import Named, Service, ServiceConfig, ServiceKey

FETCH_DEADLINE_S = 3600.0
_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get an image."""

    image: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a container that exists, or make one first."""

    service: Service
    container_id: str | None = None
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Stop:
    """End a container's processes and keep it."""

    key: ServiceKey
    container_id: str
    within_s: int = 10
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Kill:
    """End a container's processes, within the time it may take for that, and remove it."""

    key: ServiceKey
    container_id: str
    within_s: int = 10
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a container that has ended."""

    key: ServiceKey
    container_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Freeze a container's processes."""

    key: ServiceKey
    container_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Unpause:
    """Let a container's processes go on."""

    key: ServiceKey
    container_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class UpdateMetadata:
    """Change what can be changed while a container lives: name, restarts, limits, probes."""

    key: ServiceKey
    container_id: str
    name: str
    config: ServiceConfig
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    """Make a network of an app."""

    network: Named
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    """Remove a network of an app."""

    network: Named
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CreateVolume:
    """Make a volume of an app."""

    volume: Named
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    """Remove a volume of an app with what is in it."""

    volume: Named
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class TakeLock:
    """Take the lock of an app, so that it cannot take it while it is changed."""

    app_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ReleaseLock:
    """Give the lock of an app back."""

    app_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RemoveImage:
    """Remove an image that nothing needs."""

    image: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Noop:
    """Nothing can be done about `subject`, why, and until when (seconds since 1970) if that is known."""

    subject: str
    why: str
    until: float | None = None


Action = (
    Fetch
    | Start
    | Stop
    | Kill
    | Remove
    | Pause
    | Unpause
    | UpdateMetadata
    | CreateNetwork
    | RemoveNetwork
    | CreateVolume
    | RemoveVolume
    | TakeLock
    | ReleaseLock
    | RemoveImage
)
"""What changes something."""
Step = Action | Noop
DISRUPTIVE = (Stop, Kill, Pause)
"""What an app may hold off by its lock. Removing a container that has ended disturbs nobody."""


def deadline_s(step: Action) -> float:
    """Return how many seconds a step may take before it counts as failed."""
    match step:
        case Fetch():
            return FETCH_DEADLINE_S
        case Stop(within_s=within_s) | Kill(within_s=within_s):
            return _DEADLINE_S + within_s
        case _:
            return _DEADLINE_S


def name_of(step: Action | Noop) -> str:
    """Return what a step is called: fetch, createNetwork, noop."""
    name = type(step).__name__
    return name[0].lower() + name[1:]


def subject_of(step: Action) -> str:
    """Return what a step is about, in a person's words."""
    match step:
        case Fetch(image) | RemoveImage(image):
            return f"image {image}"
        case Start(service):
            return f"service {service.name}"
        case CreateNetwork(network) | RemoveNetwork(network):
            return f"network {network.name}"
        case CreateVolume(volume) | RemoveVolume(volume):
            return f"volume {volume.name}"
        case TakeLock(app_id) | ReleaseLock(app_id):
            return f"app {app_id}"
        case _:
            return f"service {step.key.service_id}"
